"""The whole flow in memory: every role on the in-memory log and vault, with a kill at any effect."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from schemas import codec, signing
from schemas.errors import Unavailable
from schemas.ids import CommandId, EventId, Micros, RecordId
from schemas.models import (
    Command,
    ConsentStatement,
    DecisionBatch,
    Depersonalized,
    FieldsCorrected,
    FormSubmitted,
    Identifier,
    ProcessorApproved,
    Record,
    RecordDecided,
    RecordDelivered,
    RecordTagged,
)
from schemas.plan import PolicyPlan
from schemas.policy import compile_plan, load
from schemas.topics import topic_plan
from streams import building
from streams.agents import GROUPS, Expire
from streams.chunks import Chunks
from streams.faults import Crash, never
from streams.memory import MemoryLog, MemorySink, MemorySource
from streams.ports import Done, Outbound, Outcome, Placed, Seek, Sheaf
from streams.scan import scan_memory
from streams.surroundings import Surroundings
from vault.factory import memory_vault
from vault.handles import record_id
from vault.opening import Recipiency
from vault.port import Tx, Vault
from vault.tokens import PixelKeys
from vault.values import PolicyRow

START = Micros(1_800_000_000_000_000)
SECOND = 1_000_000
R = TypeVar("R", bound=msgspec.Struct)
T = TypeVar("T")
POLICY = Path(__file__).with_name("policy.yaml")
TOGETHER = frozenset({"tag", "route", "receipts"})
"""Roles that do chunks of several partitions together."""


class Killed(BaseException):
    """The process was killed here."""


class Fuse:
    """Kills at the n-th effect from now; an effect is a commit or a send."""

    def __init__(self) -> None:
        self.left: int | None = None

    def burn(self) -> None:
        """Count one effect."""
        if self.left is None:
            return
        if self.left == 0:
            self.left = None
            raise Killed
        self.left -= 1


class FusedVault:
    """A vault whose write transactions are effects: killed before or right after the commit."""

    def __init__(self, vault: Vault, fuse: Fuse) -> None:
        self._vault, self._fuse = vault, fuse

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vault, name)

    def transaction(self, *, write: bool = True) -> AbstractContextManager[Tx]:
        """As the vault's, with the fuse."""
        return self._fused() if write else self._vault.transaction(write=False)

    def beside(self, do: Callable[[Tx], T], *, counts: bool = False) -> T:
        """As the vault's, with the fuse."""
        self._fuse.burn()
        done = self._vault.beside(do, counts=counts)
        self._fuse.burn()
        return done

    @contextmanager
    def _fused(self) -> Iterator[Tx]:
        self._fuse.burn()
        with self._vault.transaction() as tx:
            yield tx
        self._fuse.burn()


class FusedSink:
    """A sink of which each record is an effect: a kill leaves those before it on the log."""

    def __init__(self, sink: MemorySink, fuse: Fuse) -> None:
        self._sink, self._fuse = sink, fuse

    async def send(self, records: Sequence[Outbound]) -> list[Placed]:
        """Send one by one."""
        placed: list[Placed] = []
        for record in records:
            self._fuse.burn()
            placed += await self._sink.send([record])
        return placed


async def _obeyed(source: MemorySource, sheaf: Sheaf, outcomes: Sequence[Outcome]) -> None:
    for chunk, outcome in zip(sheaf, outcomes, strict=True):
        match outcome:
            case Done():
                source.ack(chunk)
            case Seek(offset):
                await source.seek(chunk.topic, chunk.partition, offset)


