"""The embedded Kafka: closed from its first start, safe to kill and restart, and really forgetful."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from lapse.broker.admin import Admin
from lapse.broker.connection import BrokerAddress, Credentials
from lapse.broker.embedded import EmbeddedKafka
from lapse.broker.principals import AUDITOR, everyone, processor_group, processor_user
from schemas.errors import BadInput, Refused, Unavailable
from schemas.topics import ProcessorTopic, TopicPlan, plan_topics
from tests.support.broker import kill, new_embedded

pytestmark = pytest.mark.e2e

PROCESSORS = ("crm", "crm2", "mail")
PLANS = plan_topics(
    {"short": 3_600_000}, [ProcessorTopic(name=name, retention_ms=60_000, plain=True) for name in PROCESSORS]
)
RIGHTS = everyone(PROCESSORS)


def login(user: str) -> Credentials:
    """Return the test credentials of a user."""
    return Credentials(username=user, password=f"password-of-{user}")


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """Yield a broker with every topic, user and right."""
    with new_embedded(tmp_path_factory.mktemp("broker")) as running:
        with Admin(running.address, running.admin) as admin:
            admin.create_topics(PLANS)
            admin.put_users(login(user) for user in RIGHTS)
            assert admin.apply_rights(RIGHTS).supported
        yield running


@pytest.fixture
def admin(kafka: EmbeddedKafka) -> Iterator[Admin]:
    """Yield the administrator's connection."""
    with Admin(kafka.address, kafka.admin) as connected:
        yield connected


def produce(
    address: BrokerAddress, who: Credentials, topic: str, *values: bytes | None, partition: int = 0
) -> None:
    """Write values to one partition and wait for every acknowledgement; raises what the broker answers."""
    failed: list[KafkaError] = []
    producer = Producer(address.librdkafka(who) | {"message.timeout.ms": "15000", "linger.ms": "0"})
    for value in values:
        producer.produce(
            topic,
            value,
            partition=partition,
            on_delivery=lambda error, _: failed.append(error) if error else None,
        )
    assert producer.flush(20) == 0
    if failed:
        raise KafkaException(failed[0])


def consume(
    address: BrokerAddress, who: Credentials, topic: str, *, group: str, wanted: int = 1
) -> list[bytes]:
    """Join the group and read until `wanted` values came; raises the first error the broker gives."""
    settings = {"group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": "false"}
    consumer = Consumer(address.librdkafka(who) | settings)
    values: list[bytes] = []
    deadline = time.monotonic() + 20
    try:
        consumer.subscribe([topic])
        while len(values) < wanted:
            assert time.monotonic() < deadline, f"nothing came from {topic}"
            message = consumer.poll(0.2)
            if message is None:
                continue
            if message.error():
                raise KafkaException(message.error())
            values.append(message.value())
    finally:
        consumer.close()
    return values


def refused_as(error: pytest.ExceptionInfo[KafkaException]) -> int:
    """Return the broker's error code."""
    return int(error.value.args[0].code())


def test_a_role_can_write_what_it_must_and_a_reader_can_read_it(kafka: EmbeddedKafka) -> None:
    """Collector to tag: SCRAM credentials and the table's rights carry a record through."""
    produce(kafka.address, login("collector"), "intake.form", b"a form")
    assert consume(kafka.address, login("tag"), "intake.form", group="lapse.tag") == [b"a form"]


def test_a_wrong_password_is_refused(kafka: EmbeddedKafka) -> None:
    """A known user with a wrong password gets no connection, and says so as `Refused`."""
    with pytest.raises(Refused) as error:
        Admin(kafka.address, Credentials(username="collector", password="guessed"), timeout=5)
    assert error.value.code == "unauthorized"


def test_without_credentials_there_is_no_connection(kafka: EmbeddedKafka) -> None:
    """An anonymous client on the client port and on the controller port gets nothing."""
    with pytest.raises(Unavailable):
        Admin(BrokerAddress(bootstrap=kafka.address.bootstrap), timeout=3)


