"""What docs/wire.md tells a stranger, in his own code: framing, topics read whole, deliveries opened."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import hmac
import io
import json
import ssl
import struct
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import fastavro
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

READ_SECONDS, POLL_SECONDS = 30.0, 0.1
Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message of a topic; `name` and `record` are None for a tick and for what is not framed."""

    topic: str
    partition: int
    offset: int
    at_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    name: str | None
    record: Record | None

    @property
    def place(self) -> list[int]:
        """Partition and offset, as `records show` writes them."""
        return [self.partition, self.offset]


class Schemas:
    """The catalogue as run.json names it; nothing of Lapse's own code."""

    def __init__(self, catalogue: Path, folder: Path) -> None:
        entries = json.loads(catalogue.read_text())
        self.names = {int(number): str(entry["name"]) for number, entry in entries.items()}
        self._parsed = {
            int(number): fastavro.parse_schema(json.loads((folder / entry["file"]).read_text()))
            for number, entry in entries.items()
        }
        self.ids = {name: number for number, name in self.names.items()}

    def knows(self, value: bytes) -> bool:
        """Whether a value is framed with an id of the catalogue."""
        return value[:1] == b"\0" and int.from_bytes(value[1:5], "big") in self.names

    def decode(self, value: bytes) -> tuple[str, Record]:
        """Name and record of a framed value; a union's branch comes as (name, record)."""
        assert value[0] == 0, "not framed"
        number = int.from_bytes(value[1:5], "big")
        read = fastavro.schemaless_reader(
            io.BytesIO(value[5:]), self._parsed[number], None, return_record_name=True
        )
        return self.names[number], read

    def encode(self, name: str, record: Record) -> bytes:
        """Frame a record as any Avro client would."""
        out = io.BytesIO()
        fastavro.schemaless_writer(out, self._parsed[self.ids[name]], record)
        return b"\0" + self.ids[name].to_bytes(4, "big") + out.getvalue()


class Kafka:
    """The cluster, as one principal."""

    def __init__(self, run: Mapping[str, Any], credentials_file: str | Path) -> None:
        who = json.loads(Path(credentials_file).read_text())
        security = run["security"]
        self.client: dict[str, Any] = {
            "bootstrap.servers": run["bootstrap"],
            "security.protocol": security["protocol"],
            "log_level": 0,
        }
        if security["mechanism"]:
            self.client |= {"sasl.mechanisms": security["mechanism"]}
            self.client |= {"sasl.username": who["username"], "sasl.password": who["password"]}
        if security["ca"]:
            self.client["ssl.ca.location"] = security["ca"]
        # An assigned consumer commits nothing, yet librdkafka asks for its group's coordinator.
        self.group = str(who["username"]) if str(who["username"]).startswith("processor.") else "outside"
        self.schemas = Schemas(Path(run["catalogue"]), Path(run["schemas_dir"]))

    def consumer(self, group: str) -> Consumer:
        """A consumer that commits nothing by itself."""
        return Consumer(
            {
                **self.client,
                "group.id": group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
            }
        )

    def read(self, *topics: str) -> list[Message]:
        """Everything on these topics at this moment; KafkaException where this principal may not."""
        consumer = self.consumer(self.group)
        found: list[Message] = []
        try:
            open_places = set()
            for topic in topics:
                described = consumer.list_topics(topic, READ_SECONDS).topics[topic]
                if described.error:
                    raise KafkaException(described.error)
                open_places |= {(topic, number) for number in described.partitions}
            consumer.assign([TopicPartition(topic, number, 0) for topic, number in open_places])
            deadline = time.monotonic() + READ_SECONDS
            while open_places:
                assert time.monotonic() < deadline, f"not read to the end: {sorted(open_places)}"
                for message in consumer.consume(1000, POLL_SECONDS):
                    if message.error() is None:
                        found.append(self._message(message))
                    elif message.error().code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                        open_places.discard((message.topic(), message.partition()))
                    else:
                        raise KafkaException(message.error())
        finally:
            consumer.close()
        return sorted(found, key=lambda each: (each.topic, each.partition, each.offset))

    def at(self, topic: str, places: Iterable[Sequence[int]]) -> list[Message]:
        """The messages at these [partition, offset]s of a topic."""
        consumer = self.consumer(self.group)
        found = []
        try:
            for partition, offset in places:
                consumer.assign([TopicPartition(topic, partition, offset)])
                message = consumer.poll(READ_SECONDS)
                assert message is not None, f"nothing at {topic} {partition} {offset}"
                if message.error():
                    raise KafkaException(message.error())
                assert message.offset() == offset
                found.append(self._message(message))
        finally:
            consumer.close()
        return found

    def ends(self, topic: str) -> dict[int, int]:
        """Each partition's next offset."""
        consumer = self.consumer(self.group)
        try:
            numbers = consumer.list_topics(topic, READ_SECONDS).topics[topic].partitions
            places = [TopicPartition(topic, number) for number in numbers]
            return {
                p.partition: consumer.get_watermark_offsets(p, READ_SECONDS, cached=False)[1] for p in places
            }
        finally:
            consumer.close()

    def records(self, name: str, *topics: str) -> list[Message]:
        """The messages that hold a record of this name."""
        return [each for each in self.read(*topics) if each.name == name]

    def send(
        self,
        topic: str,
        *values: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
        key: bytes | None = None,
    ) -> list[KafkaError]:
        """Produce and wait; what the broker refused."""
        refused: list[KafkaError] = []
        producer = Producer({**self.client, "message.timeout.ms": 15_000})
        for value in values:
            producer.produce(
                topic,
                value=value,
                key=key,
                headers=list(headers),
                on_delivery=lambda error, _message: refused.append(error) if error else None,
            )
        assert producer.flush(20) == 0
        return refused

    def publish(self, topic: str, name: str, *records: Record) -> None:
        """Frame and produce; every one must be taken."""
        assert self.send(topic, *(self.schemas.encode(name, record) for record in records)) == []

    def _message(self, message: Any) -> Message:
        value, name, record = message.value(), None, None
        if value is not None and self.schemas.knows(value):
            # Garbage that looks framed is what some tests send.
            with contextlib.suppress(EOFError, IndexError, UnicodeDecodeError, ValueError):
                name, record = self.schemas.decode(value)
        return Message(
            topic=message.topic(),
            partition=message.partition(),
            offset=message.offset(),
            at_ms=message.timestamp()[1],
            key=message.key(),
            value=value,
            headers=tuple(message.headers() or ()),
            name=name,
            record=record,
        )


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The key endpoint, as one processor's program sees it."""

    url: str
    ca_file: str
    token: str

    def post(self, path: str, body: bytes) -> tuple[int, Any]:
        """Status and JSON of one POST."""
        request = urllib.request.Request(  # noqa: S310 - the address comes from run.json
            self.url + path,
            data=body,
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        try:
            with self._opener.open(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read() or b"null")

    @cached_property
    def _opener(self) -> urllib.request.OpenerDirector:
        context = ssl.create_default_context(cafile=self.ca_file)
        return urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )

    def ask(self, deliveries: Sequence[Record]) -> list[Record]:
        """The endpoint's results, one per delivery, in order."""
        status, answer = self.post(
            "/v1/keys", json.dumps({"deliveries": [asked(d) for d in deliveries]}).encode()
        )
        assert status == 200, answer
        assert len(answer["results"]) == len(deliveries)
        return list(answer["results"])

    def open(self, delivery: Record) -> dict[str, str]:
        """What opens of a delivery at this moment."""
        fields: dict[str, str] = {}
        for part in self.ask([delivery])[0]["compartments"]:
            if "key" in part:
                fields |= json.loads(unseal(delivery, part["n"], base64.b64decode(part["key"])))
        return fields

    def closed(self, delivery: Record) -> list[Record]:
        """The refusals of a delivery none of whose compartments may open."""
        parts = self.ask([delivery])[0]["compartments"]
        assert parts and all("closed" in part for part in parts), "something opened"
        return [part["closed"] for part in parts]


