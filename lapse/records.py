"""What became of an event: its decisions folded, and where it lies on the log."""

from __future__ import annotations

import secrets
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from lapse.cli.output import Lines
from lapse.main import Installation
from lapse.reading import Where, read
from lapse.subjects import hashed
from lapse.written import read_id
from schemas.decided import DecisionReader
from schemas.decided import read as entries_of
from schemas.errors import NotFound
from schemas.ids import EventId, RecordId
from schemas.models import DecisionBatch, Outcome, RecordDecided, RecordDelivered, RecordTagged
from schemas.plan import PolicyPlan, SourceKind
from vault import handles, tokens
from vault.values import AliasRow

KINDS: tuple[str, ...] = (*get_args(SourceKind), "signal")
FOLD: tuple[Outcome, ...] = ("routed", "kept_in_vault", "expired", "quarantined", "discarded")
"""Entries of one record fold to the first of these that occurs: what was done was done."""
LATER_CONTENT = "conflicting_event_id"


@dataclass(frozen=True, slots=True)
class Found:
    """Every entry about one record, in log order."""

    entries: tuple[tuple[Where, RecordDecided], ...]

    @property
    def decisive(self) -> RecordDecided:
        """The entry that counts: highest in the fold, then the highest revision, then the latest.

        That another content came under the id later counts only where nothing else was decided.
        """
        ranked = (
            (FOLD.index(e.outcome), e.code == LATER_CONTENT, -e.revision, -at.appended_ms, e)
            for at, e in self.entries
        )
        return min(ranked, key=lambda item: item[:4])[4]


def of_event(here: Installation, event: str, site: str | None) -> dict[str, Any]:
    """The outcome of one event id, also once discarded or erased; `NotFound` while nothing is decided."""
    event_id, found = _look_up(here, event, site)
    chosen = next(iter(found))
    return _document(here, event_id, chosen, found[chosen])


def _look_up(here: Installation, event: str, site: str | None) -> tuple[EventId, dict[RecordId, Found]]:
    event_id = EventId(_id(event, "--event"))
    candidates = {
        record_id(here, name, kind, event_id): name for name in _sites(here, site) for kind in KINDS
    }
    found = decided(here, candidates)
    if not found:
        raise NotFound(
            "not_found",
            "nothing was decided for this event",
            f"event {event_id.hex()}",
            "is it still under way? lapse wait",
        )
    return event_id, found


def in_words(found: Mapping[str, Any]) -> dict[str, object]:
    """The same for people: a line per purpose, processor and place."""
    links = Lines(
        f"{link['purpose']}, period {link['period']}, terms {link['terms']}" for link in found["links"]
    )
    places = Lines(
        f"{topic} " + ", ".join(f"{partition}/{offset}" for partition, offset in at)
        for topic, at in found["offsets"].items()
    )
    verdicts = Lines(line for verdict in found["verdicts"] for line in _verdict_lines(verdict))
    revisions = Lines(
        f"{each['revision']}: {each['outcome']}" + (f", {each['code']}" if each["code"] else "")
        for each in found["revisions"]
    )
    words = {"revisions": revisions, "links": links, "verdicts": verdicts, "offsets": places}
    return {**found, **words}


def _verdict_lines(verdict: Mapping[str, Any]) -> Iterator[str]:
    for grant in verdict["grants"]:
        yield f"{verdict['processor']} may have {', '.join(grant['categories'])} for {grant['purpose']}"
    if not verdict["grants"]:
        codes = sorted({refusal["code"] for refusal in verdict["refusals"]})
        yield f"{verdict['processor']} gets nothing: {', '.join(codes) or 'no purpose'}"


def outcome_of_event(here: Installation, event: str, site: str | None) -> dict[str, Any]:
    """Outcome and code alone: what the site that sent an event may know of it."""
    event_id, found = _look_up(here, event, site)
    entry = next(iter(found.values())).decisive
    return {"event_id": event_id.hex(), "outcome": entry.outcome, "code": entry.code}


def record_id(here: Installation, site: str, kind: str, event_id: EventId) -> RecordId:
    """The id under which the log knows an event of this site."""
    return handles.record_id(here.vault.secrets.record, site, kind, event_id)


def decided(here: Installation, wanted: Iterable[RecordId]) -> dict[RecordId, Found]:
    """Every decision about these records, folded per record."""
    ids = set(wanted)
    entries: dict[RecordId, list[tuple[Where, RecordDecided]]] = defaultdict(list)
    reader = DecisionReader()

    def holds(value: bytes) -> bool:
        return len(ids) <= MANY or any(entry.record_id in ids for entry in entries_of(reader, value))

    needles = list(ids) if len(ids) <= MANY else []
    for where, record in read(here, ["decisions"], containing=needles, holds=holds):
        if isinstance(record, DecisionBatch):
            for entry in record.entries:
                if entry.record_id in ids:
                    entries[entry.record_id].append((where, entry))
    return {record: Found(tuple(found)) for record, found in entries.items()}


MANY = 64
"""Above this many ids, cutting the ids out of everything is cheaper than looking for each."""


def _document(here: Installation, event_id: EventId, record: RecordId, found: Found) -> dict[str, Any]:
    entry = found.decisive
    plan = here.plans.version(entry.policy)
    return {
        "event_id": event_id.hex(),
        "record_id": record.hex(),
        "outcome": entry.outcome,
        "code": entry.code,
        "revision": entry.revision,
        "revisions": _revisions(found),
        "source": entry.source,
        "policy": entry.policy,
        "links": [
            {"purpose": plan.purposes[link.purpose].name, "period": link.period, "terms": link.terms}
            for link in entry.links
        ],
        "verdicts": [_verdict(plan, entry, number) for number in range(len(entry.verdicts))],
        "offsets": _offsets(here, record, found),
    }


