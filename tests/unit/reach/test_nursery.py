"""Roles are born in the nursery: as started ones are, each with chance of its own, for the supervisor."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from lapse import nursery
from lapse.layout import Layout
from lapse.nursery import Born, Nursery
from lapse.processes import RoleProcess
from lapse.supervisor import interpreter_environment
from tests.support.live import REPOSITORY, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives orphans to whom we choose")

PROGRAM = "tests.unit.reach.cradled"
ENVIRONMENT = interpreter_environment(dict(os.environ), REPOSITORY)
SUPERVISOR = """
import os, sys, time
from pathlib import Path
from lapse.layout import Layout
from lapse.nursery import Nursery
from lapse.processes import RoleProcess
layout = Layout(Path(sys.argv[1]))
nursery = Nursery(layout=layout, environment=dict(os.environ), program=sys.argv[2])
nursery.start()
role = RoleProcess(role="sleep", command=[], environment=dict(os.environ), layout=layout, nursery=nursery)
role.start()
print(nursery.pid, role.pid, flush=True)
time.sleep(90)
"""


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A folder to write into."""
    return Layout(tmp_path)


@pytest.fixture
def born(layout: Layout) -> Iterator[Callable[..., RoleProcess]]:
    """Starts roles in one nursery; whoever still lives at the end is ended."""
    home, started = Nursery(layout=layout, environment=ENVIRONMENT, program=PROGRAM), list[RoleProcess]()
    home.start()

    def bear(role: str, environment: Mapping[str, str] = ENVIRONMENT) -> RoleProcess:
        plainly = [sys.executable, "-c", "import time; time.sleep(90)"]
        process = RoleProcess(
            role=role, command=plainly, environment=environment, layout=layout, nursery=home
        )
        process.start()
        started.append(process)
        return process

    yield bear
    for process in started:
        if process.process is not None:
            process.process.kill()
            process.process.wait(30)
    home.close()


def said(layout: Layout, role: str) -> Any:
    """What a role wrote."""
    until((layout.root / f"{role}.there").exists, 30, f"{role} is there")
    return json.loads((layout.root / f"{role}.json").read_text())


def living(layout: Layout, process: RoleProcess) -> RoleProcess:
    """Once it does something: a nursery that ends between a birth and its word takes the newborn along."""
    until((layout.root / f"{process.role}.there").exists, 30, f"{process.role} is there")
    return process


def home_of(process: RoleProcess) -> Nursery:
    """The nursery of a role."""
    assert process.nursery is not None
    return process.nursery


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not buried does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_a_born_role_is_what_a_started_one_is(layout: Layout, born: Callable[..., RoleProcess]) -> None:
    """A child of ours in a session of its own: with its log, environment and command line, no file more."""
    process = born("look", {**ENVIRONMENT, "LAPSE_FAULT": "tag.produced"})
    seen = said(layout, "look")
    assert isinstance(process.process, Born)
    assert (seen["parent"], seen["session"]) == (os.getpid(), process.pid)
    assert seen["environment"] == {**ENVIRONMENT, "LAPSE_FAULT": "tag.produced"}
    assert seen["arguments"] == [sys.executable, "-m", "lapse.roles", "look", str(layout.root)]
    assert (seen["argv"], seen["name"]) == (["look", str(layout.root)], "lapse:look")
    log = str(process.log_path)
    assert {k: v for k, v in seen["files"].items() if int(k) < 3} == {"0": "/dev/null", "1": log, "2": log}
    assert not [v for k, v in seen["files"].items() if int(k) >= 3 and not v.startswith("/proc/")]
    assert process.log_path.read_text() == "look speaks\n"
    assert process.log_path.stat().st_mode & 0o777 == 0o600


def test_the_supervisor_has_a_born_roles_end(born: Callable[..., RoleProcess]) -> None:
    """Its exit code, or the signal that ended it; `wait` gives up in time."""
    ended, killed = born("exit"), born("sleep")
    assert ended.wait_stopped(30) == 7
    assert killed.process is not None and killed.pid is not None
    with pytest.raises(subprocess.TimeoutExpired):
        killed.process.wait(0.05)
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait_stopped(30) == -signal.SIGKILL
    assert killed.pid is None


