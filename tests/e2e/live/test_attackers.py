"""Attackers with little in hand: nothing, a processor's password, a site's public key.

What each of them gets stands in docs/threats.md.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from tests.e2e.live.system import System, accepted, somebody
from tests.e2e.live.test_refusals import problem

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]
SECONDS = 20.0
REFUSED = {
    "_NOENT",  # of a topic it may not see, not even who leads it is told
    "TOPIC_AUTHORIZATION_FAILED",
    "GROUP_AUTHORIZATION_FAILED",
    "CLUSTER_AUTHORIZATION_FAILED",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
}
MINE = "processor.crm"


# ---- a stranger on the network -----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("server", "method", "path"),
    [
        ("collector", "POST", "/f/request-demo"),
        ("collector", "POST", "/e"),
        ("collector", "POST", "/s"),
        ("collector", "PUT", "/c"),
        ("keys", "POST", "/v1/keys"),
        ("keys", "POST", "/v1/receipts"),
        ("admin", "GET", "/v1/lag"),
        ("admin", "GET", "/v1/events/" + "0" * 32),
    ],
)
def test_a_stranger_gets_401_wherever_something_is_taken_or_told(
    steady: System, server: str, method: str, path: str
) -> None:
    """Without a credential, and with one of another kind; the answer is the same for both."""
    foreign = {
        "collector": steady.keys("crm").token,
        "keys": steady.site_token(),
        "admin": steady.keys("crm").token,
    }
    body: object = {"fields": {}} if method != "GET" else None
    answers = [
        steady.http(method, steady.url(server, path), body, headers)
        for headers in ({}, {"Authorization": f"Bearer {foreign[server]}"}, {"Authorization": "Bearer "})
    ]
    for answer in answers:
        problem(answer, 401, "unauthorized")
    assert len({answer.body for answer in answers}) == 1


def test_a_stranger_learns_from_open_addresses_what_is_public(steady: System) -> None:
    """Policy, plans, schemas, health: names and numbers of the policy, and nothing of anybody."""
    person = somebody()
    steady.submit(person)
    steady.still()
    open_to_all = {
        "collector": ("/policy", "/healthz", "/readyz", "/.well-known/gpc.json", "/openapi.json"),
        "keys": ("/healthz", "/openapi.json", "/schemas/ids/1"),
        "admin": ("/healthz", "/openapi.json", "/v1/plans/1"),
    }
    secrets = known_secrets(steady)
    for server, paths in open_to_all.items():
        for path in paths:
            answer = steady.http("GET", steady.url(server, path))
            assert answer.status == 200, (server, path)
            assert not any(value in answer.body for value in person.values)
            assert not [name for name, secret in secrets.items() if secret in answer.body], (server, path)


@pytest.mark.parametrize("listener", ["clients", "controller"])
def test_kafka_says_nothing_to_a_stranger(steady: System, listener: str) -> None:
    """Bytes without a log-in, on either listener, get no answer but the end of the connection."""
    port = (
        int(steady.run["bootstrap"].rpartition(":")[2]) if listener == "clients" else controller_port(steady)
    )
    # Anybody may ask which versions of the protocol there are; what topics there are, nobody.
    metadata = bytes.fromhex("00000017 0003 0000 00000001 0005 6d616c6c79 00000000 0000".replace(" ", ""))
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as stranger:
        stranger.sendall(len(metadata[4:]).to_bytes(4, "big") + metadata[4:])
        found = b""
        with contextlib.suppress(ConnectionError):
            while more := stranger.recv(4096):
                found += more
    assert found == b""


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", None])
def test_no_other_way_in_works_with_a_processors_password(steady: System, mechanism: str | None) -> None:
    """On the controller's listener nobody but the broker itself logs in, by whatever mechanism."""
    who = json.loads(Path(steady.run["processors"]["crm"]["credentials_file"]).read_text())
    place = {"bootstrap.servers": f"127.0.0.1:{controller_port(steady)}", "log_level": 0}
    login = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanisms": mechanism,
        "sasl.username": who["username"],
        "sasl.password": who["password"],
    }
    client = AdminClient({**place, **(login if mechanism else {})})
    with pytest.raises(KafkaException):
        client.list_topics(timeout=3)


