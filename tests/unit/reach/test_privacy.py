"""What people reach says nothing of anybody: logs, tables, reasons, files, stand-ins, metrics."""

from __future__ import annotations

import io
import json
import logging
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog

from lapse import logs, recipients, subjects, up
from lapse.cli import processors
from lapse.cli.app import without_values
from lapse.cli.output import plain
from lapse.collector import forms
from lapse.layout import Layout
from lapse.main import Installation
from schemas.errors import BadInput, Unavailable

CANARY = "canary@example.org"


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """A role's log, set up as the roles set it up, in memory."""
    out, root = io.StringIO(), logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers = []
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.excepthook", None)
    monkeypatch.setattr("threading.excepthook", None)
    for name in ("uvicorn", "uvicorn.error", "mode", "asyncio"):  # other tests set these up, or silence them
        monkeypatch.setattr(logging.getLogger(name), "filters", [])
        monkeypatch.setattr(logging.getLogger(name), "disabled", False)
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
    logs.to_stdout("info")
    yield out
    root.handlers = before
    root.setLevel(level)
    structlog.reset_defaults()


def _fail(error: Exception) -> None:
    raise error


def test_a_log_keeps_the_text_of_foreign_errors_out(log: io.StringIO) -> None:
    """A trace, an argument, a message already formatted: type and place are said, the text never."""
    try:
        _fail(ValueError(f"cannot read {CANARY}"))
    except ValueError as error:
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
        logging.getLogger("mode").log(logging.ERROR, "crashed: %r", error)
        said_already = f"task exception={error!r}"  # as asyncio does
        logging.getLogger("asyncio").log(logging.ERROR, said_already, exc_info=error)
        structlog.get_logger("tag").exception("chunk_failed", topic="intake.form")
    said = log.getvalue()
    assert "canary" not in said
    lines = [json.loads(line) for line in said.splitlines()]
    assert len(lines) == 4
    assert all("ValueError at test_privacy.py:" in json.dumps(line) for line in lines)


def test_a_log_keeps_the_words_of_our_own_errors(log: io.StringIO) -> None:
    """They carry codes and places alone, and operators need them."""
    try:
        _fail(Unavailable("broker", "the broker does not answer", "control"))
    except Unavailable:
        logging.getLogger("lapse").exception("stopped")
    assert "broker: the broker does not answer (control)" in json.loads(log.getvalue())["error"]


def test_a_table_shows_control_characters_of_names_too() -> None:
    """Who names a field chooses its bytes; a terminal must not obey them."""
    assert plain({"na\x1b[2Jme": "v\x07"}) == "na\\x1b[2Jme v\\x07"


@pytest.mark.parametrize("reason", [f"{CANARY} asked", "wrote from CANARY@Example.org"])
def test_a_reason_that_names_the_person_is_refused(reason: str) -> None:
    """It would stand in clear on `control` for years, and the refusal does not repeat it."""
    with pytest.raises(BadInput) as caught:
        subjects.about(f"email:{CANARY}", reason)
    assert "canary" not in str(caught.value).lower()
    assert subjects.about(f"email:{CANARY}", "asked by letter") == "asked by letter"


def test_an_identifier_that_is_none_is_a_wrong_argument() -> None:
    """Exit 2 as for every wrong argument, without the value."""
    here = SimpleNamespace(vault=SimpleNamespace(secrets=SimpleNamespace(alias=bytes(32))))
    with pytest.raises(BadInput) as caught:
        subjects.hashed(cast(Installation, here), "phone:nothing-dialled")
    assert "dialled" not in str(caught.value)


def test_copied_credentials_are_for_their_reader_alone(tmp_path: Path) -> None:
    """Also where a file that everybody may read stood there before: it is replaced, never filled."""
    layout, target = Layout(tmp_path / "data"), tmp_path / "given.json"
    path = layout.credentials("processors", "crm")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"username": "processor.crm", "password": "p", "token": "t"}))
    target.write_text("old")
    target.chmod(0o644)
    reader = target.open()
    latest = SimpleNamespace(processor=lambda name: name)
    here: Any = SimpleNamespace(layout=layout, plans=SimpleNamespace(latest=latest))
    recipients.credentials(here, "crm", rotate=False, copy_to=target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert json.loads(target.read_text())["token"] == "t"
    assert reader.read() == "old"
    reader.close()


def test_stand_ins_are_reached_from_this_machine_alone(tmp_path: Path) -> None:
    """Whatever address the rest listens on: a stand-in shows what it holds to whoever asks."""
    layout = Layout(tmp_path)
    layout.policies.mkdir()
    layout.policy(1).write_text(Path("policies/demo.yaml").read_text())
    urls = up.stand_ins(layout)
    assert urls
    assert all(url.startswith("http://127.0.0.1:") for url in urls.values())


def test_a_metric_takes_no_label_from_a_request() -> None:
    """`bot:` and anything may stand among a form's signals; the label is one of three words."""
    signals = ["gpc", "bot:honeypot", "bot:too_fast", "bot:canary"]
    assert [forms.reason_of(each) for each in signals] == ["", "honeypot", "too_fast", "stated"]


@pytest.mark.parametrize("argument", [CANARY, f"--oops={CANARY}", f"o'{CANARY}\\", f"{CANARY}\x1b[2J"])
@pytest.mark.parametrize("spell", [str, repr, plain])
def test_a_usage_error_repeats_no_argument(argument: str, spell: Callable[[str], str]) -> None:
    """However the library quotes it: command lines hold identifiers, and errors end up in logs."""
    said = without_values(f"Got unexpected extra argument ({spell(argument)})", ["subject", argument])
    assert "canary" not in said


def test_an_unconfirmed_rotation_is_not_taken_for_a_done_one() -> None:
    """Exit 2, before anything is opened: a leaked token that still works must not look ended."""
    with pytest.raises(BadInput) as caught:
        processors.processor_credentials("crm", rotate=True)
    assert caught.value.where == "--rotate"