def test_no_two_roles_share_chance(layout: Layout, born: Callable[..., RoleProcess]) -> None:
    """Every generator begins anew in each, although all were used before the fork."""
    names = [f"draw.{number}" for number in range(4)]
    for name in names:
        born(name)
    drawn = [each for name in names for each in said(layout, name)]
    assert len(drawn) == 9 * len(names) == len(set(drawn))


def test_the_same_nursery_bears_them_all(layout: Layout, born: Callable[..., RoleProcess]) -> None:
    """What was drawn before is everybody's: so the test above is one of forks."""
    born("look"), born("look.2")
    assert said(layout, "look")["token"] == said(layout, "look.2")["token"]


def test_roles_outlive_their_nursery_and_it_is_started_again(
    layout: Layout, born: Callable[..., RoleProcess]
) -> None:
    """Killed, it takes nobody along; a role is started plainly until there is another."""
    first = living(layout, born("sleep"))
    home, pid = home_of(first), home_of(first).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: home.pid is None, 30, "it has ended")
    plain = born("sleep.2")
    assert isinstance(plain.process, subprocess.Popen) and plain.pid is not None
    until(lambda: (home.tend(), home.pid)[1] is not None, 30, "it is started again")
    assert home.pid != pid and first.pid is not None and alive(first.pid)
    assert isinstance(born("sleep.3").process, Born)


def test_a_nursery_that_stands_still_is_ended(
    layout: Layout, born: Callable[..., RoleProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The role is started plainly, once: what was asked of the frozen one is never born."""
    first = living(layout, born("sleep"))
    home = home_of(first)
    frozen, home.patience = home.pid, 0.2
    assert frozen is not None
    os.kill(frozen, signal.SIGSTOP)
    second = born("sleep.2")
    assert isinstance(second.process, subprocess.Popen)
    assert home.pid is None and first.pid is not None
    assert not (layout.root / "sleep.2.there").exists()


@pytest.mark.parametrize("change", [{"PYTHONOPTIMIZE": "1"}, {"FILLER": "x" * nursery.MOST_BYTES}])
def test_what_cannot_be_given_to_a_fork_starts_plainly(
    born: Callable[..., RoleProcess], change: Mapping[str, str]
) -> None:
    """Another interpreter's environment, or one too large to ask with."""
    process = born("sleep", {**ENVIRONMENT, **change})
    assert isinstance(process.process, subprocess.Popen)
    assert home_of(process).pid is not None


def test_whoever_kills_the_supervisor_ends_everybody(tmp_path: Path) -> None:
    """The nursery and the roles, none of which is its child's child any more."""
    command = [sys.executable, "-c", SUPERVISOR, str(tmp_path), PROGRAM]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        pids = [int(each) for each in supervisor.stdout.readline().split()]
        until((tmp_path / "sleep.there").exists, 30, "the role is there")
        assert len(pids) == 2 and all(alive(pid) for pid in pids)
        supervisor.kill()
    until(lambda: not any(alive(pid) for pid in pids), 30, "nobody is left")


def test_what_roles_share_starts_no_thread_and_opens_nothing() -> None:
    """A fork copies neither; the imports of a real nursery, looked at before its first birth."""
    code = (
        "import asyncio, os, gc; from lapse import cradle; before = os.listdir('/proc/self/fd');"
        "cradle.prepare(cradle.COMMON); after = os.listdir('/proc/self/fd');"
        "print(cradle.tasks_here(), len(after) == len(before), gc.isenabled(), gc.get_freeze_count() > 999,"
        "asyncio._get_running_loop(), asyncio.get_event_loop_policy()._local._loop)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1", "True", "False", "True", "None", "None"]


def test_a_nursery_with_a_second_thread_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that starts threads as it is imported shows at once, not as a role that hangs."""
    (tmp_path / "threaded.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    code = "from lapse import cradle; cradle.prepare(('threaded',))"
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{tmp_path}"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "2 threads after imports" in done.stderr


def test_where_the_kernel_has_no_process_left_the_start_is_tried_again(
    layout: Layout, born: Callable[..., RoleProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a role that is started plainly."""
    process = born("sleep")

    def nobody(*_: object) -> None:
        raise OSError(errno.EAGAIN, "no more")

    monkeypatch.setattr(Nursery, "bear", nobody)
    late = RoleProcess(
        role="sleep.2", command=[], environment=ENVIRONMENT, layout=layout, nursery=home_of(process)
    )
    assert not late.tend()
    assert late.pid is None and late.resume_at > 0
