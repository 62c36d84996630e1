"""A person's records, found on the log and opened for the person: what access and correction begin with.

No index leads from a person to their records: the only link is the handle, which the vault can invert while
its bucket lives. So `records.*` is read once, as a stream, and of it nothing is kept but the person's own
records, still sealed. They are opened a page at a time, when they are asked for, by what the vault says then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.errors import Rejected
from schemas.ids import Handle, Micros, Period, RecordId, SubjectNumber, Terms
from schemas.layouts import TaggedCells, TaggedReader
from schemas.models import Link, RecordTagged
from schemas.plan import Plans, PolicyPlan, PurposePlan, SourcePlan
from schemas.policy_words import COLLECTED_AT
from streams.scan import Scan
from vault.handles import slot_of
from vault.opening import UNKNOWN, Ask, Found, Usable, asks_of, find, may_show, may_use, open_fields
from vault.port import Tx, Vault
from vault.subjects import resolve
from vault.values import BucketId, Closed

PAGE = 500
"""Records whose handles, or whose fields, are opened at once."""
SUPERSEDED = Closed(code="superseded", cause="rectification")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldLink:
    """One purpose a record is held for: until when, and whether it opens and may be used now."""

    purpose: str
    period: Period
    terms: Terms
    handle: Handle = field(repr=False)
    shown: Usable | Closed = field(repr=False)
    """What opens it for the person, or why nothing does any more."""
    unused: Closed | None
    """Why nobody may use it now though it is held (`restricted`, `no_consent`), None where somebody may."""

    @property
    def lives(self) -> bool:
        """Whether it opens."""
        return isinstance(self.shown, Usable)

    @property
    def due(self) -> Micros | None:
        """When its key dies at the latest; None where it is dead."""
        return self.shown.use_until if isinstance(self.shown, Usable) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldPart:
    """One compartment, opened: what it holds by field, the category of each field, its links by number."""

    number: int
    links: tuple[int, ...]
    collected_at: Micros | None
    fields: dict[str, Any] = field(repr=False)
    kinds: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldRecord:
    """One record of a person at its highest revision, of which at least one compartment opens.

    `policy` is the version it was collected under, `tagged` the record as it lies on the log.
    """

    record_id: RecordId
    revision: int
    source: str
    policy: int
    tagged_at: Micros
    subject: SubjectNumber = field(repr=False)
    links: tuple[HeldLink, ...]
    parts: tuple[HeldPart, ...]
    tagged: RecordTagged = field(repr=False)

    @property
    def collected_at(self) -> Micros | None:
        """When it was collected, as its compartments say."""
        return next((part.collected_at for part in self.parts if part.collected_at is not None), None)


def whose(tx: Tx, hashes: Iterable[bytes]) -> tuple[SubjectNumber, ...]:
    """Return whom these alias hashes lead to now: nobody where unknown or erased, several where shared."""
    rows = [row for found in tx.aliases(hashes).values() for row in found]
    return resolve(rows, tx.now).subjects


def records_of(
    vault: Vault, plans: Plans, scan: Scan, numbers: Iterable[SubjectNumber]
) -> Iterator[HeldRecord]:
    """Yield what is held of these people and still opens; blocking, and as long as the log.

    Each record is opened through `open_fields` when it is asked for, also where its use is restricted: the
    person may see what is held of them (GDPR Art. 15, 18 (2)).
    """
    people = frozenset(numbers)
    found = list(_sealed(vault, plans, scan, people).values()) if people else []
    for at in range(0, len(found), PAGE):
        for copies in _opened(vault, plans, found[at : at + PAGE], people):
            # A chunk that was done again may have sealed a record without a link that died meanwhile.
            best = max(copies, key=lambda held: len(held.parts))
            if best.parts:
                yield best


def names_another(held: HeldRecord, form: SourcePlan, asks: Callable[[str, str], bool]) -> bool:
    """Say whether a record names its person, but by none of the identifiers (kind, value) that `asks`.

    Under a policy that joins identifiers, whoever types their own address beside somebody else's number into
    a form leads to that person from then on. A record whose identifiers no longer open says nothing.
    """
    kinds = form.identifiers
    named = [each for part in held.parts for each in part.fields.items() if each[0] in kinds]
    return bool(named) and not any(asks(kinds[name], str(value)) for name, value in named)


# ---- finding -----------------------------------------------------------------------------------------------
def _sealed(
    vault: Vault, plans: Plans, scan: Scan, numbers: frozenset[SubjectNumber]
) -> dict[RecordId, list[RecordTagged]]:
    """The person's records at their highest revision; several copies where a chunk was done again."""
    slots = {slot_of(vault.secrets.slot, number) for number in numbers}
    topics = dict.fromkeys(f"records.{h.name}" for plan in plans for h in plan.horizons)
    reader, near = TaggedReader(), list[TaggedCells]()
    kept: dict[RecordId, list[RecordTagged]] = {}
    for batch in scan(list(topics)):
        near += [cells for cells in _cut(reader, batch.records) if cells.slot in slots]
        if len(near) >= PAGE:
            _keep(kept, _own(vault, plans, near, numbers))
            near.clear()
    _keep(kept, _own(vault, plans, near, numbers))
    return kept


