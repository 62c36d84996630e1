"""The signal stage: what people and recipients say outside of forms becomes the vault's state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from schemas import codec
from schemas.errors import Rejected
from schemas.ids import Micros, Period, RecordId, Slot, SubjectNumber, Terms
from schemas.models import (
    AnchorReached,
    Outcome,
    ProcessorNotified,
    RecordDecided,
    RequestStepped,
    RightsRequested,
    SignalReceived,
)
from schemas.plan import Plans, PolicyPlan
from streams.governing import Applied, Turned, anchored, read_signal
from streams.intake import place_id, received_at
from streams.people import People
from streams.ports import Inbound
from streams.quarantine import PURPOSE, Aside, keepable
from streams.stage import Finding, Judged, Part, is_tick
from streams.tagging import bind, moment
from vault.handles import record_id
from vault.herald import Herald, announce_suspension
from vault.identity import hashes_of
from vault.port import Tx, Vault
from vault.values import BucketId, BucketWanted, ProcessorState, RequestState

SOURCE = "signal"
TOPIC = "intake.signal"


class SignalEntry(msgspec.Struct, frozen=True, array_like=True):
    """What commit 1 has done about one signal; a redelivery says the same and does nothing again."""

    record_id: RecordId
    outcome: Outcome | None
    code: str | None = None
    period: Period = Period(0)
    terms: Terms = Terms(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One signal, read; `signal` None where it cannot be."""

    record: Inbound
    record_id: RecordId
    signal: SignalReceived | None = None
    code: str | None = None
    digest: bytes = b""
    hashes: tuple[bytes, ...] = ()
    received: Micros = Micros(0)
    at: Micros = Micros(0)
    policy: PolicyPlan | None = None


@dataclass(slots=True, kw_only=True)
class SignalWork(Judged):
    """A judged part of signals, and the decisions it owes."""

    entries: list[RecordDecided]
    steps: list[RequestStepped]
    asides: list[tuple[Aside, bytes, bytes]]
    """What is quarantined: said of it, its bytes, its bucket's key."""


def read_signals(vault: Vault, plans: Plans, part: Part, spoilt: frozenset[int]) -> list[Said]:
    """Decode a part of `intake.signal`."""
    now = vault.clock.now()
    return [_read(vault, plans, part, record, spoilt, now) for record in part.records if not is_tick(record)]


def _read(
    vault: Vault, plans: Plans, part: Part, record: Inbound, spoilt: frozenset[int], now: Micros
) -> Said:
    nameless = place_id(vault, part.topic, part.partition, record.offset)
    received = received_at(vault, record, now)
    if record.offset in spoilt:
        return Said(record=record, record_id=nameless, code="bug", received=received)
    try:
        signal = codec.decode_as(SignalReceived, record.value or b"")
        hashes = hashes_of(vault.secrets.alias, signal.identifiers)
    except Rejected as rejected:
        return Said(record=record, record_id=nameless, code=_set_aside_as(rejected.code), received=received)
    at = moment(signal.collected_at, received).at
    content = msgspec.msgpack.encode((signal.site, hashes, signal.via, signal.body))
    return Said(
        record=record,
        record_id=record_id(vault.secrets.record, signal.site, SOURCE, signal.event_id),
        signal=signal,
        digest=vault.content_digest(content),
        hashes=hashes,
        received=received,
        at=at,
        policy=plans.in_force(at),
    )


