"""Every command and program of docs/publishing.md does what the page says; its names are the code's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lapse.collector import metrics
from lapse.collector.settings import Limits, SpoolSettings
from schemas.codes import CODES
from tests.unit.collector.harness import KEY, TOKEN, Running

REPOSITORY = Path(__file__).parents[3]
PAGE = (REPOSITORY / "docs" / "publishing.md").read_text()


def blocks(language: str) -> list[str]:
    """The page's blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def environment(url: str) -> dict[str, str]:
    """What the page says is in the environment."""
    ours = {"LAPSE_COLLECTOR": url, "LAPSE_SITE_KEY": KEY, "LAPSE_SITE_TOKEN": TOKEN, "NO_PROXY": "127.0.0.1"}
    return os.environ | ours


SHELL_ANSWERS = ['"stored":"kafka"', '"dry_run":true', "204", '"stored":"kafka"']


@pytest.mark.parametrize(("command", "answer"), list(zip(blocks("sh"), SHELL_ANSWERS, strict=True)))
def test_a_command_of_the_page_works(edge: Running, url: str, command: str, answer: str) -> None:
    """It runs as it stands and gets the answer the page describes."""
    done = subprocess.run(
        ["bash", "-ec", command], env=environment(url), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert answer in done.stdout
    assert len(edge.sent) == (0 if "dry_run" in command else 1)


@pytest.mark.parametrize("program", blocks("python"))
def test_a_program_of_the_page_works(edge: Running, url: str, program: str) -> None:
    """It runs as it stands; those that publish to the collector reach it."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=environment(url),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(edge.sent) == ("LAPSE_COLLECTOR" in program)


def test_the_pages_codes_exist() -> None:
    """Each code in the table of answers is one of Lapse's."""
    table = PAGE[PAGE.index("| Status | Code |") : PAGE.index("Errors are `application/problem+json`")]
    rows = [row.split("|") for row in table.splitlines()[2:] if row.startswith("|")]
    codes = {code for row in rows for code in re.findall(r"`([a-z_]+)`", row[2])}
    assert len(codes) > 10
    assert codes <= set(CODES)


def test_the_pages_limits_are_the_codes() -> None:
    """Figures on the page are those of the settings."""
    assert (Limits().body_bytes, Limits().fields, Limits().events) == (64 * 1024, 200, 50)
    stock = SpoolSettings(folder=Path(), keys=Path())
    assert (stock.max_bytes, stock.max_age_seconds) == (1 << 30, 48 * 3600)
    assert [family.name + "_total" for family in metrics.LOST.collect()] == ["lapse_collector_lost_total"]
    assert "`lapse_collector_lost_total`" in PAGE


# ---- the wheel ---------------------------------------------------------------------------------------------
FOREIGN = """
import sys
import lapse_client, lapse_client.http, lapse_client.kafka, lapse_client.mail, lapse_client.opening
import lapse_client.middleware.asgi, lapse_client.middleware.django, lapse_client.middleware.flask
roots = {name.partition(".")[0] for name in sys.modules}
print(sorted(roots & {"lapse", "streams", "processors", "vault", "schemas", "starlette", "pydantic"}))
"""


def test_the_client_drags_nothing_of_the_application_in() -> None:
    """Importing all of it loads no package of the application, and the bare package needs no extra."""
    done = subprocess.run(
        [sys.executable, "-c", FOREIGN], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
    extras = "{'httpx', 'confluent_kafka', 'cryptography'}"
    bare = f"import sys, lapse_client; print(sorted(set(sys.modules) & {extras}))"
    done = subprocess.run(
        [sys.executable, "-c", bare], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_the_wheel_is_whole_and_small(tmp_path: Path) -> None:
    """Built from its own pyproject: modules, schemas and types are in it, the application is not."""
    source = tmp_path / "lapse_client"
    for path in (REPOSITORY / "lapse_client").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            target = source / path.relative_to(REPOSITORY / "lapse_client")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w"]
    subprocess.run([*command, str(tmp_path / "out"), str(source)], check=True, capture_output=True)
    (wheel,) = (tmp_path / "out").glob("lapse_client-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    inside = {name for name in names if not name.partition("/")[0].endswith(".dist-info")}
    expected = {
        f"lapse_client/{path.relative_to(REPOSITORY / 'lapse_client')}"
        for path in (REPOSITORY / "lapse_client").rglob("*")
        if path.suffix in {".py", ".avsc", ".json", ".typed"} and "__pycache__" not in path.parts
    }
    assert inside == expected
    assert wheel.stat().st_size < 100_000
