"""Three brokers, of which one is killed while everybody sends.

Marked `soak`: three JVMs beside a whole system starve each other on a busy machine of two cores.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lapse.broker.admin import Admin
from schemas.topics import TopicPlan, plan_topics
from tests.e2e.lanes.flow import bad, system_on
from tests.e2e.live.system import System, somebody
from tests.support.lanes.cluster import Cluster, running_cluster
from tests.support.live import until

pytestmark = [pytest.mark.e2e, pytest.mark.soak, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three brokers with passwords, each also a controller."""
    with running_cluster(tmp_path_factory.mktemp("three"), nodes=3, security="SASL_PLAINTEXT") as cluster:
        yield cluster


class Senders:
    """People who send forms without a pause, and what was acknowledged to them."""

    def __init__(self, system: System, threads: int = 4) -> None:
        self.acknowledged: list[str] = []
        self.turned_away = 0
        self._system, self._ending = system, threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(threads)]

    def __enter__(self) -> Senders:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def more(self, count: int) -> None:
        """Wait until so many more were acknowledged."""
        wanted = len(self.acknowledged) + count
        until(lambda: len(self.acknowledged) >= wanted, 90, f"{count} more acknowledged")

    def _send(self) -> None:
        while not self._ending.is_set():
            person = somebody()
            answer = self._system.form(
                "request-demo", {"fields": person.fields, "consents": [], "notice": "n"}
            )
            if answer.status == 202:
                self.acknowledged.append(str(answer.json()["event_id"]))
            else:
                self.turned_away += 1
            time.sleep(0.02)


def test_three_brokers_lose_nothing_with_one_of_them(three: Cluster, tmp_path: Path) -> None:
    """One of three brokers is killed under load, and every acknowledged form is decided all the same.

    Topics get three replicas of which two must be in sync, by themselves; doctor names what is behind, and is
    well once it is back.
    """
    with system_on(tmp_path / "data", three.environment, test=True) as system:
        with Admin(three.address, three.admin) as admin:
            assert {copies for name, copies in admin.copies().items() if not name.startswith("__")} == {
                (3, 3)
            }
            assert admin.topic_configs(["intake.form"])["intake.form"]["min.insync.replicas"] == "2"
        with Senders(system) as senders:
            senders.more(50)
            three.kill(2)
            senders.more(150)
        assert senders.turned_away == 0
        system.quiet(120)
        assert all(system.ended(event_id)["outcome"] == "routed" for event_id in senders.acknowledged)
        until(lambda: "replicas" in bad(system), 60, "doctor names the replicas that are behind")
        three.start(2)
        until(lambda: "replicas" not in bad(system), 90, "every replica in sync again")
        assert bad(system) == {}


def test_three_brokers_with_a_thin_topic_are_told_so(three: Cluster) -> None:
    """A topic with fewer replicas than planned is named; more in sync than it has is never asked of it."""
    with Admin(three.address, three.admin) as admin:
        thin, wanted = (replace(_topic(copies), name="thin") for copies in (1, 3))
        admin.create_topics([thin])
        found = {(each.setting, each.wanted, each.found) for each in admin.differences([wanted])}
        assert found == {("replicas", "3", "1")}
        assert {each.setting for each in admin.align([wanted])} == {"replicas"}


def _topic(replication: int) -> TopicPlan:
    return plan_topics({"year": 1_000_000}, [], replication=replication)[0]