class World:
    """One installation in memory."""

    def __init__(
        self,
        *,
        policy: str | None = None,
        partitions: int = 2,
        crash: Crash = never,
        vault: Vault | None = None,
    ) -> None:
        self.text = policy if policy is not None else POLICY.read_text(encoding="utf-8")
        self.plan: PolicyPlan = compile_plan(load(self.text, where="policy"))
        self.vault = vault or memory_vault(start=START)
        with self.vault.transaction() as tx:
            tx.put_policy(
                PolicyRow(
                    version=self.plan.version,
                    effective=self.plan.effective,
                    sha256=self.plan.sha256,
                    body=self.text,
                )
            )
        self.log = MemoryLog(lambda: self.vault.clock.now() // 1000)
        for topic in topic_plan(self.plan, partitions=partitions):
            self.log.create_topic(topic.name, topic.partitions)
        self.fuse = Fuse()
        self.findings: list[tuple[str, str, int]] = []
        self.operator = os.urandom(32)
        self.pixel_keys = PixelKeys.generate(os.urandom)
        self.order: list[tuple[str, int, int]] = []
        self._crash = crash
        self.around = self._around()
        self.expire: Expire = building.expire(self.around, scan=partial(scan_memory, self.log))
        self.around = replace(self.around, nap=self._announce)
        self.sources = {name: self._source(name) for name in self._topics()}
        self.zombies: dict[str, tuple[MemorySource, Chunks[Any]]] = {}
        self.handles: dict[str, Chunks[Any]] = {name: self.handle(name) for name in self._topics()}
        for processor in self.plan.processors:
            self.command(ProcessorApproved(processor=processor.name, **self.head()))

    # ---- putting it together -------------------------------------------------------------------------------
    def _around(self) -> Surroundings:
        return Surroundings(
            vault=FusedVault(self.vault, self.fuse),
            sink=FusedSink(self._recording_sink(), self.fuse),
            partitions=lambda topic: self.log.topics()[topic],
            service_key=os.urandom(32),
            pixel_keys=self.pixel_keys,
            operators={"operator": signing.public_key(self.operator)},
            finding=lambda what, where, count=1: self.findings.append((what, where, count)),
            crash=self._crash,
            seconds=lambda: self.vault.clock.now() / SECOND,
        )

    def _recording_sink(self) -> MemorySink:
        world = self

        class Recording(MemorySink):
            """Remembers the order in which records came to lie on the log."""

            async def send(self, records: Sequence[Outbound]) -> list[Placed]:
                placed = await super().send(records)
                world.order += [(at.topic, at.partition, at.offset) for at in placed]
                return placed

        return Recording(self.log)

    async def _announce(self) -> None:
        await self.expire.announcer.announce()

    def _topics(self) -> dict[str, tuple[str, ...]]:
        return {
            "control": ("control",),
            "signals": ("intake.signal",),
            "tag": GROUPS["tag"],
            "route": tuple(f"records.{h.name}" for h in self.plan.horizons),
            "receipts": ("receipts",),
        }

    def _source(self, name: str) -> MemorySource:
        return MemorySource(self.log, name, self._topics()[name], drain=True)

    def handle(self, name: str) -> Chunks[Any]:
        """A fresh handle of a role, as after a restart."""
        build = {
            "control": building.govern_control,
            "signals": building.govern_signals,
            "tag": building.tag,
            "route": building.route,
            "receipts": building.govern_receipts,
        }[name]
        return build(self.around)

    # ---- running it ----------------------------------------------------------------------------------------
    async def step(
        self, role: str, *, kill_after: int | None = None, chunk: int = 2000, width: int = 12
    ) -> bool:
        """Let a role do one sheaf, killed at its n-th effect if asked; says whether it did one."""
        source = self.sources[role]
        source._chunk_records = chunk  # noqa: SLF001  # the twin's size of a chunk, varied by the machine
        got = source.gather(width if role in TOGETHER else 1)
        if not got:
            return False
        self.fuse.left = kill_after
        try:
            await _obeyed(source, got, await self.handles[role].together(got))
        except Killed:
            source.crash()
            self.handles[role] = self.handle(role)
        except Unavailable:  # the engine does the chunk again later
            source.crash()
            return False
        finally:
            self.fuse.left = None
        return True

    async def zombie_step(self, role: str, *, chunk: int = 2000, width: int = 12) -> None:
        """Let a second worker, with offsets and handle of its own, do one sheaf of the same partitions."""
        if role not in self.zombies:
            self.zombies[role] = (self._source(role), self.handle(role))
        source, handle = self.zombies[role]
        source._chunk_records = chunk  # noqa: SLF001  # as above
        got = source.gather(width if role in TOGETHER else 1)
        if not got:
            return
        try:
            await _obeyed(source, got, await handle.together(got))
        except Unavailable:
            source.crash()

    async def tick(self, *, kill_after: int | None = None) -> None:
        """Let expire look at the clock."""
        self.fuse.left = kill_after
        try:
            await self.expire.tick()
            await self.expire.upkeep.run()
        except Killed:
            self.expire = building.expire(self.around, scan=partial(scan_memory, self.log))
        finally:
            self.fuse.left = None

    async def settle(self) -> None:
        """Run everything until nothing is left to do."""
        busy = True
        while busy:
            busy = False
            for role in self._topics():
                while await self.step(role):
                    busy = True
            await self.tick()
            with self.vault.transaction(write=False) as tx:
                busy = busy or tx.outbox_count() > 0

    async def later(self, seconds: float) -> None:
        """Move the clock through every due instant, as `clock advance` does, and settle."""
        target = Micros(self.vault.clock.now() + int(seconds * SECOND))
        while True:
            with self.vault.transaction(write=False) as tx:
                due = tx.next_due(tx.now)
            if due is None or due > target:
                break
            self.vault.clock.set_manual(due)
            await self.settle()
        self.vault.clock.set_manual(target)
        await self.settle()

    # ---- what happens outside ------------------------------------------------------------------------------
    def publish(self, record: Record, topic: str, partition: int = 0) -> None:
        """Put a record on the log as an outsider does."""
        placed = self.log.append(Outbound(topic, partition, None, codec.encode(record)))
        self.order.append((placed.topic, placed.partition, placed.offset))

    def head(self) -> dict[str, Any]:
        """The fields every command has, unsigned."""
        return {
            "command_id": CommandId(os.urandom(16)),
            "ordered_by": "operator",
            "at": self.vault.clock.now(),
            "key_id": "operator",
            "signature": b"",
        }

    def command(self, command: Command) -> CommandId:
        """Sign a command and put it on control."""
        signed = signing.sign(command, self.operator)
        self.publish(signed, "control")
        return signed.command_id

    def form(self, **changes: Any) -> FormSubmitted:
        """A form as the policy of these tests knows it."""
        email = changes.pop("email", "ann@example.com")
        consents = changes.pop("consents", {})
        return FormSubmitted(
            **{
                "event_id": EventId(os.urandom(16)),
                "collected_at": self.vault.clock.now(),
                "site": "www",
                "form": "contact",
                "identifiers": [Identifier(kind="email", value=email)],
                "fields": {"email": email, "name": "Ann", "message": "hello"},
                "consents": [ConsentStatement(purpose=p, granted=g) for p, g in consents.items()],
                **changes,
            }
        )

    def correction(self, event: FormSubmitted, **fields: str | None) -> FieldsCorrected:
        """A signed correction of a form's newest revision: these fields changed, None blanks one."""
        record = max(self.tagged_as(event), key=lambda each: each.revision)
        now = {**event.fields, **fields}
        said = FieldsCorrected(
            **self.head(),
            record_id=record.record_id,
            revision=record.revision + 1,
            source=record.source,
            policy=record.policy,
            collected_at=event.collected_at,
            links=record.links,
            fields={name: value for name, value in now.items() if value is not None},
        )
        return signing.sign(said, self.operator)

    # ---- what an outsider sees -----------------------------------------------------------------------------
    def read(self, topic: str) -> list[tuple[int, int, Record]]:
        """Every record of a topic: partition, offset, record; ticks are left out."""
        return [
            (partition, record.offset, codec.decode(record.value))
            for partition in range(self.log.topics()[topic])
            for record in self.log.read(topic, partition, 0)
            if record.value is not None
        ]

    def entries(self) -> list[RecordDecided]:
        """Every entry on `decisions`."""
        batches = [record for _, _, record in self.read("decisions")]
        return [entry for batch in batches if isinstance(batch, DecisionBatch) for entry in batch.entries]

    def outcomes(self) -> dict[RecordId, tuple[str, str | None]]:
        """Folded outcome and code of every record."""
        rank = ["discarded", "quarantined", "kept_in_vault", "expired", "routed"]
        folded: dict[RecordId, tuple[str, str | None]] = {}
        for entry in self.entries():
            before = folded.get(entry.record_id)
            if before is None or rank.index(entry.outcome) > rank.index(before[0]):
                folded[entry.record_id] = (entry.outcome, entry.code)
        return folded

    def outcome(self, event: Any, kind: str = "form") -> tuple[str, str | None] | None:
        """Folded outcome and code of one event."""
        return self.outcomes().get(self.record_id(event, kind))

    def record_id(self, event: Any, kind: str = "form") -> RecordId:
        """Record id of an event."""
        return record_id(self.vault.secrets.record, event.site, kind, event.event_id)

    def tagged(self) -> list[RecordTagged]:
        """Every record on `records.*`."""
        topics = self._topics()["route"]
        found = [record for topic in topics for _, _, record in self.read(topic)]
        return [record for record in found if isinstance(record, RecordTagged)]

    def tagged_as(self, event: FormSubmitted) -> list[RecordTagged]:
        """Every revision of one event on `records.*`, in order."""
        name = self.record_id(event)
        return [record for record in self.tagged() if record.record_id == name]

    def deliveries(self, processor: str) -> list[RecordDelivered]:
        """Every delivery to a processor."""
        found = [record for _, _, record in self.read(f"processor.{processor}")]
        return [record for record in found if isinstance(record, RecordDelivered)]

    def lapses(self, topic: str) -> list[Depersonalized]:
        """Every lapse on a topic."""
        return [record for _, _, record in self.read(topic) if isinstance(record, Depersonalized)]

    def recipiency(self, processor: str) -> Recipiency:
        """How an opening sees a processor now."""
        plan = self.plan.processor(processor)
        with self.vault.transaction(write=False) as tx:
            state = tx.processor(processor)
        return Recipiency(
            name=processor,
            state=state,
            purposes={purpose.name: purpose for purpose in self.plan.purposes},
            grants={
                self.plan.purposes[number].name: frozenset(self.plan.categories[c] for c in categories)
                for number, categories in plan.grants.items()
            },
            categories=frozenset(self.plan.categories),
        )


def changed(record: R, **fields: Any) -> R:
    """A record with some fields replaced."""
    return msgspec.structs.replace(record, **fields)