@pytest.mark.parametrize(
    "topic", ["intake.form", "intake.signal", "processor.mail", "processor.crm2", "decisions"]
)
def test_a_processor_cannot_read_what_is_not_its_own(kafka: EmbeddedKafka, topic: str) -> None:
    """A processor's credentials open no intake, no log and no other's topic, also not one like its own."""
    with pytest.raises(KafkaException) as error:
        consume(kafka.address, login(processor_user("crm")), topic, group=processor_group("crm"))
    assert refused_as(error) == KafkaError.TOPIC_AUTHORIZATION_FAILED


@pytest.mark.parametrize("group", ["lapse.tag", "processor.mail", "processor.crm2", "mine"])
def test_a_processor_cannot_use_another_group(kafka: EmbeddedKafka, group: str) -> None:
    """A processor cannot take part in, and so disturb, any group but its own."""
    with pytest.raises(KafkaException) as error:
        consume(kafka.address, login(processor_user("crm")), "processor.crm", group=group)
    assert refused_as(error) == KafkaError.GROUP_AUTHORIZATION_FAILED


def test_a_processor_reads_its_own_topics_and_writes_nowhere(kafka: EmbeddedKafka) -> None:
    """A processor's own two topics are open to it in its own group; it can write to neither."""
    who = login(processor_user("crm"))
    produce(kafka.address, login("route"), "processor.crm", b"sealed")
    produce(kafka.address, login("connect"), "plain.crm", b"clear")
    assert consume(kafka.address, who, "processor.crm", group=processor_group("crm")) == [b"sealed"]
    assert consume(kafka.address, who, "plain.crm", group=f"{processor_group('crm')}.plain") == [b"clear"]
    for topic in ("processor.crm", "plain.crm", "receipts", "intake.form"):
        with pytest.raises(KafkaException) as error:
            produce(kafka.address, who, topic, b"forged")
        assert refused_as(error) == KafkaError.TOPIC_AUTHORIZATION_FAILED


def test_the_auditor_reads_all_but_intake_in_a_group_of_its_own(kafka: EmbeddedKafka) -> None:
    """The auditor reads sealed topics, never intake, and joins no group the flow stands on."""
    produce(kafka.address, login("tag"), "decisions", b"decided")
    assert consume(kafka.address, login(AUDITOR), "decisions", group="any-name") == [b"decided"]
    with pytest.raises(KafkaException) as error:
        consume(kafka.address, login(AUDITOR), "intake.form", group="any-name")
    assert refused_as(error) == KafkaError.TOPIC_AUTHORIZATION_FAILED
    with pytest.raises(KafkaException) as error:
        consume(kafka.address, login(AUDITOR), "decisions", group="lapse.govern")
    assert refused_as(error) == KafkaError.GROUP_AUTHORIZATION_FAILED


def test_empty_credentials_are_a_mistake_not_a_crash(kafka: EmbeddedKafka) -> None:
    """What librdkafka does not take as settings is our `BadInput`."""
    with pytest.raises(BadInput):
        Admin(kafka.address, Credentials(username="admin", password=""), timeout=5)


@pytest.mark.parametrize("role", ["route", "connect", "keys", "govern", "expire"])
def test_only_tag_reads_forms(kafka: EmbeddedKafka, role: str) -> None:
    """No other role reads clear forms, in no group."""
    with pytest.raises(KafkaException) as error:
        consume(kafka.address, login(role), "intake.form", group=f"lapse.{role}")
    assert refused_as(error) == KafkaError.TOPIC_AUTHORIZATION_FAILED


def test_topics_are_as_planned(admin: Admin) -> None:
    """Every topic exists with the plan's partitions and configuration, read back from the broker."""
    assert admin.differences(PLANS) == ()
    assert admin.topic_configs(["intake.form"])["intake.form"]["message.timestamp.type"] == "LogAppendTime"


