"""The shipped containers on a Docker engine: `docker compose up`, and the fixture that finds Kafka's image.

Marked `lane`: `make lanes` runs them, `make test` does not, because building the images takes a minute.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.lanes import standins
from tests.support.lanes.cache import REPOSITORY
from tests.support.lanes.docker_engine import Engine, running_engine
from tests.support.live import until

pytestmark = [pytest.mark.e2e, pytest.mark.lane, pytest.mark.timeout(900)]

PROJECT = "lapse-lane"
BUILD_SECONDS, UP_SECONDS = 600.0, 300.0


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """An engine of the tests' own."""
    with running_engine() as running:
        yield running


def test_the_broker_fixture_finds_the_image(engine: Engine) -> None:
    """Where an engine answers and has Kafka's image, the tests' broker is a container of it."""
    standins.kafka(engine)
    # Containers on the host's network are on the engine's here, so the tests go there, too.
    command = engine.inside(sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider")
    said = engine.run(*command, "tests/e2e/test_broker_fixture.py", cwd=REPOSITORY, seconds=300)
    assert "2 passed" in said
    assert "skipped" not in said


WITHOUT_CREDENTIALS = {
    f"recipient {name}" for name in ("stripe", "salesforce", "mailchimp", "kickbox", "jivochat")
}
"""Recipients of the shipped policy that nobody can call until an operator has given their credentials."""


class Compose:
    """The shipped compose file, as an operator would run it from the repository's root."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        docker = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
        self._command = ["docker", "compose"] if docker.returncode == 0 else ["docker-compose"]
        if docker.returncode != 0 and shutil.which("docker-compose") is None:
            pytest.skip("neither `docker compose` nor docker-compose (Debian: apt install docker-compose)")

    def __call__(self, *words: str, seconds: float = 120.0, ends: tuple[int, ...] = (0,)) -> str:
        """Run one of its commands; what it printed."""
        command = (*self._command, "-p", PROJECT, *words)
        return self._engine.run(*command, seconds=seconds, cwd=REPOSITORY, ends=ends)

    def lapse(self, *words: str) -> str:
        """Run a verb in the container, as docs/operating.md says."""
        return self("exec", "-T", "lapse", "lapse", *words)

    def to_do(self) -> set[str]:
        """What its doctor, who finds nothing wrong, asks to be set up."""
        done = self("exec", "-T", "lapse", "lapse", "doctor", "-o", "json")
        return {row["check"] for row in json.loads(done)["checks"] if row["state"] != "ok"}

    def inside(self, *words: str) -> str:
        """Run a program where the ports are published."""
        return self._engine.run(*self._engine.inside(*words))


@contextmanager
def composed(engine: Engine) -> Iterator[Compose]:
    """`docker compose up`, built anew, until the block ends; nothing of it stays."""
    compose = Compose(engine)
    try:
        compose("up", "--build", "-d", seconds=BUILD_SECONDS)
        until(lambda: "run.json" in compose("exec", "-T", "lapse", "ls", "/data"), UP_SECONDS, "lapse ready")
        yield compose
    except AssertionError as failed:
        failed.add_note(compose("logs", "--no-color", "--tail=50", "lapse", "kafka"))
        raise
    finally:
        compose("down", "--volumes", "--timeout", "30")


@pytest.fixture(scope="module")
def compose(engine: Engine) -> Iterator[Compose]:
    """The whole of it, on stand-ins for the images that cannot be pulled."""
    for build in (standins.kafka, standins.registry, standins.python):
        build(engine)
    with composed(engine) as running:
        yield running


def run_file(compose: Compose) -> dict[str, Any]:
    """The container's run file."""
    return dict(json.loads(compose("exec", "-T", "lapse", "cat", "/data/run.json")))


def test_compose_routes_a_form(compose: Compose) -> None:
    """A form sent to the published port is routed; `records show` in the container says so."""
    key = run_file(compose)["sites"]["www"]["key"]
    url = f"http://127.0.0.1:8100/f/get-in-touch?k={key}"
    fields = ["-d", "email=jo@example.org", "-d", "name=Jo", "-d", "consent.marketing_email=on"]
    answer = json.loads(compose.inside("curl", "--noproxy", "*", "-sS", url, *fields))
    assert answer["stored"] == "kafka"

    def outcome() -> str:
        done = compose.lapse("records", "show", "--event", answer["event_id"], "-o", "json")
        return str(json.loads(done)["outcome"])

    compose.lapse("wait", "--timeout", "120")
    assert outcome() == "routed"


def test_compose_is_well_by_its_own_doctor(compose: Compose) -> None:
    """`docker compose exec lapse lapse doctor`, as the documentation says it, asks for credentials alone."""
    compose.lapse("wait", "--timeout", "120")
    assert compose.to_do() == WITHOUT_CREDENTIALS


def test_compose_keeps_its_secrets(compose: Compose, engine: Engine) -> None:
    """No container shows the super user's password or runs as root; three ports, on loopback alone."""
    password = compose("exec", "-T", "kafka", "cat", "/run/lapse-secrets/admin").strip()
    assert len(password) >= 32
    containers = compose("ps", "-q").split()
    assert password not in engine.run("docker", "inspect", *containers)
    for service in ("lapse", "kafka", "registry"):
        assert compose("exec", "-T", service, "id", "-u").strip() == "1000"
    bindings = json.loads(engine.run("docker", "inspect", *containers))
    published = {
        (bound["HostIp"], bound["HostPort"])
        for container in bindings
        for ports in container["NetworkSettings"]["Ports"].values()
        for bound in ports or ()
    }
    assert published == {("127.0.0.1", port) for port in ("8100", "8101", "8102")}


def test_compose_goes_on_after_a_restart(compose: Compose) -> None:
    """`docker compose restart` keeps keys, vault and log: doctor is well again on the same installation."""
    before = run_file(compose)
    compose("restart", "--timeout", "60", "kafka", "lapse", seconds=UP_SECONDS)

    def again() -> bool:
        try:
            return bool(run_file(compose)["run_id"] != before["run_id"])
        except AssertionError:
            return False

    until(again, UP_SECONDS, "ready again")
    assert run_file(compose)["cluster_id"] == before["cluster_id"]
    compose.lapse("wait", "--timeout", "120")
    assert compose.to_do() == WITHOUT_CREDENTIALS
