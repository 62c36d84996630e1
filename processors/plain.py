"""The connector `kafka`: clear records for those who cannot ask for keys, here or on another cluster.

Nothing is held here, and no lapse is called: lapses go down the same partition, through the same producer.
So no clear record may ever land behind its lapse. One transactional id per partition sees to that (model m2,
plain mode): a record is opened only after this producer has fenced off every other, so a lapse that lies
there already means a dead key; and a lapse that somebody else writes later has fenced us off, so our
transaction cannot commit.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, ProducerFenced

from processors.calls import OpenedPart, Told
from processors.clear import PlainSettings, lapse_json, opened_json
from processors.faults import FENCED, SENT, TOLD, WRITTEN
from processors.pieces import ChunkLike, InboundLike
from processors.telling import Teller
from processors.values import Opener
from schemas.codec import decode, encode
from schemas.errors import Rejected, Unavailable
from schemas.ids import Micros
from schemas.models import Depersonalized, OpenedPurpose, RecordDelivered, RecordOpened
from vault.faults import Crash, never
from vault.port import Tx, Vault

log = logging.getLogger(__name__)

MOST_BYTES = 1_000_000
"""Largest value written: brokers refuse batches over 1 MiB."""
TYPE = "lapse-type"
"""Header that names a clear record's kind: `RecordOpened` or `Depersonalized`."""


class Clear(NamedTuple):
    """One record as it is written; its repr names the kind alone."""

    kind: str
    key: bytes | None
    value: bytes

    def __repr__(self) -> str:
        return f"Clear({self.kind})"


class Prepared(NamedTuple):
    """A chunk, opened: what to write, what to tell, and where it began."""

    start: int | None
    records: Sequence[InboundLike]
    written: list[Clear]
    told: list[Told]


