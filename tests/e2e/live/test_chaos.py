"""Processes die and come back: nothing accepted is lost, no outcome changes, and all is quiet again."""

from __future__ import annotations

import datetime as dt
import os
import signal
import threading
import time
import urllib.error
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.live.books import entries, expected_tallies, folded, tallies
from tests.e2e.live.system import System, allows, somebody
from tests.support.live import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

TOGETHER = (("collector", "tag"), ("route", "keys"), ("govern", "expire"), ("connect",), ("broker",))
"""Roles killed in one go; a worker's group takes ten seconds to notice, so one by one would take minutes."""


class Sender(threading.Thread):
    """A site's server that sends a form every few milliseconds and repeats what was not acknowledged."""

    def __init__(self, system: System) -> None:
        super().__init__(daemon=True)
        self.system, self.done = system, threading.Event()
        self.accepted: list[str] = []
        self.refused: Counter[int] = Counter()
        self.trouble: list[str] = []
        self.at = dt.datetime.fromisoformat(system.run["clock"]["now"]).isoformat()

    def run(self) -> None:
        """Send until told to stop; the last one is seen through."""
        while not self.done.is_set():
            body: dict[str, object] = {"event_id": os.urandom(16).hex(), "fields": somebody().fields}
            body |= {"collected_at": self.at, "consents": allows("marketing_email")}
            if self._until_taken(body):
                self.accepted.append(str(body["event_id"]))
            time.sleep(0.02)

    def _until_taken(self, body: dict[str, object]) -> bool:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                answer = self.system.form("request-demo", body, server=True)
            except (OSError, urllib.error.URLError):
                time.sleep(0.1)
                continue
            if answer.status == 202:
                return True
            self.refused[answer.status] += 1
            time.sleep(0.2)
        self.trouble.append(str(body["event_id"]))
        return False


@contextmanager
def traffic(system: System) -> Iterator[Sender]:
    """Forms all the while."""
    sender = Sender(system)
    sender.start()
    try:
        yield sender
    finally:
        sender.done.set()
        sender.join(90)
    assert not sender.is_alive()
    assert sender.trouble == []


def conserved(system: System, accepted: list[str]) -> None:
    """Each accepted event is routed exactly once in the fold, delivered, and counted in its buckets."""
    rows = folded(entries(system))
    mine = [row for row in rows.values() if row["source"] == "form/request-demo"]
    assert Counter(row["outcome"] for row in mine) == {"routed": len(accepted)}
    delivered = system.kafka("crm").records("RecordDelivered", "processor.crm")
    assert len({m.record["delivery_id"] for m in delivered if m.record}) == len(accepted)
    assert tallies(system) == expected_tallies(system)


ACCEPTED: list[str] = []
"""Everything this module's system has taken so far."""


@pytest.mark.parametrize("roles", TOGETHER, ids="+".join)
def test_a_killed_role_loses_nothing_and_changes_no_outcome(manual: System, roles: tuple[str, ...]) -> None:
    """SIGKILL during traffic: roles come back, what was acknowledged is routed once, and the lag is 0
    again.
    """
    with traffic(manual) as sender:
        until(lambda: len(sender.accepted) >= 20, 60, "traffic flows before")
        for role in roles:
            manual.kill_role(role)
        before = len(sender.accepted)
        until(lambda: len(sender.accepted) >= before + 20, 60, "traffic flows after")
    ACCEPTED.extend(sender.accepted)
    manual.still(90)
    conserved(manual, ACCEPTED)
    sample = manual.delivery(sender.accepted[-1])
    assert manual.keys("crm").open(sample)
    for name, url in manual.run["urls"]["metrics"].items():
        assert manual.http("GET", url).status == 200, name


def test_an_erasure_in_the_middle_of_a_crash_is_finished(manual: System) -> None:
    """expire is killed while an erasure is announced: the command still ends, everybody is told, nothing
    opens.
    """
    person = somebody()
    at = dt.datetime.fromisoformat(manual.run["clock"]["now"]).isoformat()
    event_id = manual.submit(person, *allows("marketing_email"), server=True, collected_at=at)
    ACCEPTED.append(event_id)
    manual.still()
    delivery = manual.delivery(event_id)
    os.kill(manual.roles()["expire"], signal.SIGKILL)
    manual.do("subject", "erase", person.who, "--reason", "asked", "--yes")
    manual.keys("crm").closed(delivery)
    lapses = [m.record for m in manual.lapses("crm") if m.record and m.record["scope"][0].endswith("Subject")]
    assert delivery["subject_ref"] in {lapse["scope"][1]["subject_ref"] for lapse in lapses}
    manual.still()


def test_after_a_killed_supervisor_the_same_data_comes_up_again(manual: System) -> None:
    """SIGKILL the supervisor during traffic, start again on the same data: nothing acknowledged is lost."""
    sample = manual.delivery(ACCEPTED[-2])
    for _ in range(30):
        at = dt.datetime.fromisoformat(manual.run["clock"]["now"]).isoformat()
        ACCEPTED.append(manual.submit(somebody(), *allows("marketing_email"), server=True, collected_at=at))
    assert manual.process is not None
    pids = manual.roles()
    manual.process.kill()
    manual.process.wait(10)
    until(lambda: not any(_alive(pid) for name, pid in pids.items() if name != "broker"), 40, "orphans end")
    (manual.data / "run.json").unlink(missing_ok=True)
    manual.start()
    manual.still(90)
    conserved(manual, ACCEPTED)
    assert manual.keys("crm").open(sample)


def test_a_clean_stop_exits_0_and_leaves_nothing_running(manual: System) -> None:
    """SIGTERM during traffic: exit 0, run.json gone, no process left; started again all is there."""
    pids = manual.roles()
    sample = manual.delivery(ACCEPTED[-1])
    at = dt.datetime.fromisoformat(manual.run["clock"]["now"]).isoformat()
    ACCEPTED.append(manual.submit(somebody(), *allows("marketing_email"), server=True, collected_at=at))
    assert manual.stop() == 0
    assert not (manual.data / "run.json").exists()
    assert not [name for name, pid in pids.items() if _alive(pid)]
    done = manual.lapse("wait", "--timeout", "3")
    assert done.code == 5, done.err
    manual.start()
    manual.still(90)
    conserved(manual, ACCEPTED)
    assert manual.keys("crm").open(sample)


def test_expiry_killed_on_its_way_announces_each_bucket_once(manual: System) -> None:
    """expire dies while the clock passes due instants: every bucket has one lapse on lifecycle, with its
    tally.
    """
    advancing = threading.Thread(target=lambda: manual.lapse("clock", "advance", "PT13H", "--confirm"))
    advancing.start()
    manual.kill_role("expire")
    advancing.join(120)
    manual.still(60)
    rows = [r for r in manual.do("bucket", "list")["buckets"] if r["purpose"] != "quarantine"]
    assert {row["state"] for row in rows} == {"destroyed"}
    found = [m.record for m in manual.kafka("auditor").records("Depersonalized", "lifecycle") if m.record]
    ended: dict[tuple[str, int, int], set[tuple[bytes, int]]] = {}
    for lapse in found:
        if lapse["scope"][0].endswith("Bucket"):
            scope = lapse["scope"][1]
            bucket = (scope["purpose"], scope["period"], scope["terms"])
            ended.setdefault(bucket, set()).add((lapse["lapse_id"], lapse["records"]))
    for row in rows:
        said = ended[row["purpose"], row["period"], row["terms"]]
        assert [records for _, records in said] == [row["tally"]]


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
