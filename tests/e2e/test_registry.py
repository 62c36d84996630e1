"""Schema ids from a real registry: registered by us, resolved by others, guarded against breaking changes."""

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import avro.io
import avro.schema
import httpx
import pytest

from schemas import catalogue
from schemas.catalogue import FOLDER, Catalogue
from schemas.codec import Codec
from schemas.errors import Refused, Rejected
from schemas.ids import DeliveryId, Micros, Period, Sequence, SubjectRef, Terms
from schemas.ids import Handle as HandleId
from schemas.models import DeliveredCompartment, DeliveredWrap, Grant, RecordDelivered
from schemas.registry import Registry
from tests.support.apicurio import running_apicurio

pytestmark = [pytest.mark.registry, pytest.mark.timeout(400)]

CATALOGUE = Catalogue.load()
DELIVERED = RecordDelivered(
    delivery_id=DeliveryId(b"d" * 16),
    subject_ref=SubjectRef(b"s" * 16),
    revision=0,
    source="form/demo",
    schema_id=1,
    compartments=[
        DeliveredCompartment(
            categories=["user.contact.email"], sealed=b"sealed", wraps=[DeliveredWrap(grant=0, key=b"k" * 40)]
        )
    ],
    grants=[
        Grant(
            purpose="demo",
            period=Period(19_000),
            terms=Terms(1),
            handle=HandleId(b"h" * 16),
            decided=Sequence(7),
            use_until=Micros(1_700_000_000_000_000),
        )
    ],
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry in which somebody else registered a schema first, so that ids are not the catalogue's."""
    with running_apicurio(tmp_path_factory.mktemp("apicurio")) as address:
        body = {"schema": '{"type":"string"}'}
        httpx.post(
            f"{address}/subjects/foreign-value/versions", json=body, trust_env=False
        ).raise_for_status()
        yield address


@pytest.fixture(scope="module")
def ids(url: str) -> dict[str, int]:
    """Our records' ids, freshly registered."""
    return Registry(url, CATALOGUE).register()


def test_every_record_is_registered_under_its_rule(url: str, ids: dict[str, int]) -> None:
    """Each has an id of the registry's own, its subject and its rule; registering again changes nothing."""
    assert set(ids) == set(CATALOGUE.latest())
    assert all(ids[name] != schema_id for name, schema_id in CATALOGUE.latest().items())
    assert Registry(url, CATALOGUE).register() == ids
    with httpx.Client(base_url=url, trust_env=False) as client:
        assert {f"lapse.v1.{name}" for name in ids} <= set(client.get("/subjects").json())
        for entry in CATALOGUE.entries.values():
            rule = client.get(f"/config/lapse.v1.{entry.name}").json()
            assert rule["compatibilityLevel"] == entry.rule


def test_ids_are_resolved_without_registering(url: str, ids: dict[str, int]) -> None:
    """A worker that starts later finds the same ids and schemas by asking."""
    fresh = Registry(url)
    assert {name: fresh.id_of(name) for name in ids} == ids
    assert all(fresh.schema(ids[name]) == CATALOGUE.schema(CATALOGUE.id_of(name)) for name in ids)
    with pytest.raises(Rejected, match="schema_unknown"):
        fresh.schema(999_999)


def test_a_consumer_that_knows_only_the_registry_reads_us(url: str, ids: dict[str, int]) -> None:
    """Five bytes, one GET, the official Avro package: nothing of ours is needed to read a delivery."""
    data = Codec(Registry(url, CATALOGUE)).encode(DELIVERED)
    assert data[0] == 0
    schema_id = int.from_bytes(data[1:5], "big")
    assert schema_id == ids["RecordDelivered"]
    answer = httpx.get(f"{url}/schemas/ids/{schema_id}", trust_env=False)
    schema = avro.schema.parse(answer.json()["schema"])
    value: Any = avro.io.DatumReader(schema).read(avro.io.BinaryDecoder(io.BytesIO(data[5:])))
    assert value["subject_ref"] == DELIVERED.subject_ref
    assert value["grants"][0]["purpose"] == "demo"
    assert value["grants"][0]["use_until"].timestamp() == 1_700_000_000
    assert value["compartments"][0]["wraps"] == [{"grant": 0, "key": b"k" * 40}]


def test_we_read_what_others_registered(url: str, ids: dict[str, int]) -> None:
    """A producer with a newer, compatible schema is read with ours; a foreign schema is turned away."""
    newer = CATALOGUE.schema(CATALOGUE.id_of("RecordDelivered"))
    newer["fields"].append({"name": "note", "type": ["null", "string"], "default": None})
    body = {"schema": json.dumps(newer, separators=(",", ":"))}
    path = f"{url}/subjects/lapse.v1.RecordDelivered/versions"
    schema_id = httpx.post(path, json=body, trust_env=False).raise_for_status().json()["id"]
    assert schema_id not in ids.values()
    using = Codec(Registry(url, CATALOGUE))
    data = using.encode(DELIVERED)
    assert using.decode(b"\x00" + schema_id.to_bytes(4, "big") + data[5:] + b"\x00") == DELIVERED
    foreign = b"\x00" + (min(ids.values()) - 1).to_bytes(4, "big") + b"\x02x"
    with pytest.raises(Rejected, match="schema_unknown"):
        using.decode(foreign)


@pytest.mark.parametrize(
    ("record", "old", "new"),
    [
        ("FormSubmitted", '"name": "form"', '"name": "sheet"'),
        ("RecordDelivered", '"name": "source"', '"name": "origin"'),
        ("Depersonalized", '"name": "records", "doc"', '"name": "count", "default": 0, "doc"'),
    ],
)
def test_an_incompatible_version_is_refused(
    url: str, ids: dict[str, int], tmp_path: Path, record: str, old: str, new: str
) -> None:
    """The registry says 409, we say `incompatible_schema`, and what is written stays what it was.

    The last case suits new readers and breaks only those of yesterday: outsiders read it, so it is refused.
    """
    shutil.copytree(FOLDER / "avro", tmp_path / "avro")
    text = (FOLDER / f"avro/{record}.v1.avsc").read_text()
    assert old in text
    (tmp_path / f"avro/{record}.v2.avsc").write_text(text.replace(old, new))
    content = (tmp_path / f"avro/{record}.v2.avsc").read_bytes()
    topics = CATALOGUE.entries[CATALOGUE.id_of(record)].topics
    entries = catalogue.add(CATALOGUE.entries, f"{record}.v2.avsc", content, topics)
    with pytest.raises(Refused) as caught:
        Registry(url, Catalogue(entries, tmp_path)).register()
    assert caught.value.code == "incompatible_schema"
    assert record in caught.value.where
    assert Registry(url, CATALOGUE).id_of(record) == ids[record]