def test_a_topic_that_drifted_is_found_and_mended(admin: Admin) -> None:
    """A changed setting and a missing topic are named; `align` mends the one and still names the other."""
    admin.configure_topic("receipts", {"retention.ms": "60000"})
    absent = TopicPlan(name="absent", partitions=1, config={}, holds="nothing")
    found = admin.differences([*PLANS, absent])
    assert [(d.topic, d.setting, d.found) for d in found] == [
        ("receipts", "retention.ms", "60000"),
        ("absent", "topic", None),
    ]
    assert [d.topic for d in admin.align([*PLANS, absent])] == ["absent"]


@pytest.mark.parametrize("bad", [{"retention.ms": "soon"}, {"no.such.setting": "1"}])
def test_a_configuration_kafka_does_not_take_is_an_error(admin: Admin, bad: dict[str, str]) -> None:
    """kafka-python reports these inside its result; here they are raised."""
    with pytest.raises(BadInput):
        admin.configure_topic("receipts", bad)


def test_creating_topics_again_changes_nothing(admin: Admin) -> None:
    """Existing topics are left alone, so every start may ask for the whole plan."""
    assert admin.create_topics(PLANS) == ()


def test_rights_taken_out_of_the_table_are_taken_away(kafka: EmbeddedKafka, admin: Admin) -> None:
    """A user whose rights are removed is refused at once; applying the table again restores it."""
    user = processor_user("mail")
    assert admin.apply_rights({user: ()}).removed == len(RIGHTS[user])
    with pytest.raises(KafkaException) as error:
        consume(kafka.address, login(user), "processor.mail", group=processor_group("mail"))
    assert refused_as(error) in (KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError.TOPIC_AUTHORIZATION_FAILED)
    assert admin.apply_rights(RIGHTS).created == len(RIGHTS[user])
    assert admin.apply_rights(RIGHTS) == admin.apply_rights(RIGHTS)


def test_a_removed_user_is_gone(kafka: EmbeddedKafka, admin: Admin) -> None:
    """Removing a user ends its log-ins; removing it again is no error."""
    admin.put_users([login("guest")])
    admin.remove_users(["guest"])
    admin.remove_users(["guest"])
    with pytest.raises(Refused):
        Admin(kafka.address, login("guest"), timeout=5)


def test_lag_counts_what_a_group_has_not_committed(kafka: EmbeddedKafka, admin: Admin) -> None:
    """A group that never committed is behind by all that is there; after a commit by what came later."""
    produce(kafka.address, login("connect"), "receipts", *[b"receipt"] * 5, partition=2)
    reads = {"lapse.govern": ["receipts"]}
    assert admin.lags(reads)["lapse.govern"][("receipts", 2)] == 5
    who = Consumer(kafka.address.librdkafka(login("govern")) | {"group.id": "lapse.govern"})
    who.commit(offsets=[TopicPartition("receipts", 2, 3)], asynchronous=False)
    who.close()
    assert admin.lags(reads)["lapse.govern"][("receipts", 2)] == 2


def test_deleted_records_leave_the_disk_after_a_tick(kafka: EmbeddedKafka, admin: Admin) -> None:
    """A tick rolls the segment, delete_records cuts it off, and within seconds no file holds the bytes."""
    canary = b"canary-" + os.urandom(12).hex().encode()
    admin.configure_topic("intake.cookie", {"segment.ms": "1000"})
    produce(kafka.address, login("collector"), "intake.cookie", canary)
    assert holders(kafka.log_dirs, canary)
    time.sleep(1.1)  # the segment must be older than segment.ms: time itself is what is tested
    produce(kafka.address, login("expire"), "intake.cookie", None)
    end = admin.offsets(["intake.cookie"])[("intake.cookie", 0)]
    with Admin(kafka.address, login("expire")) as expire:
        assert expire.delete_records({("intake.cookie", 0): end - 1}) == {("intake.cookie", 0): end - 1}
    deadline = time.monotonic() + 15
    while found := holders(kafka.log_dirs, canary):
        assert time.monotonic() < deadline, f"still in {found}"
        time.sleep(0.2)