def controller_port(system: System) -> int:
    """Where the embedded broker's controller listens."""
    text = (system.data / "broker" / "server.properties").read_text()
    voters = next(line for line in text.splitlines() if line.startswith("controller.quorum.voters="))
    return int(voters.rpartition(":")[2].strip().rstrip("\\"))


# ---- a processor's principal -------------------------------------------------------------------------------
def admin_operations(topic: str, group: str) -> dict[str, Callable[[AdminClient], Any]]:
    """Everything an administrator can ask of a cluster, each as somebody who must not; by name."""
    binding = AclBinding(
        ResourceType.TOPIC,
        topic,
        ResourcePatternType.LITERAL,
        "User:processor.crm",
        "*",
        AclOperation.ALL,
        AclPermissionType.ALLOW,
    )
    every = AclBindingFilter(
        ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
    )
    entry = ConfigEntry("retention.ms", "-1", incremental_operation=AlterConfigOpType.SET)
    offset = ConsumerGroupTopicPartitions(group, [TopicPartition("intake.form", 0, 0)])
    password = UserScramCredentialUpsertion(
        "admin", ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096), b"mine", b"salt-salt-salt-s"
    )
    return {
        "create a topic": lambda c: c.create_topics([NewTopic("mine", 1, 1)]),
        "delete a topic": lambda c: c.delete_topics([topic]),
        "add partitions": lambda c: c.create_partitions([NewPartitions(topic, 99)]),
        "set a topic's retention": lambda c: c.incremental_alter_configs(
            [ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])]
        ),
        "read a topic's settings": lambda c: c.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]),
        "read the broker's settings": lambda c: c.describe_configs(
            [ConfigResource(ResourceType.BROKER, "1")]
        ),
        "cut off records": lambda c: c.delete_records([TopicPartition(topic, 0, 1)]),
        "give itself rights": lambda c: c.create_acls([binding]),
        "see everybody's rights": lambda c: {"all": c.describe_acls(every)},
        "take away rights": lambda c: c.delete_acls([every]),
        "set a password": lambda c: c.alter_user_scram_credentials([password]),
        "see a group": lambda c: c.describe_consumer_groups([group]),
        "move a group": lambda c: c.alter_consumer_group_offsets([offset]),
        "delete a group": lambda c: c.delete_consumer_groups([group]),
    }


@pytest.mark.parametrize("operation", [*admin_operations("", "")])
def test_a_processor_administers_nothing(steady: System, operation: str) -> None:
    """Neither its own topic nor another's, nor the flow's groups, nor users, rights or the broker."""
    client = AdminClient(steady.kafka("crm").client)
    for topic, group in (
        (MINE, "lapse.tag"),
        ("processor.mail", "processor.mail"),
        ("decisions", "lapse.route"),
    ):
        if operation == "read a topic's settings" and topic == MINE:
            continue
        for future in admin_operations(topic, group)[operation](client).values():
            if operation == "see everybody's rights":
                assert future.result(SECONDS) == [], "librdkafka gives an empty list where it is refused"
                continue
            with pytest.raises(KafkaException) as refusal:
                future.result(SECONDS)
            assert str(refusal.value.args[0].name()) in REFUSED, (operation, topic)


def test_a_processor_sees_its_own_topics_and_no_groups(steady: System) -> None:
    """A list of topics, or of groups, names what it may read and hides the rest."""
    client = AdminClient(steady.kafka("crm").client)
    seen = {name for name, topic in client.list_topics(timeout=SECONDS).topics.items() if not topic.error}
    assert seen <= {MINE, "plain.crm"}
    groups = client.list_consumer_groups().result(SECONDS)
    assert {group.group_id for group in groups.valid} <= {MINE}


def test_a_processor_begins_no_transaction(steady: System) -> None:
    """Neither under the connector's transactional id, which would fence it out, nor under one of its own."""
    for name in ("lapse.connect.plain.warehouse.0", "processor.crm"):
        producer = Producer({**steady.kafka("crm").client, "transactional.id": name})
        with pytest.raises(KafkaException) as refusal:
            producer.init_transactions(SECONDS)
        assert str(refusal.value.args[0].name()) in REFUSED, name


