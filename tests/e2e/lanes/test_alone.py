"""What runs by itself: `lapse broker`, a data folder's Kafka, and `lapse fake`, a recipient's stand-in."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from lapse.broker.admin import Admin
from lapse.broker.connection import BrokerAddress, Credentials
from tests.support.live import REPOSITORY

pytestmark = pytest.mark.e2e


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A verb that runs until it is asked to stop, and the first line that says where it listens."""
    command = [sys.executable, "-m", "lapse.cli.app", *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY
    )
    assert process.stderr
    said = ""
    try:
        while "listens on" not in said:
            said = process.stderr.readline()
            assert said, f"it ended with {process.wait()}"
        yield process, said
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def ended(*arguments: str) -> tuple[int, str]:
    """A verb that ends by itself: its exit code and what it said."""
    command = [sys.executable, "-m", "lapse.cli.app", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=REPOSITORY, check=False)
    return done.returncode, done.stderr


def broker_of(data: Path) -> int:
    """The process id of the Kafka of a data folder."""
    return int((data / "broker" / "pid").read_text())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_broker_alone_is_ready_when_it_says_so_and_leaves_nothing_behind(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Its line leads an administrator in, and a signal ends it with 0, and Kafka with it."""
    data = tmp_path / "data"
    with running("broker", "--data", str(data)) as (process, said):
        found = re.search(r"listens on (\S+); its super user: (\S+)", said)
        assert found, said
        login = json.loads(Path(found.group(2)).read_text())
        assert Path(found.group(2)).stat().st_mode & 0o077 == 0
        address = BrokerAddress(
            bootstrap=found.group(1), protocol="SASL_PLAINTEXT", mechanism="SCRAM-SHA-512"
        )
        with Admin(address, Credentials(username=login["username"], password=login["password"])) as admin:
            assert admin.brokers() == 1
        kafka = broker_of(data)
        assert ended("broker", "--data", str(data))[0] == 3, "the folder has an owner"
        process.send_signal(number)
        assert process.wait(60) == 0
        assert not psutil.pid_exists(kafka)


def test_a_broker_that_dies_ends_its_owner(tmp_path: Path) -> None:
    """Exit code 5 and the log's name, instead of waiting for a broker that is no more."""
    with running("broker", "--data", str(tmp_path)) as (process, _):
        os.kill(broker_of(tmp_path), signal.SIGKILL)
        assert process.wait(60) == 5
        assert process.stderr
        assert "broker.log" in process.stderr.read()


def test_a_port_that_is_taken_is_said_at_once(tmp_path: Path) -> None:
    """Both verbs end with 5 and name the port."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        for verb in (("broker", "--data", str(tmp_path)), ("fake", "partner")):
            code, said = ended(*verb, "--port", port)
            assert code == 5, said
            assert f"port {port} is in use" in said


def test_a_stand_in_is_played_with_by_hand(tmp_path: Path) -> None:
    """`lapse fake partner` makes the secret, refuses what is unsigned, shows what it holds, ends with 0."""
    secret = tmp_path / "partner.secret"
    with running("fake", "partner", "--secret-file", str(secret)) as (process, said):
        url = said.split()[-1]
        with httpx.Client(base_url=url, trust_env=False) as client:
            assert client.get("/_held").json() == {"objects": []}
            assert client.post("/events", json={}).status_code == 401
            assert client.put("/_fault", json={"kind": "5xx", "times": 1, "seed": 1}).is_success
            assert client.post("/events", json={}).status_code >= 500
        assert secret.read_text().strip().startswith("whsec_")
        assert secret.stat().st_mode & 0o077 == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_there_is_no_stand_in_of_every_name() -> None:
    """An unknown name ends with 4 and lists the ones there are."""
    code, said = ended("fake", "nobody")
    assert code == 4
    assert "partner" in said