def holders(folders: tuple[Path, ...], needle: bytes) -> list[str]:
    """Return the names of the files that hold these bytes."""
    found = []
    for path in (p for folder in folders for p in folder.rglob("*") if p.is_file()):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            continue  # Kafka has just deleted it
        if needle in content:
            found.append(path.name)
    return found


def test_a_second_owner_of_the_folder_is_refused(kafka: EmbeddedKafka) -> None:
    """Two processes, or two objects, never run one folder; the running broker is not disturbed."""
    with pytest.raises(Refused):
        new_embedded(kafka.data_dir).start()
    assert kafka.pid


def test_it_restarts_on_its_data_also_after_sigkill(tmp_path: Path) -> None:
    """Data, users, rights and ports survive a stop, a SIGKILL, and an owner that finds an orphaned broker."""
    kafka = new_embedded(tmp_path / "broker")
    try:
        first = kafka.start()
        with Admin(first, kafka.admin) as admin:
            admin.create_topics(PLANS[:1])
            admin.put_users([login("collector")])
            admin.apply_rights({"collector": RIGHTS["collector"]})
        produce(first, login("collector"), "intake.form", b"one")
        kafka.stop()
        assert kafka.start() == first
        produce(first, login("collector"), "intake.form", b"two")
        kill(kafka)
        assert kafka.start() == first
        assert consume(first, kafka.admin, "intake.form", group="g", wanted=2) == [b"one", b"two"]
    finally:
        kafka.stop()


def test_a_broker_whose_owner_was_killed_is_replaced(tmp_path: Path) -> None:
    """An owner that died without stopping its broker leaves an orphan; the next owner ends it and goes on."""
    script = (
        "import os, sys; from pathlib import Path; from tests.support.broker import kill, new_embedded\n"
        "kafka = new_embedded(Path(sys.argv[1])); kafka.start()\n"
        "os.write(1, str(kafka.pid).encode()); os._exit(9)"
    )
    owner = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, check=False, timeout=60
    )
    orphan = int(owner.stdout)
    assert psutil.pid_exists(orphan)
    with new_embedded(tmp_path) as successor, Admin(successor.address, successor.admin) as admin:
        assert successor.pid != orphan
        assert not psutil.pid_exists(orphan)
        assert admin.cluster_id() == successor.address.cluster_id


def test_a_broker_that_cannot_start_says_why(tmp_path: Path) -> None:
    """Without jars the error names the log and comes at once instead of at the time-out."""
    broken = EmbeddedKafka(tmp_path / "broker", libs=tmp_path / "empty", java=Path("java"))
    begun = time.monotonic()
    with pytest.raises(Unavailable) as error:
        broken.start()
    assert "StorageTool" in error.value.what
    assert time.monotonic() - begun < 20
    assert broken.pid is None


def test_secrets_are_private(kafka: EmbeddedKafka) -> None:
    """Files with passwords belong to their owner alone, and no process shows one in its arguments."""
    for name in ("node.json", "server.properties"):
        assert (kafka.data_dir / name).stat().st_mode & 0o077 == 0
    assert kafka.pid
    assert kafka.admin.password.encode() not in Path(f"/proc/{kafka.pid}/cmdline").read_bytes()
    assert kafka.admin.password not in repr(kafka.admin)


def test_a_member_that_is_taken_out_of_its_group_frees_its_partitions(kafka: EmbeddedKafka) -> None:
    """With the role's own rights: members are known by the client id they gave."""
    settings = {"group.id": "lapse.tag", "client.id": "lapse.x.1", "auto.offset.reset": "earliest"}
    consumer = Consumer(kafka.address.librdkafka(login("tag")) | settings)
    with Admin(kafka.address, login("tag")) as role:
        consumer.subscribe(["intake.form"])
        until_assigned = time.monotonic() + 30
        while not consumer.assignment() and time.monotonic() < until_assigned:
            consumer.poll(0.1)
        found = role.members("lapse.tag")
        assert list(found.values()) == ["lapse.x.1"]
        role.remove_members("lapse.tag", found)
        assert role.members("lapse.tag") == {}
        role.remove_members("lapse.tag", found)  # who is gone already is no mistake
    consumer.close()
