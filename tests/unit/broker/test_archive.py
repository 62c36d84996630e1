"""The archive of Kafka's classes is a help nobody depends on."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from lapse.broker import archive
from lapse.broker.embedded import EmbeddedKafka, archive_of
from lapse.broker.jars import find_java
from schemas.errors import Unavailable


def java() -> Path:
    """Java, or a skip."""
    try:
        return find_java(os.environ)
    except Unavailable as error:
        pytest.skip(error.what)


def test_java_goes_on_without_an_archive_that_does_not_fit(tmp_path: Path) -> None:
    """A damaged one, as after a full disk."""
    archive_of(tmp_path).write_bytes(b"no archive" * 1000)
    command = [str(java()), f"-XX:SharedArchiveFile={archive_of(tmp_path)}", "-version"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_broker_is_told_of_an_archive_that_is_there(tmp_path: Path) -> None:
    """And of none that is not: Java would say so in every log."""
    broker = EmbeddedKafka(tmp_path / "data", libs=tmp_path, java=Path("java"))
    assert broker._classes() == []  # noqa: SLF001 - what it adds to a command line
    archive_of(tmp_path).touch()
    assert broker._classes() == [f"-XX:SharedArchiveFile={archive_of(tmp_path)}"]  # noqa: SLF001 - the same


def test_an_archive_of_this_java_is_not_made_again(tmp_path: Path) -> None:
    """`make setup` may be given at any time."""
    program = tmp_path / "java"
    program.touch()
    os.utime(program, (1, 1))
    archive_of(tmp_path).touch()
    assert not archive.make(tmp_path, program)


def test_where_no_broker_starts_there_is_no_archive_and_no_error(tmp_path: Path) -> None:
    """`make setup` goes on; nothing of the attempt stays."""
    program = tmp_path / "java"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o700)
    assert not archive.make(tmp_path, program)
    assert [path.name for path in tmp_path.iterdir()] == ["java"]
