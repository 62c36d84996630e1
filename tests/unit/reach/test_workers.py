"""Several workers of a role: what may be wished for, and how the supervisor's crew follows."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from lapse import crew, membership, rolestate
from lapse.cli.app import main
from lapse.crew import Crew
from lapse.layout import Layout, write_json
from lapse.processes import RoleProcess
from lapse.roles import role_of
from schemas.errors import BadInput, Unavailable
from tests.support.live import until


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """An empty data folder."""
    return Layout(tmp_path)


def process(layout: Layout, name: str) -> RoleProcess:
    """A role that does nothing until it is asked to stop."""
    return RoleProcess(
        role=name, command=["sleep", "60"], environment={"PATH": "/bin:/usr/bin"}, layout=layout
    )


@pytest.fixture
def running(layout: Layout) -> Crew:
    """A crew of two roles, started."""
    first = [process(layout, "keys"), process(layout, "route")]
    return Crew(layout=layout, hire=lambda name: process(layout, name), first=first)


def end(running: Crew) -> None:
    """Stop every process."""
    for each in (*running.all, *running.leaving):
        each.ask_to_stop()
        each.wait_stopped()


@pytest.mark.parametrize("word", ["keys=2", "route", "route=", "route=0", "route=17", "route=-1", "nobody=2"])
def test_a_wish_nobody_can_fulfil_is_a_usage_error(word: str) -> None:
    """Roles with a port of their own, numbers out of range and words that are none."""
    with pytest.raises(BadInput):
        crew.parse([word])


def test_wishes_are_kept_and_damaged_ones_mean_one_worker(layout: Layout) -> None:
    """The next `up` begins with as many workers as this one had."""
    assert crew.wish(layout, crew.parse(["route=3", "tag=2"]))["route"] == 3
    assert crew.wish(layout, {"tag": 1}) == {"tag": 1, "route": 3, "govern": 1, "expire": 1, "connect": 1}
    layout.workers_file.write_text("{")
    assert set(crew.wished(layout).values()) == {1}


def test_the_crew_grows_and_shrinks_with_what_is_wished_for(layout: Layout, running: Crew) -> None:
    """A second worker is started, listed, started again when it dies, and stopped."""
    try:
        running.start()
        assert isinstance(running.pids()["route"], int)
        crew.wish(layout, {"route": 3})
        assert running.follow() == ["route.2", "route.3"]
        pids = running.pids()["route"]
        assert isinstance(pids, list) and len(set(pids)) == 3
        running.more["route.2"].process.kill()  # type: ignore[union-attr]  # it was just started
        until(lambda: bool(running.tend()), 10, "its end is noticed")
        crew.wish(layout, {"route": 1})
        assert set(running.follow()) == {"route.2", "route.3"}
        until(lambda: not running.tend() and not running.leaving, 10, "both are gone")
        assert isinstance(running.pids()["route"], int)
    finally:
        end(running)


def test_waiting_for_workers_ends_when_each_says_that_it_is_ready(layout: Layout) -> None:
    """Not while one is missing or still starting; at once where nothing runs."""
    crew.wish(layout, {"route": 2})
    with pytest.raises(Unavailable, match="nothing runs"):
        crew.await_wished(layout, 0)
    pids = {"tag": 1, "route": [2, 3], "govern": 4, "expire": 5, "connect": 6}
    write_json(layout.roles_file, pids)
    for role, pid in {"tag": 1, "route": 2, "govern": 4, "expire": 5, "connect": 6}.items():
        write_json(layout.role_state(role), {"pid": pid, "ready": True})
    with pytest.raises(Unavailable, match="not all workers"):
        crew.await_wished(layout, 0)
    write_json(layout.role_state("route.2"), {"pid": 3, "ready": True})
    crew.await_wished(layout, 0)


def test_a_worker_plays_the_role_before_the_dot(layout: Layout) -> None:
    """The first worker has the role's own name."""
    assert [role_of(name) for name in ("route", "route.2", "fakes")] == ["route", "route", "fakes"]
    assert (crew.named("route", 1), crew.named("route", 2)) == ("route", "route.2")


def test_only_a_process_that_is_gone_counts_as_dead(running: Crew) -> None:
    """One that lives, or whose id is no number, is left in its group."""
    dead = process(running.layout, "route")
    dead.start()
    pid = str(dead.pid)
    assert membership.lives(pid)
    dead.ask_to_stop()
    dead.wait_stopped()
    assert not membership.lives(pid)
    assert membership.lives("1") and membership.lives("x") and membership.lives(str(10**30))


def test_a_lease_is_given_up_only_by_the_dead_of_this_place(running: Crew) -> None:
    """Another host's process may have any id; what is no owner of ours is not judged."""
    dead = process(running.layout, "route")
    dead.start()
    assert dead.pid is not None
    holder = membership.owner(dead.pid)
    assert not membership.gone(holder)
    dead.ask_to_stop()
    dead.wait_stopped()
    assert membership.gone(holder)
    assert not membership.gone(bytes(8) + holder[8:]) and not membership.gone(b"random bytes 16.")
    assert not membership.gone(membership.owner())


def test_a_role_outlives_a_folder_that_takes_nothing(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is no reason to die: what it could not say it says again when there is room."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    with monkeypatch.context() as disk:
        disk.setattr(rolestate, "write_json", full)
        state = rolestate.RoleState(layout, "route", CollectorRegistry())
        state.ready()
    assert not layout.role_state("route").exists()
    state.ready()
    assert json.loads(layout.role_state("route").read_text())["ready"] is True


def test_a_command_that_finds_no_room_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is something to wait for and no bug of ours."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr("lapse.initialise.write_atomically", full)
    monkeypatch.setattr("sys.argv", ["lapse", "init", str(tmp_path / "data"), "-o", "json"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == Unavailable.exit_code