def _set_aside_as(code: str) -> str:
    """A signal whose identifiers are empty names nobody: as unreadable as one that breaks its schema."""
    return "schema_mismatch" if code == "no_subject" else code


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalJudge:
    """Applies parts of signals inside transactions."""

    new_key: Callable[[], bytes]
    herald: Callable[[Plans], Herald]
    finding: Finding

    def apply(self, tx: Tx, said: Sequence[Said], plans: Plans) -> SignalWork:
        """Commit 1 of a part nobody has planned."""
        people = People.read(tx, {h for each in said for h in each.hashes}, self.new_key, self.herald(plans))
        seen = dict(tx.seen({each.record_id for each in said if each.signal is not None}))
        fresh: dict[RecordId, bytes] = {}
        plan: dict[int, SignalEntry] = {}
        steps: list[RequestStepped] = []
        for each in said:
            if each.signal is not None and (before := seen.get(each.record_id)) is not None:
                same = before == each.digest
                code = None if same else "conflicting_event_id"
                if not same:
                    _take_back(each, people)
                plan[each.record.offset] = SignalEntry(each.record_id, None if same else "discarded", code)
                continue
            if each.signal is not None:
                seen[each.record_id] = fresh[each.record_id] = each.digest
            plan[each.record.offset] = self._one(tx, each, people, steps, plans)
        tx.put_seen(fresh)
        return _work(tx, said, plan, steps, plans, people.owes)

    def repeat(
        self, tx: Tx, said: Sequence[Said], planned: Mapping[int, SignalEntry], plans: Plans
    ) -> SignalWork:
        """Commit 1 of a redelivery: everything is applied already."""
        heard = [each for each in said if planned[each.record.offset].outcome == "kept_in_vault"]
        steps = [step for each in heard if (step := _step(tx, each)) is not None]
        return _work(tx, said, planned, steps, plans, True)

    def _one(
        self, tx: Tx, each: Said, people: People, steps: list[RequestStepped], plans: Plans
    ) -> SignalEntry:
        signal = each.signal
        if signal is None:
            bound = bind(plans.latest.quarantine, tx.now)
            tx.ensure_buckets([BucketWanted(id=bound.bucket, due=bound.due)])
            bucket = bound.bucket
            return SignalEntry(each.record_id, "quarantined", each.code, bucket.period, bucket.terms)
        answer = read_signal(signal, each.policy, each.at)
        if isinstance(answer, Turned) or each.policy is None:
            return SignalEntry(
                each.record_id, "discarded", answer.code if isinstance(answer, Turned) else "no_basis"
            )
        number, closed = people.find(each.hashes, each.at, all_count=True)
        if isinstance(signal.body, RightsRequested):
            _keep_request(tx, each, signal.body)
            if (step := _step(tx, each)) is not None:
                steps.append(step)
        elif isinstance(signal.body, ProcessorNotified):
            people.owes |= self._notice(tx, signal.body, people.herald)
            return SignalEntry(each.record_id, "kept_in_vault")
        if closed:
            return SignalEntry(each.record_id, "discarded", "erased")
        number = self._person(number, answer, each, people)
        if number is None:
            known = isinstance(signal.body, RightsRequested)
            return SignalEntry(
                each.record_id, "kept_in_vault" if known else "discarded", None if known else "no_subject"
            )
        if answer.statements:
            people.say(number, answer.statements, each.policy)
        if isinstance(signal.body, AnchorReached):
            _reach(people, number, each.policy, signal.body)
        return SignalEntry(each.record_id, "kept_in_vault")

    def _person(
        self, number: SubjectNumber | None, answer: Applied, each: Said, people: People
    ) -> SubjectNumber | None:
        if number is None and answer.creates and each.hashes:
            number = people.create()
        if number is not None and answer.statements and each.policy is not None:
            people.link(each.hashes, number, each.at, each.policy)
        return number

    def _notice(self, tx: Tx, body: ProcessorNotified, herald: Herald) -> bool:
        """Suspend a recipient that can no longer protect data; says whether `control` is owed the suspension.

        It opens nothing from this transaction on, also of what lies on its topic. Whoever suspended it before
        is not overruled.
        """
        self.finding(f"processor notice {body.notice}", body.processor)
        state = tx.processor(body.processor) or ProcessorState(name=body.processor)
        if body.notice != "assurance_ended" or state.suspended:
            return False
        suspended = msgspec.structs.replace(state, suspended=True, reason="assurance_ended", since=tx.now)
        tx.put_processor(suspended)
        announce_suspension(tx, herald, body.processor, "assurance_ended")
        return True


def _take_back(each: Said, people: People) -> None:
    """A withdrawal counts even under an id that was used before."""
    answer = read_signal(each.signal, each.policy, each.at) if each.signal else None
    number, closed = people.find(each.hashes, each.at, all_count=True)
    if isinstance(answer, Applied) and each.policy is not None and number is not None and not closed:
        denied = [said for said in answer.statements if not said.granted]
        people.say(number, denied, each.policy)


def _keep_request(tx: Tx, each: Said, body: RightsRequested) -> None:
    if tx.request(body.request_id) is None:
        tx.put_request(
            RequestState(
                request_id=body.request_id,
                right=body.right,
                state="received",
                received_at=each.at,
                alias_hashes=each.hashes,
                purposes=tuple(body.purposes),
            )
        )


def _step(tx: Tx, each: Said) -> RequestStepped | None:
    body = each.signal.body if each.signal is not None else None
    if not isinstance(body, RightsRequested):
        return None
    return RequestStepped(request_id=body.request_id, right=body.right, step="received", at=tx.now)


def _reach(people: People, number: SubjectNumber, policy: PolicyPlan, body: AnchorReached) -> None:
    for purpose in policy.purposes:
        due = anchored(purpose, people.states[number].purpose(purpose.name), body)
        if due is not None:
            people.due(number, purpose.name, due)


def _work(
    tx: Tx,
    said: Sequence[Said],
    plan: Mapping[int, SignalEntry],
    steps: list[RequestStepped],
    plans: Plans,
    owes: bool,
) -> SignalWork:
    entries = []
    for each in said:
        entry = plan[each.record.offset]
        if entry.outcome is None:
            continue
        entries.append(
            RecordDecided(
                record_id=entry.record_id,
                revision=1,
                source=SOURCE,
                policy=(each.policy or plans.latest).version,
                control_offset=tx.control_offset,
                state=0,
                decided_at=tx.now,
                outcome=entry.outcome,
                code=entry.code,
                slot=Slot(entry.record_id[0]),
                links=[],
                verdicts=[],
            )
        )
    asides = [aside for each in said if (aside := _aside(tx, each, plan[each.record.offset])) is not None]
    return SignalWork(seq=tx.seq, planned=[plan], entries=entries, steps=steps, asides=asides, owes=owes)


def _aside(tx: Tx, each: Said, entry: SignalEntry) -> tuple[Aside, bytes, bytes] | None:
    bucket = BucketId(PURPOSE, entry.period, entry.terms)
    key = tx.bucket_keys([bucket]).get(bucket) if entry.outcome == "quarantined" else None
    raw = each.record.value
    if key is None or raw is None or not keepable(raw) or entry.code is None:
        return None
    said = Aside(
        topic=TOPIC,
        record_id=entry.record_id,
        schema_id=None,
        received_at=each.received,
        code=entry.code,
        path=None,
        period=entry.period,
        terms=entry.terms,
    )
    return said, raw, key
