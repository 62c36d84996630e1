"""A slice of the ordeal of `make soak`: everything fails once under traffic, and every promise is kept."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.chaos import verdict
from tests.chaos.driver import Ordeal, ordeal
from tests.chaos.faults import (
    BadPartner,
    Fault,
    Freeze,
    FullDisk,
    Kill,
    NoBroker,
    NoSupervisor,
    NoVault,
    alive,
)
from tests.e2e.live.system import allows, somebody

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

SEED = 7


def slice_of(disk: str | None) -> list[Fault]:
    """Each kind of fault once; the roles are killed several at a time."""
    return [
        Kill(("collector", "tag")),
        Kill(("route", "keys")),
        Kill(("govern", "expire", "connect")),
        Freeze("route", 12),
        NoBroker(),
        NoVault(3),
        BadPartner("lost_answer", 5),
        NoSupervisor(),
        *([FullDisk(3)] if disk is None else []),
    ]


@pytest.fixture(scope="module")
def over(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ordeal]:
    """The ordeal, gone through and judged."""
    with ordeal(tmp_path_factory.mktemp("chaos"), SEED, rate=15) as running:
        with running.running():
            running.all_of(slice_of(running.disk))
        running.judge(disturb=lambda: running.strike(Kill(("expire",))))
        running.say(str(running.report()))
        yield running


@pytest.mark.parametrize("name", verdict.NAMES)
def test_a_promise_is_kept(over: Ordeal, name: str) -> None:
    """Recomputed from outside, from topics, key endpoint, commands and files."""
    (check,) = [check for check in over.checks if check.name == name]
    assert check.held, f"{check.said} ({check.bad} of {check.examined})"


def test_nothing_that_was_sent_was_refused_for_ever(over: Ordeal) -> None:
    """Every request was taken in the end, and the traffic was worth the name."""
    assert over.traffic.lost == []
    assert len(over.book.accepted) > 200


def test_a_disk_can_be_filled_here(over: Ordeal) -> None:
    """Where no small disk can be mounted, that fault was not tried."""
    if over.disk is not None:
        pytest.skip(f"no small disk: {over.disk}")
    assert over.struck["disk full"] == 1


def test_an_erasure_in_the_middle_of_a_crash_is_finished(over: Ordeal) -> None:
    """expire is killed while an erasure is announced: the verb still ends, all are told, nothing opens."""
    system, person = over.system, somebody()
    at = str(system.run["clock"]["now"])
    event_id = system.submit(person, *allows("marketing_email"), server=True, collected_at=at)
    system.still(90)
    delivery = system.delivery(event_id)
    assert system.keys("crm").open(delivery)
    os.kill(system.roles()["expire"], signal.SIGKILL)
    system.do("subject", "erase", person.who, "--reason", "asked", "--yes")
    system.keys("crm").closed(delivery)
    lapses = [m.record for m in system.lapses("crm") if m.record and m.record["scope"][0].endswith("Subject")]
    assert delivery["subject_ref"] in {lapse["scope"][1]["subject_ref"] for lapse in lapses}


def test_a_clean_stop_exits_0_and_leaves_nothing_running(over: Ordeal) -> None:
    """SIGTERM: exit 0, run.json gone, no process left; started again all is there and opens."""
    system = over.system
    at = str(system.run["clock"]["now"])
    event_id = system.submit(somebody(), *allows("marketing_email"), server=True, collected_at=at)
    assert system.ended(event_id, 60)["outcome"] == "routed"
    pids = [pid for found in system.workers().values() for pid in found]
    assert system.stop() == 0
    assert not system.run_file.exists()
    assert not [pid for pid in pids if alive(pid)]
    assert system.lapse("wait", "--timeout", "3").code == 5
    system.start()
    system.still(90)
    assert system.keys("crm").open(system.delivery(event_id))
    for name, url in system.run["urls"]["metrics"].items():
        assert system.http("GET", url).status == 200, name
