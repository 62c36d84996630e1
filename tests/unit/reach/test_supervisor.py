"""The supervisor goes on whatever its broker and its disk do."""

from __future__ import annotations

import errno
import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from lapse import supervisor as module
from lapse.layout import Layout, write_json
from lapse.processes import RoleProcess
from lapse.supervisor import Supervisor
from schemas.errors import Unavailable
from tests.support.live import until


class SlowBroker:
    """A broker that has ended and takes its time to start again."""

    def __init__(self) -> None:
        self.pid: int | None = None
        self.starts = 0
        self.may_start = threading.Event()

    def start(self, timeout: float = 0.0) -> object:
        """Fail once, then start when told."""
        self.starts += 1
        if self.starts == 1:
            raise Unavailable("unavailable", "it ended", "broker")
        assert self.may_start.wait(60)
        self.pid = 12345
        return None

    def stop(self) -> None:
        """End."""
        self.pid = None


def supervised(folder: Path, broker: SlowBroker, story: Callable[[Layout], None]) -> None:
    """Run a supervisor of one role while the story is told."""
    layout, failed = Layout(folder), list[BaseException]()

    def hire(name: str) -> RoleProcess:
        environment = {"PATH": "/bin:/usr/bin"}
        return RoleProcess(role=name, command=["sleep", "90"], environment=environment, layout=layout)

    running = Supervisor(layout, [hire("route")], broker=broker, on_ready=lambda _urls: None, hire=hire)

    def tell() -> None:
        try:
            until(layout.roles_file.exists, 30, "it runs")
            story(layout)
        except BaseException as error:  # noqa: BLE001 - raised again by the test
            failed.append(error)
        finally:
            running.stop()

    telling = threading.Thread(target=tell)
    telling.start()
    running.run(wait_ready=90)
    telling.join(30)
    for error in failed:
        raise error


def pids(layout: Layout) -> dict[str, int]:
    """What roles.json says."""
    return dict(json.loads(layout.roles_file.read_text()))


def test_roles_are_tended_while_a_broker_starts(tmp_path: Path) -> None:
    """A role that dies meanwhile is started again; the broker is listed when it is there, and tried again."""
    broker = SlowBroker()

    def story(layout: Layout) -> None:
        until(lambda: broker.starts == 2, 30, "the broker is tried again after a failure")
        first = pids(layout)["route"]
        os.kill(first, signal.SIGKILL)
        until(lambda: pids(layout).get("route", first) != first, 30, "the role is started again")
        assert "broker" not in pids(layout)
        broker.may_start.set()
        until(lambda: pids(layout).get("broker") == 12345, 30, "the broker is listed")

    supervised(tmp_path, broker, story)


def test_a_full_disk_does_not_end_the_supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """roles.json is written when there is room again."""
    broker, full = SlowBroker(), threading.Event()
    broker.pid = 12345

    def write(path: Path, document: object) -> None:
        if full.is_set():
            raise OSError(errno.ENOSPC, "no space left")
        write_json(path, document)

    monkeypatch.setattr(module, "write_json", write)

    def story(layout: Layout) -> None:
        full.set()
        first = pids(layout)["route"]
        os.kill(first, signal.SIGKILL)
        until(lambda: not Path(f"/proc/{first}").exists(), 30, "its end is noticed")
        full.clear()
        until(lambda: pids(layout).get("route", first) != first, 30, "its successor is listed")

    supervised(tmp_path, broker, story)