def test_a_processors_token_is_one_processors(steady: System) -> None:
    """Another's delivery is closed as not_yours, and another's name in front makes no other token."""
    event_id = steady.submit(somebody(), {"purpose": "marketing_email", "granted": True})
    steady.still()
    delivery = steady.delivery(event_id, "mail")
    assert {each["code"] for each in steady.keys("crm").closed(delivery)} == {"not_yours"}
    assert steady.keys("mail").open(delivery)
    forged = steady.keys("crm").token.replace("lk_crm_", "lk_mail_")
    answer = steady.http(
        "POST", steady.url("keys", "/v1/keys"), {"deliveries": []}, {"Authorization": f"Bearer {forged}"}
    )
    problem(answer, 401, "unauthorized")


# ---- a web server's site key -------------------------------------------------------------------------------
def test_a_site_key_speaks_for_its_site_alone(steady: System) -> None:
    """It sends forms of its own site, cannot name ids or times, and is no token."""
    first, second = list(steady.run["sites"])[:2]
    key = {"X-Lapse-Site-Key": steady.site_key(second)}
    url = steady.url("collector", "/f/request-demo")
    event_id = accepted(steady.http("POST", url, {"fields": somebody().fields}, key))
    steady.still()
    for extra in ({"event_id": "ab" * 16}, {"collected_at": "2020-01-01T00:00:00Z"}, {"backfill": True}):
        problem(steady.http("POST", url, {"fields": {}, **extra}, key), 401, "unauthorized")
    problem(steady.http("POST", url, {"fields": {}, "site": first}, key), 422)
    beacon = {"events": [{"name": "x", "url": "https://x.example", "site": first}]}
    problem(steady.http("POST", steady.url("collector", "/e"), beacon, key), 401, "unauthorized")
    for server, path in (("admin", f"/v1/events/{event_id}"), ("admin", "/v1/lag")):
        bearer = {"Authorization": f"Bearer {steady.site_key(second)}"}
        problem(steady.http("GET", steady.url(server, path), None, bearer), 401, "unauthorized")
    assert steady.admin(f"/v1/events/{event_id}", steady.site_token(second)).status == 200


def test_another_sites_event_and_one_nobody_sent_are_told_alike(steady: System) -> None:
    """Same status, same bytes: a site cannot ask whether another site has sent an event."""
    first, second = list(steady.run["sites"])[:2]
    event_id = steady.submit(somebody())
    steady.still()
    assert steady.admin(f"/v1/events/{event_id}", steady.site_token(first)).status == 200
    foreign = steady.admin(f"/v1/events/{event_id}", steady.site_token(second))
    nobodys = steady.admin(f"/v1/events/{os.urandom(16).hex()}", steady.site_token(second))
    assert (foreign.status, foreign.body) == (nobodys.status, nobodys.body) == (404, foreign.body)


# ---- known and unknown people ------------------------------------------------------------------------------
def test_erasing_somebody_and_nobody_looks_alike(steady: System) -> None:
    """The operator's answer has the same shape and length, and so have the answers to their next form."""
    known, unknown = somebody(), somebody()
    steady.submit(known)
    steady.still()
    said = [
        steady.lapse("subject", "erase", who.who, "--reason", "asked", "--yes") for who in (known, unknown)
    ]
    assert {done.code for done in said} == {0}
    assert len({len(done.out) for done in said}) == 1
    assert len({tuple(done.json()) for done in said}) == 1
    assert said[0].err == said[1].err
    answers = [steady.form("request-demo", {"fields": who.fields}) for who in (known, unknown)]
    assert len({(answer.status, len(answer.body)) for answer in answers}) == 1