def _cut(reader: TaggedReader, records: Iterable[Any]) -> Iterator[TaggedCells]:
    for record in records:
        if record.value is not None:
            try:
                yield reader.read(record.value)
            except Rejected:
                continue  # something else lies there; what is no record of ours is nobody's


def _own(
    vault: Vault, plans: Plans, near: Sequence[TaggedCells], numbers: frozenset[SubjectNumber]
) -> Iterator[RecordTagged]:
    """Those of these records whose handles lead to the person: all that share the slot were looked at."""
    asks = [_asks(plans, cells) for cells in near]
    with vault.transaction(write=False) as tx:
        found = iter(find(tx, [ask for each in asks for ask in each]))
    for cells, each in zip(near, asks, strict=True):
        named = {next(found).number for _ in each}
        if named & numbers:
            yield cells.record()


def _asks(plans: Plans, cells: TaggedCells) -> list[Ask]:
    purposes = plans.version(cells.make.policy).purposes
    return [
        Ask(BucketId(purposes[purpose].name, Period(period), Terms(terms)), handle, cells.record_id)
        for (purpose, period, terms), handle in zip(cells.make.links, cells.handles, strict=True)
    ]


def _keep(kept: dict[RecordId, list[RecordTagged]], records: Iterable[RecordTagged]) -> None:
    for record in records:
        known = kept.get(record.record_id)
        if known is None or known[0].revision < record.revision:
            kept[record.record_id] = [record]
        elif known[0].revision == record.revision:
            known.append(record)


# ---- opening -----------------------------------------------------------------------------------------------
def _opened(
    vault: Vault,
    plans: Plans,
    page: Sequence[Sequence[RecordTagged]],
    numbers: frozenset[SubjectNumber],
) -> Iterator[list[HeldRecord]]:
    """Open a page of records and their copies, under rows read now."""
    flat = [record for copies in page for record in copies]
    asks = [asks_of(record, _names(plans.version(record.policy))) for record in flat]
    with vault.transaction(write=False) as tx:
        now, newest = tx.now, tx.superseded([record.record_id for record in flat])
        found = iter(find(tx, [ask for each in asks for ask in each]))
    today = plans.today(now)
    for copies in page:
        opened = []
        for record in copies:
            old = newest.get(record.record_id, record.revision) > record.revision
            own = [next(found) for _ in record.links]
            if not numbers & {each.number for each in own}:
                continue  # every bucket of it ended since it was found
            both = (plans.version(record.policy), today)
            opened.append(_held(record, both, own, now, old=old, numbers=numbers))
        if opened:
            yield opened


def _names(plan: PolicyPlan) -> dict[int, str]:
    return {purpose.number: purpose.name for purpose in plan.purposes}


def _held(
    record: RecordTagged,
    plans: tuple[PolicyPlan, PolicyPlan],
    found: Sequence[Found],
    now: Micros,
    *,
    old: bool,
    numbers: frozenset[SubjectNumber],
) -> HeldRecord:
    """Judge a record's links by the policy then and today's, and open what they open."""
    then, today = plans
    links = [
        _link(link, _purpose(then.purposes[link.purpose], today), each, now, old=old, numbers=numbers)
        for link, each in zip(record.links, found, strict=True)
    ]
    return HeldRecord(
        record_id=record.record_id,
        revision=record.revision,
        source=record.source,
        policy=record.policy,
        tagged_at=record.tagged_at,
        subject=next(n for each in found if (n := each.number) is not None and n in numbers),
        links=tuple(links),
        parts=tuple(_parts(record, then, [link.shown for link in links])),
        tagged=record,
    )


def _link(
    link: Link,
    purpose: PurposePlan,
    found: Found,
    now: Micros,
    *,
    old: bool,
    numbers: frozenset[SubjectNumber],
) -> HeldLink:
    used = may_use(found, purpose, now)
    shown = may_show(found, purpose, now) if found.number in numbers else UNKNOWN
    return HeldLink(
        purpose=purpose.name,
        period=link.period,
        terms=link.terms,
        handle=link.handle,
        shown=SUPERSEDED if old else shown,
        unused=used if isinstance(used, Closed) else None,
    )


def _purpose(then: PurposePlan, today: PolicyPlan) -> PurposePlan:
    """The purpose as today's policy has it, or as it was where today's has dropped it."""
    number = today.purpose_numbers.get(then.name)
    return then if number is None else today.purposes[number]


def _parts(record: RecordTagged, then: PolicyPlan, shown: Sequence[Usable | Closed]) -> Iterator[HeldPart]:
    mask = sum(1 << link.purpose for link in record.links)
    plans = {plan.links: plan for plan in then.compartments(record.source, mask)}
    for number, values in enumerate(open_fields(record, shown)):
        if isinstance(values, Closed):
            continue
        # A compartment whose every field was absent is not in the record: the links name the others.
        plan = plans[tuple(wrap.link for wrap in record.compartments[number].wraps)]
        given = {name: value for name, value in zip(plan.fields, values, strict=True) if value is not None}
        at = given.pop(COLLECTED_AT, None)
        kinds = dict(zip(plan.fields, plan.field_categories, strict=True))
        yield HeldPart(
            number=number,
            links=plan.links,
            collected_at=Micros(at) if isinstance(at, int) else None,
            fields=given,
            kinds={name: then.categories[kinds[name]] for name in given},
        )