def _revisions(found: Found) -> list[dict[str, Any]]:
    """How each revision of the record ended, the first one first."""
    numbers = sorted({entry.revision for _, entry in found.entries})
    ends = [Found(tuple(each for each in found.entries if each[1].revision == n)).decisive for n in numbers]
    return [{"revision": e.revision, "outcome": e.outcome, "code": e.code} for e in ends]


def _verdict(plan: PolicyPlan, entry: RecordDecided, number: int) -> dict[str, Any]:
    verdict = entry.verdicts[number]

    def purpose(link: int) -> str:
        return plan.purposes[entry.links[link].purpose].name

    return {
        "processor": plan.processors[verdict.processor].name,
        "grants": [
            {"purpose": purpose(grant.link), "categories": [plan.categories[c] for c in grant.categories]}
            for grant in verdict.grants
        ],
        "refusals": [
            {
                "purpose": purpose(refusal.link),
                "category": None if refusal.category is None else plan.categories[refusal.category],
                "code": refusal.code,
            }
            for refusal in verdict.refusals
        ],
    }


def _offsets(here: Installation, record: RecordId, found: Found) -> dict[str, list[list[int]]]:
    plan = here.plans.latest
    places: dict[str, list[list[int]]] = defaultdict(list)
    for where, _ in found.entries:
        if [where.partition, where.offset] not in places["decisions"]:
            places["decisions"].append([where.partition, where.offset])
    horizons = [f"records.{horizon.name}" for horizon in plan.horizons]
    for where, tagged in read(here, horizons, containing=[record]):
        if isinstance(tagged, RecordTagged) and tagged.record_id == record:
            places[where.topic].append([where.partition, where.offset])
    deliveries = {
        p.name: handles.delivery_id(here.vault.secrets.processor(p.name), record) for p in plan.processors
    }
    topics = [f"processor.{name}" for name in deliveries]
    for where, delivered in read(here, topics, containing=list(deliveries.values())):
        name = where.topic.removeprefix("processor.")
        if isinstance(delivered, RecordDelivered) and delivered.delivery_id == deliveries[name]:
            places[where.topic].append([where.partition, where.offset])
    return dict(places)


# ---- pixels ------------------------------------------------------------------------------------------------
def mint(here: Installation, site: str, days: int, subject: str | None) -> dict[str, Any]:
    """A token for one mail; whom it was sent to is an alias row in the vault, and nowhere else."""
    if site not in here.plans.latest.sites:
        known = ", ".join(here.plans.latest.sites)
        raise NotFound("unknown_site", "the policy names no such site", "--site", f"one of: {known}")
    message_id = secrets.token_bytes(tokens.MESSAGE_ID_BYTES)
    if subject is not None:
        _remember(here, subject, message_id)
    day = tokens.expiry_day(here.vault.clock.now(), days)
    token = tokens.mint(here.pixel_keys, site=site, message_id=message_id, expires_day=day)
    return {"token": token, "message_id": message_id.hex()}


def _remember(here: Installation, who: str, message_id: bytes) -> None:
    alias, mail = hashed(here, who), hashed(here, f"token:{message_id.hex()}")
    with here.vault.transaction() as tx:
        living = [
            row for row in tx.aliases([alias]).get(alias, ()) if row.subject is not None and row.until is None
        ]
        if not living:
            raise NotFound(
                "no_subject",
                "nobody is known by this identifier",
                "--for",
                "mint a token after their form or consent",
            )
        tx.put_aliases([AliasRow(hash=mail, subject=living[0].subject, since=tx.now)])


def of_message(here: Installation, message: str, site: str | None) -> list[dict[str, Any]]:
    """The opens of one mail, whose ids are derived again and looked for.

    No index leads from a message to its opens.

    An id is made from the message and the wall-clock second, so every second in which the collector may have
    run is tried: from the first decision that is still on the log until now.
    """
    message_id = _id(message, "--message")
    first = next((where.appended_ms for where, _ in read(here, ["decisions"])), None)
    if first is None:
        return []
    events = _candidates(here, message_id, first // 1000 - SPOOL_SECONDS, int(time.time()) + 1, site)
    found = decided(here, events)
    ordered = sorted(found.items(), key=lambda item: item[1].entries[0][0].appended_ms)
    return [
        {
            "event_id": events[record].hex(),
            "record_id": record.hex(),
            "outcome": f.decisive.outcome,
            "code": f.decisive.code,
        }
        for record, f in ordered
    ]


SPOOL_SECONDS = 3600
"""An open may have lain in the collector's spool before the first decision that is on the log."""


def _candidates(
    here: Installation, message_id: bytes, first: int, last: int, site: str | None
) -> Mapping[RecordId, EventId]:
    keys = here.pixel_keys
    return {
        record_id(here, name, "email-open", event): event
        for event in tokens.open_ids(keys, message_id, first, last)
        for name in _sites(here, site)
    }


def _sites(here: Installation, site: str | None) -> list[str]:
    names = {name for plan in here.plans for name in plan.sites}
    if site is not None and site not in names:
        raise NotFound(
            "unknown_site", "no policy names this site", "--site", f"one of: {', '.join(sorted(names))}"
        )
    return [site] if site is not None else sorted(names)


def _id(text: str, option: str) -> bytes:
    return read_id(text, "an id", option, "copy it from the collector's answer")
