"""A small real world: the vault in memory, the demo policy, people, buckets, and sealed deliveries."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from processors.tokens import register_token
from schemas.codec import encode
from schemas.ids import Handle, Micros, RecordId, SubjectNumber
from schemas.ids import Sequence as Seq
from schemas.models import DeliveredCompartment, Grant, RecordDelivered
from schemas.plan import PolicyPlan
from schemas.policy import compile_plan, load
from streams.planbook import PlanBook
from vault import memory_vault
from vault.ending import Herald, apply_statements, end_bucket
from vault.handles import delivery_id, handle_key, make_handles, subject_ref
from vault.keys import derive_k, new_key, random_bytes
from vault.port import Vault
from vault.sealing import DeliveredPart, DeliveryHeader, seal_delivery
from vault.subjects import with_key
from vault.values import BucketId, BucketWanted, PolicyRow, ProcessorState, Recipient, Statement

START = Micros(1_790_000_000_000_000)
TOKENS = {name: f"lk_{name}_{'x' * 42}{name[0]}" for name in ("crm", "mail", "partner", "warehouse")}
GRANTED = {"answer_request": "user.name", "marketing_email": "user.contact.email"}


@dataclass
class World:
    """What route would have done, done by hand."""

    vault: Vault = field(default_factory=lambda: memory_vault(START))
    edit: Callable[[str], str] = str
    """What the demo's policy is changed to before it is loaded."""
    plan: PolicyPlan = field(init=False)
    book: PlanBook = field(init=False)

    def __post_init__(self) -> None:
        text = (Path(__file__).parents[3] / "policies" / "demo.yaml").read_text()
        text = self.edit(text)
        self.plan = compile_plan(load(text, where="demo.yaml"))
        self.book = PlanBook(self.vault)
        digest = hashlib.sha256(text.encode()).digest()
        with self.vault.transaction() as tx:
            tx.put_policy(PolicyRow(version=1, effective=self.plan.effective, sha256=digest, body=text))
            for name, token in TOKENS.items():
                tx.put_processor(ProcessorState(name=name, approved=True, since=START))
                register_token(tx, name, token)
        self.herald = Herald(
            secrets=self.vault.secrets,
            encode=encode,
            sign=lambda decided: decided,
            recipients={
                p.name: Recipient(
                    name=p.name, topic=f"processor.{p.name}", partitions=2, erase_within=p.erase_within
                )
                for p in self.plan.processors
            },
            partitions=2,
        )

    def person(self, *purposes: str, at: Micros = START) -> SubjectNumber:
        """Return somebody who has consented to these purposes and has keys for them."""
        with self.vault.transaction() as tx:
            state = tx.new_subject()
            for name in purposes:
                granted = Statement(purpose=name, granted=True, at=at)
                state = apply_statements(tx, state, [granted], self.herald)
                state = with_key(state, name, at, new_key)
            tx.put_subjects([state])
            return state.number

    def deliver(
        self,
        processor: str,
        number: SubjectNumber,
        fields: Sequence[tuple[str, Mapping[str, str], Sequence[str]]],
        *,
        record: str = "r1",
        revision: int = 1,
    ) -> RecordDelivered:
        """Seal (category, fields, purposes) for a processor, as collected now."""
        secret = self.vault.secrets.processor(processor)
        name = delivery_id(secret, RecordId(hashlib.sha256(record.encode()).digest()[:16]))
        purposes = sorted({p for _, _, ps in fields for p in ps})
        with self.vault.transaction() as tx:
            ids = [self._bucket(p, tx.now) for p in purposes]
            dues = [self.plan.purpose(i.purpose).due(i.period) for i in ids]
            wanted = [BucketWanted(id=i, due=due) for i, due in zip(ids, dues, strict=True)]
            tx.ensure_buckets(wanted)
            keys, state, seq = tx.bucket_keys(ids), tx.subjects([number])[number], tx.seq
            tx.tell_buckets((i, processor) for i in ids)
            tx.tell_subjects([(number, processor)])
        ks, grants = [], []
        for bucket, due in zip(ids, dues, strict=True):
            held = state.purpose(bucket.purpose)
            [handle] = make_handles(handle_key(keys[bucket]), [(number, held.generation, name)])
            assert held.key is not None
            ks.append(derive_k(keys[bucket], held.key))
            grants.append(_grant(bucket, handle, seq, due))
        header = DeliveryHeader(name, revision, "form/request-demo", grants)
        parts = [DeliveredPart(c, [purposes.index(p) for p in ps], dict(fs)) for c, fs, ps in fields]
        sealed: list[DeliveredCompartment] = seal_delivery(header, parts, ks, processor, random_bytes)
        return RecordDelivered(
            delivery_id=name,
            subject_ref=subject_ref(secret, number),
            revision=revision,
            source=header.source,
            schema_id=1,
            compartments=sealed,
            grants=grants,
        )

    def withdraw(self, number: SubjectNumber, purpose: str) -> None:
        """End a person's consent now: the key dies, the outbox owes the lapse."""
        with self.vault.transaction() as tx:
            said = Statement(purpose=purpose, granted=False, at=tx.now)
            state = tx.subjects([number])[number]
            apply_statements(tx, state, [said], self.herald)

    def expire(self) -> None:
        """Destroy every bucket that is due."""
        with self.vault.transaction() as tx:
            for row in tx.due_buckets(tx.now, 100):
                end_bucket(tx, row.id, self.herald, cause="retention", at=tx.now)

    def pass_(self, seconds: float) -> None:
        """Let the vault's time pass."""
        self.vault.clock.set_manual(Micros(self.vault.clock.now() + int(seconds * 1_000_000)))

    def owed(self, processor: str) -> list[tuple[int, bytes]]:
        """Take (partition, value) of what the outbox owes a processor's topic, oldest first."""
        with self.vault.transaction() as tx:
            rows = [row for row in tx.outbox(1000) if row.topic == f"processor.{processor}"]
            tx.delete_outbox(row.id for row in rows)
        return [(row.partition, row.value) for row in rows]

    def _bucket(self, purpose: str, now: Micros) -> BucketId:
        plan = self.plan.purpose(purpose)
        return BucketId(purpose, plan.period(now), plan.terms)


def _grant(bucket: BucketId, handle: Handle, decided: Seq, due: Micros) -> Grant:
    return Grant(
        purpose=bucket.purpose,
        period=bucket.period,
        terms=bucket.terms,
        handle=handle,
        decided=decided,
        use_until=due,
    )