# ---- files and secrets -------------------------------------------------------------------------------------
def known_secrets(system: System) -> dict[str, bytes]:
    """Every secret of the data folder by where it lies; each is random, so finding one is no accident."""
    found: dict[str, bytes] = {}
    keys = system.data / "keys"
    for path in keys.rglob("*.json"):
        document = json.loads(path.read_text())
        for name in ("password", "token", "id_key"):
            if name in document:
                found[f"{path.relative_to(keys)}:{name}"] = str(document[name]).encode()
        for each in document.get("signing", ()):
            found[f"{path.relative_to(keys)}:{each['id']}"] = str(each["key"]).encode()
    for name in ("admin.token", "operator.ed25519", "service.ed25519"):
        found[name] = (keys / name).read_bytes().strip()
    found["tls.key"] = (keys / "tls.key").read_bytes().splitlines()[1]
    for path in keys.rglob("*.webhook"):
        found[str(path.relative_to(keys))] = path.read_bytes().split()[0]
    node = json.loads((system.data / "broker" / "node.json").read_text())
    found |= {f"node.json:{name}": str(value).encode() for name, value in node.items() if "password" in name}
    assert len(found) > 20
    return found


def test_every_file_belongs_to_its_owner_alone(steady: System) -> None:
    """Below the data folder no file and no folder can be read, written or entered by anybody else."""
    open_ones = {}
    looked = 0
    for path in (steady.data, *steady.data.rglob("*")):
        with contextlib.suppress(FileNotFoundError):  # the broker removes segments as we look
            mode = path.lstat().st_mode
            looked += 1
            if stat.S_IMODE(mode) & 0o077:
                open_ones[str(path.relative_to(steady.data))] = oct(mode)
    assert open_ones == {}
    assert looked > 100


VERBS: tuple[tuple[str, ...], ...] = (
    ("doctor",),
    ("topics",),
    ("wait", "--timeout", "60"),
    ("policy", "show"),
    ("bucket", "list"),
    ("processor", "list"),
    ("processor", "onboard", "crm"),
    ("processor", "credentials", "crm"),
    ("lifecycle", "tail"),
    ("residue", "show"),
    ("quarantine", "list"),
    ("hold", "list"),
    ("clock", "show"),
    ("subject", "show", "email:a@b.example"),
    ("token", "mint", "--site", "www", "--days", "1"),
    ("records", "show", "--event", "00" * 16),
    ("processor", "suspend", "nobody"),
)


@pytest.mark.timeout(600)
def test_no_verb_prints_a_secret(steady: System) -> None:
    """Whatever is asked, tables and JSON name the files secrets lie in, never what stands in them."""
    secrets = known_secrets(steady)
    for number, verb in enumerate(VERBS):
        done = steady.lapse(*verb, json_output=bool(number % 2))
        said = (done.out + done.err).encode()
        assert said, verb
        assert not [name for name, secret in secrets.items() if secret in said], verb


def test_no_log_no_page_and_no_process_shows_a_secret(steady: System) -> None:
    """Nor do logs, what `up` printed, metrics, run.json, or the arguments of a process."""
    secrets = known_secrets(steady)
    texts = {str(path): path.read_bytes() for path in (steady.data / "logs").iterdir()}
    texts["up"] = (steady.data.parent / f"{steady.data.name}.up.log").read_bytes()
    texts["run.json"] = (steady.data / "run.json").read_bytes()
    texts |= {role: steady.http("GET", url).body for role, url in steady.run["urls"]["metrics"].items()}
    for role, pid in steady.roles().items():
        texts[f"arguments of {role}"] = Path(f"/proc/{pid}/cmdline").read_bytes()
    assert len(texts) > 20
    shown = {
        where: name for where, text in texts.items() for name, secret in secrets.items() if secret in text
    }
    assert shown == {}
    site_keys = {each["key"] for each in steady.run["sites"].values()}
    assert all(key.startswith("sk_") for key in site_keys), "what run.json does show is public"


def test_both_tls_ports_speak_1_2_or_newer_with_the_certificate_of_init(steady: System) -> None:
    """The certificate is the authority's, for localhost; its key is the owner's alone."""
    for server in ("keys", "admin"):
        where = urlsplit(steady.url(server, ""))
        answer = steady.http("GET", f"https://localhost:{where.port}/healthz")
        assert answer.status == 200
    mode = (steady.data / "keys" / "tls.key").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
