"""A whole system with ids from a real registry, on an open Kafka of somebody else's."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import fastavro
import httpx
import pytest

from lapse_client import Delivery, FormSubmitted, Invalid, Policy, Publisher, Registry, decode
from tests.e2e.lanes.flow import bad, opened_by_the_example, routed, system_on
from tests.e2e.live.system import STEADY, System, somebody
from tests.support.apicurio import running_apicurio
from tests.support.lanes.cluster import running_cluster
from tests.support.live import until

pytestmark = [pytest.mark.e2e, pytest.mark.lane, pytest.mark.registry, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry where somebody else came first, so that no id is the catalogue's."""
    with running_apicurio(tmp_path_factory.mktemp("apicurio")) as url:
        body = {"schema": '{"type":"string"}'}
        httpx.post(f"{url}/subjects/foreign-value/versions", json=body, trust_env=False).raise_for_status()
        yield url


@pytest.fixture(scope="module")
def system(registry: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Lapse on an open broker, with that registry."""
    folder = tmp_path_factory.mktemp("open")
    with running_cluster(folder / "kafka") as cluster:
        environment = cluster.environment | {"LAPSE_REGISTRY": registry}
        with system_on(folder / "data", environment, test=True) as running:
            yield running


def resolved(system: System, registry: str, topic: str) -> list[tuple[int, str]]:
    """What a consumer with that registry makes of a topic: id and name of every message, read through."""

    @cache
    def schema(number: int) -> Any:
        answer = httpx.get(f"{registry}/schemas/ids/{number}", trust_env=False).raise_for_status()
        return fastavro.parse_schema(json.loads(answer.json()["schema"]))

    found = []
    for message in system.kafka("auditor").read(topic):
        if message.value is not None and message.value[:1] == b"\0":
            number = int.from_bytes(message.value[1:5], "big")
            body = io.BytesIO(message.value[5:])
            fastavro.schemaless_reader(body, schema(number), None)
            assert body.tell() == len(message.value) - 5
            found.append((number, str(schema(number)["name"])))
    return found


def test_a_registry_names_every_record_on_every_topic(system: System, registry: str) -> None:
    """After a form and an erasure all that is on the log resolves in the registry, under ids of its own."""
    person = somebody()
    event_id = system.submit(person)
    assert system.ended(event_id, 60)["outcome"] == "routed"
    system.do("subject", "erase", person.who, "--reason", "asked", "--yes")
    names = set()
    ours = {entry["name"]: int(number) for number, entry in json.loads(catalogue(system)).items()}
    for topic in system.run["topics"]:
        for number, name in resolved(system, registry, topic):
            assert number != ours[name.removeprefix("lapse.v1.")]
            names.add(name.removeprefix("lapse.v1."))
    assert names >= {"DecisionBatch", "RecordTagged", "RecordDelivered", "Depersonalized", "RequestDecided"}


def catalogue(system: System) -> str:
    """The catalogue's text, whose ids nothing here may carry."""
    return Path(system.run["catalogue"]).read_text()


def test_a_consumer_needs_the_key_endpoint_alone(system: System) -> None:
    """The endpoint hands out schemas under the log's ids: the example opens a delivery without a registry."""
    routed(system)
    assert any('"email"' in line for line in opened_by_the_example(system))


def test_the_python_client_takes_ids_from_where_they_are(system: System, registry: str) -> None:
    """The publisher asks the registry, `decode` the key endpoint: neither needs the catalogue's ids."""
    person, run = somebody(), system.run
    policy = Policy.from_json(system.http("GET", system.url("collector", "/policy")).body)
    settings = {"bootstrap.servers": run["bootstrap"]}
    with Publisher.over_kafka(settings, site="www", policy=policy, registry=Registry(registry)) as events:
        event_id = events.publish(FormSubmitted(form="request-demo", fields=person.fields))
    assert system.ended(event_id, 60)["outcome"] == "routed"
    (message,) = system.deliveries(system.outcome(event_id), "crm")
    found = decode(message.value, Registry(run["urls"]["keys"], ca_file=run["ca_file"]))
    assert isinstance(found, Delivery)
    with pytest.raises(Invalid):
        decode(message.value)


def test_a_command_takes_the_ids_of_the_system_not_of_its_shell(system: System, tmp_path: Path) -> None:
    """An operator's shell knows no LAPSE_REGISTRY: what it reads and orders is right all the same."""
    event_id = routed(system)
    shell = System(system.data, STEADY)
    assert shell.outcome(event_id)["outcome"] == "routed"
    person = somebody()
    assert shell.do("subject", "erase", person.who, "--reason", "asked", "--yes")["request_id"]
    system.quiet()


def test_an_open_cluster_works_and_is_called_open(system: System) -> None:
    """Without passwords everything runs, and doctor ends with 1 for that reason alone."""
    system.quiet()
    until(lambda: set(bad(system)) == {"broker closed"}, 30, "nothing else is wrong")
    assert bad(system) == {"broker closed": "PLAINTEXT"}
    assert system.lapse("doctor").code == 1


def test_the_origin_of_ids_never_changes_under_a_log(system: System) -> None:
    """The same data started without the registry would read its records by the wrong ids: refused with 3."""
    assert system.stop() == 0
    without = {name: value for name, value in system.environment.items() if name != "LAPSE_REGISTRY"}
    again = System(system.data, STEADY, environment=without)
    done = again.lapse("up", "--port", "0", timeout=90, json_output=False)
    assert done.code == 3, done.err
    assert "LAPSE_REGISTRY" in done.err
