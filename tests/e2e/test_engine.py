"""The engine on a real broker, its workers as processes: what happens when anything around it fails."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from lapse.broker.admin import Admin
from lapse.broker.connection import Credentials
from lapse.broker.embedded import EmbeddedKafka
from tests.e2e.engine_support import Lab, until
from tests.support.broker import new_embedded

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """Yield a broker of this module's own, because it is restarted."""
    with new_embedded(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture
def lab(kafka: EmbeddedKafka, tmp_path: Path) -> Iterator[Lab]:
    """Yield topics and workers."""
    kafka.start()
    bench = Lab(kafka, tmp_path)
    yield bench
    bench.close()


def test_workers_joining_and_leaving_lose_and_double_nothing(lab: Lab) -> None:
    """Every record arrives exactly once while workers join and stop, and the committed offset is the end."""
    source, out = lab.topic("join.in"), lab.topic("join.out")
    first = lab.worker("lapse.join", [source], out, slow=0.02, chunk_records=200).ready()
    lab.publish(source, 20_000)
    second = lab.worker("lapse.join", [source], out, slow=0.02, chunk_records=200).ready()
    until(lambda: len(second.health["assigned"]) == 2, why=second.tail)
    lab.publish(source, 20_000, start=20_000)
    assert first.terminate() == 0
    until(lambda: len(second.health["assigned"]) == 4, why=second.tail)
    second.until(60, lag=0)
    assert second.terminate() == 0
    found = lab.numbers(out)
    assert set(found) == set(range(40_000))
    assert {n for n, times in found.items() if times > 1} == set()
    assert lab.committed("lapse.join", source) == dict.fromkeys(range(4), 10_000)


def test_a_killed_worker_loses_nothing(lab: Lab) -> None:
    """After SIGKILL the rest of the group does the uncommitted chunks again; nothing is missing."""
    source, out = lab.topic("kill.in"), lab.topic("kill.out")
    lab.publish(source, 30_000)
    first = lab.worker("lapse.kill", [source], out, slow=0.05, chunk_records=200).ready()
    second = lab.worker("lapse.kill", [source], out, slow=0.05, chunk_records=200).ready()
    until(lambda: bool(lab.numbers(out)))
    first.signal(signal.SIGKILL)
    first.wait()
    until(lambda: len(second.health["assigned"]) == 4, 40, second.tail)
    second.until(90, lag=0)
    assert second.terminate() == 0
    assert set(lab.numbers(out)) == set(range(30_000))


def test_sigterm_finishes_the_chunk_in_hand(lab: Lab) -> None:
    """SIGTERM in the middle of a chunk: its effects are made and committed, rc 0, and nothing comes twice."""
    source, out = lab.topic("term.in"), lab.topic("term.out")
    lab.publish(source, 4_000)
    worker = lab.worker("lapse.term", [source], out, slow=1.5, chunk_records=500, commit_every=60.0).ready()
    until(lambda: bool(lab.numbers(out)))
    time.sleep(0.5)
    assert worker.terminate() == 0
    done = lab.numbers(out)
    assert 0 < len(done) < 4_000
    rest = lab.worker("lapse.term", [source], out).ready().until(lag=0)
    assert rest.terminate() == 0
    found = lab.numbers(out)
    assert set(found) == set(range(4_000))
    assert max(found.values()) == 1


def test_the_broker_may_restart(lab: Lab) -> None:
    """A broker restart under load: the same process goes on, nothing is lost, its log stays readable."""
    source, out = lab.topic("bounce.in"), lab.topic("bounce.out")
    lab.publish(source, 20_000)
    worker = lab.worker("lapse.bounce", [source], out, slow=0.05, chunk_records=200).ready()
    until(lambda: bool(lab.numbers(out)))
    lab.kafka.stop()
    time.sleep(8)
    lab.kafka.start()
    lab.publish(source, 2_000, start=20_000)
    until(lambda: sum(lab.committed("lapse.bounce", source).values()) == 22_000, 90, worker.tail)
    assert worker.terminate() == 0
    assert set(lab.numbers(out)) == set(range(22_000))
    assert len(worker.log.read_text().splitlines()) < 1_000


def test_sigterm_without_a_broker_ends(lab: Lab) -> None:
    """With the broker away a stop takes at most the guard's 20 s; what was not committed comes again."""
    source, out = lab.topic("gone.in"), lab.topic("gone.out")
    lab.publish(source, 2_000)
    worker = lab.worker("lapse.gone", [source], out, slow=0.2, chunk_records=100).ready()
    until(lambda: bool(lab.numbers(out)))
    lab.kafka.stop()
    time.sleep(1)
    started = time.monotonic()
    assert worker.terminate(40) in (0, 1)
    assert time.monotonic() - started < 23
    lab.kafka.start()
    rest = lab.worker("lapse.gone", [source], out).ready().until(lag=0)
    assert rest.terminate() == 0
    assert set(lab.numbers(out)) == set(range(2_000))


def test_a_worker_may_start_before_its_broker(lab: Lab) -> None:
    """Without a broker a worker says so and waits; SIGTERM ends it, and the broker's coming starts it."""
    source, out = lab.topic("early.in", 1), lab.topic("early.out", 1)
    lab.publish(source, 10, partitions=1)
    lab.kafka.stop()
    stopped = lab.worker("lapse.early", [source], out)
    worker = lab.worker("lapse.early", [source], out)
    waited = "the broker (is it up, are the credentials right?)"
    stopped.until(waiting_for=waited)
    worker.until(waiting_for=waited)
    assert stopped.terminate() == 0
    lab.kafka.start()
    until(lambda: len(lab.numbers(out)) == 10, why=worker.tail)
    assert worker.terminate() == 0


def test_a_worker_without_partitions_is_healthy_and_takes_over(lab: Lab) -> None:
    """More workers than partitions: the idle one says so, stays in the group and takes over at once."""
    source, out = lab.topic("idle.in", 1), lab.topic("idle.out", 1)
    first = lab.worker("lapse.idle", [source], out).ready()
    second = lab.worker("lapse.idle", [source], out).ready()
    until(lambda: len(first.health["assigned"]) + len(second.health["assigned"]) == 1)
    time.sleep(3)
    busy, idle = (first, second) if first.health["assigned"] else (second, first)
    assert idle.health["healthy"]
    assert idle.health["assigned"] == []
    assert busy.terminate() == 0
    idle.until(assigned=[[source, 0]])
    lab.publish(source, 100, partitions=1)
    until(lambda: len(lab.numbers(out)) == 100, why=idle.tail)
    assert idle.terminate() == 0


def test_a_bug_stops_the_worker_and_tells_no_payload(lab: Lab) -> None:
    """A stage that breaks ends the worker with rc 1, commits nothing of the chunk, and logs no payload."""
    source, out = lab.topic("bug.in", 1), lab.topic("bug.out", 1)
    lab.put(source, b"00000001", b"poison of somebody@example.org", b"00000002")
    worker = lab.worker("lapse.bug", [source], out)
    assert worker.wait() == 1
    log = worker.log.read_text()
    assert "somebody" not in log
    assert "ValueError in engine_worker.py" in log
    assert lab.committed("lapse.bug", source, 1)[0] < 1


def test_poison_is_set_aside_and_many_stop_the_worker(lab: Lab) -> None:
    """One offender in a chunk is set aside and the rest goes on; more than a few a minute stop the worker."""
    source, out, aside = lab.topic("poison.in", 1), lab.topic("poison.out", 1), lab.topic("poison.aside", 1)
    lab.publish(source, 50, partitions=1)
    lab.put(source, b"poison")
    lab.publish(source, 50, start=50, partitions=1)
    worker = lab.worker("lapse.poison", [source], out, quarantine=aside).ready().until(lag=0)
    until(lambda: len(lab.numbers(out)) == 100, why=worker.tail)
    lab.put(source, *[b"poison"] * 20)
    assert worker.wait() == 1


def test_a_recreated_topic_is_another_topic(lab: Lab) -> None:
    """A topic deleted and created again is read from its start and under its own id, whatever its offsets."""
    source, out = lab.topic("again.in", 1), lab.topic("again.out", 1)
    lab.publish(source, 500, partitions=1)
    worker = lab.worker("lapse.again", [source], out).ready()
    until(lambda: len(lab.numbers(out)) == 500, why=worker.tail)
    lab.delete_topic(source)
    lab.topic(source, 1)
    lab.publish(source, 800, start=1_000, partitions=1)
    until(lambda: len(lab.numbers(out)) == 1_300, 60, worker.tail)
    until(lambda: lab.committed("lapse.again", source, 1)[0] == 800, 30, worker.tail)
    worker.until(state="running", lag=0)
    assert worker.terminate() == 0
    origins = lab.origins(out)
    ids = list(dict.fromkeys(topic_id for _, _, topic_id in origins))
    assert len(ids) == 2
    assert [offset for _, offset, topic_id in origins if topic_id == ids[1]][-800:] == list(range(800))


def test_a_stage_may_seek(lab: Lab) -> None:
    """`Seek` drops the chunk and what was fetched behind it, and goes on at the offset given."""
    source, out = lab.topic("seek.in", 1), lab.topic("seek.out", 1)
    lab.publish(source, 1_000, partitions=1)
    worker = lab.worker("lapse.seek", [source], out, seek_once=700, chunk_records=50).ready()
    until(lambda: lab.committed("lapse.seek", source, 1)[0] == 1_000, why=worker.tail)
    assert worker.terminate() == 0
    assert [offset for _, offset, _ in lab.origins(out)] == list(range(700, 1_000))


def test_an_absent_vault_pauses_the_worker(lab: Lab) -> None:
    """`Unavailable` keeps chunk and partitions, says what is waited for, and goes on by itself."""
    source, out = lab.topic("vault.in"), lab.topic("vault.out")
    away = lab.folder / "away"
    away.touch()
    worker = lab.worker("lapse.vault", [source], out, vault_away=str(away)).ready()
    lab.publish(source, 1_000)
    worker.until(waiting_for="the vault does not answer (vault)", healthy=False)
    time.sleep(12)  # longer than the session time-out: heartbeats must have gone on
    assert len(worker.health["assigned"]) == 4
    assert not lab.numbers(out)
    away.unlink()
    worker.until(state="running", lag=0)
    assert worker.terminate() == 0
    found = lab.numbers(out)
    assert set(found) == set(range(1_000))
    assert max(found.values()) == 1
    assert "Revoking" not in worker.log.read_text().partition("Worker ready")[2].rpartition("Signal")[0]


def test_sigterm_while_the_vault_is_away_is_prompt(lab: Lab) -> None:
    """A waiting worker gives its chunk up at once, uncommitted, and ends with rc 0."""
    source, out = lab.topic("prompt.in", 1), lab.topic("prompt.out", 1)
    away = lab.folder / "away"
    away.touch()
    lab.publish(source, 10, partitions=1)
    worker = lab.worker("lapse.prompt", [source], out, vault_away=str(away))
    worker.until(waiting_for="the vault does not answer (vault)")
    started = time.monotonic()
    assert worker.terminate() == 0
    assert time.monotonic() - started < 6
    assert lab.committed("lapse.prompt", source, 1)[0] < 0


def test_a_large_record_is_turned_away_before_it_is_sent(lab: Lab) -> None:
    """A record over the limit ends the worker as the bug it is; the partition stays usable after it."""
    source, out = lab.topic("large.in", 1), lab.topic("large.out", 1)
    lab.publish(source, 10, partitions=1)
    assert lab.worker("lapse.large", [source], out, oversized=True).wait() == 1
    rest = lab.worker("lapse.large", [source], out).ready().until(lag=0)
    until(lambda: len(lab.numbers(out)) == 10, why=rest.tail)
    assert rest.terminate() == 0


def test_a_missing_right_is_named_and_mends_itself(lab: Lab) -> None:
    """Without READ on its group a worker says what it waits for, and goes on once that is granted."""
    source, out = lab.topic("rights.in", 1), lab.topic("rights.out", 1)
    login = Credentials(username="limited", password="limited-password")
    with Admin(lab.kafka.address, lab.kafka.admin) as admin:
        admin.put_users([login])
    topic = ResourceType.TOPIC
    _grant(lab, topic, source, AclOperation.READ)
    _grant(lab, topic, out, AclOperation.WRITE)
    lab.publish(source, 10, partitions=1)
    worker = lab.worker("lapse.rights", [source], out, login=login)
    until(lambda: "READ ACL on the group" in (worker.health["waiting_for"] or ""), why=worker.tail)
    assert worker.health["state"] == "waiting"
    _grant(lab, ResourceType.GROUP, "lapse.rights", AclOperation.READ)
    until(lambda: len(lab.numbers(out)) == 10, 40, worker.tail)
    assert worker.terminate() == 0


def test_a_missing_topic_is_named(lab: Lab) -> None:
    """A topic that does not exist yet, or may not be read, is what the worker says it waits for."""
    out = lab.topic("later.out", 1)
    worker = lab.worker("lapse.later", ["later.in"], out)
    until(lambda: "topic later.in" in (worker.health["waiting_for"] or ""), why=worker.tail)
    lab.topic("later.in", 1)
    lab.publish("later.in", 10, partitions=1)
    until(lambda: len(lab.numbers(out)) == 10, 60, worker.tail)
    assert worker.terminate() == 0


def test_several_topics_in_one_worker(lab: Lab) -> None:
    """One agent reads several topics, each chunk from one of them under its own topic id."""
    one, two, out = lab.topic("many.one"), lab.topic("many.two"), lab.topic("many.out")
    lab.publish(one, 1_000)
    lab.publish(two, 1_000, start=1_000)
    worker = lab.worker("lapse.many", [one, two], out).ready().until(lag=0)
    until(lambda: len(lab.numbers(out)) == 2_000, why=worker.tail)
    assert worker.terminate() == 0
    assert len({(name, topic_id) for name, _, topic_id in lab.origins(out)}) == 2


def test_an_agent_that_gets_nothing_done_keeps_no_other_waiting(lab: Lab) -> None:
    """Whatever lies on the topic of a recipient that is away, another agent of its worker gets its own."""
    stuck, source, out = lab.topic("stuck.in"), lab.topic("moves.in"), lab.topic("moves.out")
    lab.publish(stuck, 30_000)
    worker = lab.worker("lapse.stuck", [source], out, stuck=stuck, chunk_records=100)
    worker.until(waiting_for="the recipient takes nothing (recipient)")
    for start in (0, 100, 200):
        lab.publish(source, 100, start=start)
        until(lambda: len(lab.numbers(out)) == start + 100, why=worker.tail)  # noqa: B023 called at once
    assert worker.terminate() == 0
    assert lab.committed("lapse.stuck", source) == dict.fromkeys(range(4), 75)


def test_a_worker_that_only_sends_is_healthy(lab: Lab) -> None:
    """A role without a source runs its producer, says it is running, and stops with rc 0."""
    worker = lab.worker("lapse.sender", [], "nowhere").ready()
    assert worker.health["healthy"]
    assert worker.terminate() == 0


def test_a_broken_background_task_stops_the_worker(lab: Lab) -> None:
    """An exception in a task beside the agents ends the process with rc 1, for its supervisor."""
    assert lab.worker("lapse.broken", [], "nowhere", fail_task=True).wait() == 1


def _grant(lab: Lab, kind: ResourceType, name: str, operation: AclOperation) -> None:
    binding = AclBinding(
        kind, name, ResourcePatternType.LITERAL, "User:limited", "*", operation, AclPermissionType.ALLOW
    )
    lab.admin.create_acls([binding])[binding].result()


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_conservation_under_random_kills(lab: Lab) -> None:
    """Three minutes of joins, stops, kills and broker restarts under load: nothing is ever missing."""
    source, out = lab.topic("soak.in"), lab.topic("soak.out")
    chance = random.Random(7)
    pool = [lab.worker("lapse.soak", [source], out, slow=0.02, chunk_records=300) for _ in range(2)]
    sent, ends = 0, time.monotonic() + 180
    while time.monotonic() < ends:
        if not lab.kafka.pid:
            lab.kafka.start()
        lab.publish(source, 2_000, start=sent)
        sent += 2_000
        time.sleep(chance.uniform(0, 4))
        if chance.random() < 0.1:
            lab.kafka.stop()
            time.sleep(chance.uniform(0, 6))
            continue
        victim = pool.pop(chance.randrange(len(pool)))
        victim.signal(chance.choice([signal.SIGKILL, signal.SIGTERM]))
        pool.append(lab.worker("lapse.soak", [source], out, slow=0.02, chunk_records=300))
    if not lab.kafka.pid:
        lab.kafka.start()
    until(lambda: sum(lab.committed("lapse.soak", source).values()) == sent, 120, pool[-1].tail)
    assert [worker.terminate() for worker in pool] == [0] * len(pool)
    assert set(lab.numbers(out)) == set(range(sent))