def asked(delivery: Record) -> Record:
    """A delivery in the shape `POST /v1/keys` takes: ids and handles hex, keys base64."""
    return {
        "delivery_id": delivery["delivery_id"].hex(),
        "revision": delivery["revision"],
        "source": delivery["source"],
        "compartments": [
            {"n": n, "wraps": [_wrap(delivery, wrap) for wrap in part["wraps"]]}
            for n, part in enumerate(delivery["compartments"])
        ],
    }


def _wrap(delivery: Record, wrap: Record) -> Record:
    grant = delivery["grants"][wrap["grant"]]
    named = {name: grant[name] for name in ("purpose", "period", "terms")}
    return {**named, "handle": grant["handle"].hex(), "key": base64.b64encode(wrap["key"]).decode()}


EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def micros(at: Any) -> int:
    """Microseconds since the epoch of an Avro timestamp."""
    return at if isinstance(at, int) else (at - EPOCH) // dt.timedelta(microseconds=1)


def unseal(delivery: Record, n: int, key: bytes) -> bytes:
    """The clear bytes of compartment `n`: commitment first, then AES-256-GCM under the stated AAD."""
    sealed = delivery["compartments"][n]["sealed"]
    commitment, nonce = sealed[:16], sealed[16:28]
    assert hmac.digest(key, b"lapse/v1/commit" + nonce, sha256)[:16] == commitment, "another key's commitment"
    return bytes(AESGCM(key).decrypt(nonce, sealed[28:], _aad(delivery, n)))


def _text(value: str) -> bytes:
    return struct.pack(">H", len(value.encode())) + value.encode()


def _aad(delivery: Record, n: int) -> bytes:
    categories: Iterable[str] = delivery["compartments"][n]["categories"]
    aad = b"lapse/v1/delivery" + delivery["delivery_id"] + struct.pack(">I", delivery["revision"])
    aad += _text(delivery["source"]) + struct.pack(">HH", n, len(list(categories)))
    aad += b"".join(_text(name) for name in categories) + struct.pack(">H", len(delivery["grants"]))
    for grant in delivery["grants"]:
        aad += _text(grant["purpose"]) + struct.pack(">qI", grant["period"], grant["terms"]) + grant["handle"]
        aad += struct.pack(">Qq", grant["decided"], micros(grant["use_until"]))
    return bytes(aad)