class Plain:
    """Writes one processor's clear topic."""

    def __init__(
        self,
        *,
        processor: str,
        vault: Vault,
        opener: Opener,
        settings: PlainSettings,
        receipt_partitions: int,
        crash: Crash = never,
    ) -> None:
        self._processor, self._vault, self._opener, self._settings = processor, vault, opener, settings
        self._teller = Teller(processor=processor, receipt_partitions=receipt_partitions)
        self._producers: dict[int, AIOKafkaProducer] = {}
        self._crash = crash

    async def handle(self, chunk: ChunkLike) -> int | None:
        """Do one chunk; None when it may be acknowledged, else the offset where another worker has gone on.

        Raises Unavailable when the vault or a broker is away; nothing of the chunk can be read then.
        """
        producer = await self._fenced(chunk.partition)
        self._crash(FENCED)
        prepared = self._prepare(chunk)
        if prepared.records:
            try:
                await self._write(producer, chunk.partition, prepared.written)
            except ProducerFenced:
                await self._drop(chunk.partition)
                return await self._gone_on(chunk, prepared.start)
            except KafkaError as error:
                await self._drop(chunk.partition)
                raise Unavailable(
                    "unavailable", f"{type(error).__name__} while writing", self._settings.topic
                ) from None
        self._crash(WRITTEN)
        elsewhere = self._commit(chunk, prepared)
        self._crash(TOLD)
        return elsewhere

    async def run(self) -> None:
        """Nothing ever waits here."""
        await asyncio.Event().wait()

    def waiting(self) -> int:
        """Return 0: what was not taken is a chunk that is not acknowledged."""
        return 0

    async def close(self) -> None:
        """Stop the producers."""
        for partition in list(self._producers):
            await self._drop(partition)

    # ---- opening -------------------------------------------------------------------------------------------
    def _prepare(self, chunk: ChunkLike) -> Prepared:
        """Open all deliveries of a chunk in one read of the vault, after the producer fenced others off."""
        with self._vault.transaction(write=False) as tx:
            start = tx.progress(chunk.topic_id.hex(), chunk.partition)
            records = [r for r in chunk.records if start is None or r.offset >= start]
            messages = [decode(r.value) for r in records if r.value is not None]
            deliveries = [m for m in messages if isinstance(m, RecordDelivered)]
            opened = iter(self._opener.open(tx, deliveries) if deliveries else [])
            prepared = Prepared(start, records, [], [])
            for message in messages:
                if isinstance(message, RecordDelivered):
                    self._deliver(message, next(opened), tx.now, prepared)
                elif isinstance(message, Depersonalized):
                    prepared.written.append(self._lapse(message))
                    prepared.told.append(Told(about=message.lapse_id, outcome="accepted_async"))
                else:
                    raise Rejected("schema_mismatch", "not a record of a processor's topic", "value")
        return prepared

    def _deliver(
        self, delivery: RecordDelivered, parts: Sequence[OpenedPart], now: Micros, to: Prepared
    ) -> None:
        fields = {name: value for part in parts if isinstance(part, Mapping) for name, value in part.items()}
        if not fields:
            code = next((part for part in parts if isinstance(part, str)), "unknown")
            to.told.append(Told(about=delivery.delivery_id, outcome="not_opened", code=code))
            return
        clear = self._opened(delivery, parts, fields, now)
        if len(clear.value) > MOST_BYTES:
            to.told.append(Told(about=delivery.delivery_id, outcome="failed_permanent", code="too_large"))
            return
        to.written.append(clear)
        evidence = hashlib.sha256(clear.value).digest()
        to.told.append(Told(about=delivery.delivery_id, outcome="delivered", evidence=evidence))

    def _opened(
        self,
        delivery: RecordDelivered,
        parts: Sequence[OpenedPart],
        fields: dict[str, str],
        now: Micros,
    ) -> Clear:
        pairs = zip(delivery.compartments, parts, strict=True)
        used = {
            w.grant for compartment, part in pairs if isinstance(part, Mapping) for w in compartment.wraps
        }
        grants = [delivery.grants[n] for n in sorted(used)]
        record = RecordOpened(
            delivery_id=delivery.delivery_id,
            subject_ref=delivery.subject_ref,
            revision=delivery.revision,
            source=delivery.source,
            fields=fields,
            purposes=[OpenedPurpose(purpose=g.purpose, use_until=g.use_until) for g in grants],
            decided=max(g.decided for g in grants),
            opened_at=now,
        )
        value = encode(record) if self._settings.avro else opened_json(record)
        return Clear("RecordOpened", bytes(delivery.subject_ref), value)

    def _lapse(self, lapse: Depersonalized) -> Clear:
        value = encode(lapse) if self._settings.avro else lapse_json(lapse)
        return Clear("Depersonalized", None, value)

    # ---- writing -------------------------------------------------------------------------------------------
    async def _fenced(self, partition: int) -> AIOKafkaProducer:
        """Return this partition's producer; making it fences off whoever wrote here before."""
        if partition not in self._producers:
            producer = AIOKafkaProducer(
                **self._settings.client,
                transactional_id=f"lapse.connect.{self._processor}.{partition}",
                acks="all",
                transaction_timeout_ms=30_000,
                request_timeout_ms=10_000,
            )
            try:
                await producer.start()
            except KafkaError as error:
                await producer.stop()
                raise Unavailable(
                    "unavailable", f"{type(error).__name__} while starting", self._settings.topic
                ) from None
            self._producers[partition] = producer
        return self._producers[partition]

    async def _write(self, producer: AIOKafkaProducer, partition: int, records: Iterable[Clear]) -> None:
        topic, sent = self._settings.topic, []
        target = partition % len(await producer.partitions_for(topic))
        async with producer.transaction():
            for clear in records:
                headers = [(TYPE, clear.kind.encode())]
                sent.append(
                    await producer.send(topic, clear.value, key=clear.key, partition=target, headers=headers)
                )
            await asyncio.gather(*sent)
            self._crash(SENT)

    async def _drop(self, partition: int) -> None:
        producer = self._producers.pop(partition, None)
        if producer is None:
            return
        try:
            await asyncio.wait_for(producer.stop(), timeout=5)
        except (KafkaError, TimeoutError) as error:
            log.warning("a producer did not stop", extra={"code": type(error).__name__})

    async def _gone_on(self, chunk: ChunkLike, start: int | None) -> int | None:
        """Fenced off: go where the other is, or, if nobody moved on, do the chunk anew and open again."""
        with self._vault.transaction(write=False) as tx:
            now = tx.progress(chunk.topic_id.hex(), chunk.partition)
        if now is not None and now != start:
            return now
        raise Unavailable("fenced", "another producer took over this partition", self._settings.topic)

    def _commit(self, chunk: ChunkLike, prepared: Prepared) -> int | None:
        if not prepared.records:
            return None
        topic = chunk.topic_id.hex()
        with self._vault.transaction() as tx:
            now = tx.progress(topic, chunk.partition)
            if now != prepared.start:
                return now
            self._tell(tx, prepared.told, chunk)
            tx.set_progress(topic, chunk.partition, prepared.records[-1].offset + 1)
        return None

    def _tell(self, tx: Tx, told: Iterable[Told], chunk: ChunkLike) -> None:
        place = chunk.topic_id + chunk.partition.to_bytes(4)
        for one in told:
            self._teller.tell(tx, [one], place if one.outcome == "accepted_async" else b"")
