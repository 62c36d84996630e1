"""The demo's checks, from outside: topics read as the auditor, keys asked for as a recipient, files as bytes.

Each says which invariant, whether it held, how much it examined and how anyone can look themselves. A check
that examined nothing has not held.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lapse.audit import oracle
from lapse.demo.opening import KeyEndpoint, closed_codes
from lapse.demo.people import Person
from lapse.demo.shelves import Shelf, reaches
from lapse.main import Installation
from lapse.reading import Where, read
from lapse.records import KINDS, Found, decided, record_id
from schemas.ids import EventId, RecordId
from schemas.models import (
    DecisionBatch,
    Depersonalized,
    RecordDecided,
    RecordDelivered,
)
from vault import handles

PURGE_SECONDS = 30.0
"""How long the canary's bytes may still lie in intake after the last commit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One invariant, examined."""

    invariant: int
    held: bool
    examined: int
    figure: str
    command: str

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def check(invariant: int, bad: int, examined: int, figure: str, command: str) -> Check:
    """A check that found `bad` violations among `examined`."""
    return Check(
        invariant=invariant, held=bad == 0 and examined > 0, examined=examined, figure=figure, command=command
    )


@dataclass(slots=True, kw_only=True)
class Log:
    """What the checks read once: decisions per record, and each recipient's topic in order per partition."""

    found: dict[RecordId, Found]
    topics: dict[str, dict[int, list[tuple[Where, RecordDelivered | Depersonalized]]]]


def read_log(here: Installation, accepted: Iterable[str]) -> tuple[Log, dict[str, list[RecordId]]]:
    """Read the topics; also which record ids each accepted event id may have."""
    sites = list(here.plans.latest.sites)
    ids = {
        e: [record_id(here, s, k, EventId(bytes.fromhex(e))) for s in sites for k in KINDS] for e in accepted
    }
    topics: dict[str, dict[int, list[tuple[Where, RecordDelivered | Depersonalized]]]] = {}
    for processor in here.plans.latest.processors:
        parts = topics.setdefault(processor.name, defaultdict(list))
        for where, record in read(here, [f"processor.{processor.name}"]):
            if isinstance(record, RecordDelivered | Depersonalized):
                parts[where.partition].append((where, record))
    everything = decided(here, _decided_ids(here))
    return Log(found=everything, topics=topics), ids


def _decided_ids(here: Installation) -> set[RecordId]:
    return {
        entry.record_id
        for _, batch in read(here, ["decisions"])
        if isinstance(batch, DecisionBatch)
        for entry in batch.entries
    }


# ---- 1: every accepted event ends in exactly one outcome ---------------------------------------------------
def conservation(log: Log, ids: Mapping[str, Sequence[RecordId]]) -> tuple[Check, Counter[str]]:
    """Count the folded outcomes of every event id the collector acknowledged."""
    outcomes: Counter[str] = Counter()
    for candidates in ids.values():
        known = [log.found[r] for r in candidates if r in log.found]
        outcomes[known[0].decisive.outcome if len(known) == 1 else "lost" if not known else "several"] += 1
    bad = outcomes["lost"] + outcomes["several"]
    said = ", ".join(f"{count} {name}" for name, count in sorted(outcomes.items()))
    return check(
        1, bad, len(ids), f"{len(ids)} accepted = {said}", "lapse records show --event HEX"
    ), outcomes


# ---- 2: no grant exceeds policy, consent, approval ---------------------------------------------------------
def lawful(here: Installation, log: Log) -> Check:
    """Let the oracle, which shares no code with the flow, recompute what each decision may grant at most."""
    examined, excess = 0, 0
    for found in log.found.values():
        for _, entry in found.entries:
            examined += sum(len(verdict.grants) for verdict in entry.verdicts)
            excess += len(oracle.excess(entry, here.layout.policy(entry.policy).read_text()))
    return check(
        2,
        excess,
        examined,
        f"{examined} grants recomputed, {excess} too many",
        "lapse records show --event HEX",
    )


# ---- 3: no clear byte outside ------------------------------------------------------------------------------
def canary(here: Installation, people: Iterable[Person], clear_topics: Sequence[str]) -> Check:
    """Search all files of broker, vault, logs and spool for canaries until intake is purged or time is up."""
    needles = [value.encode() for p in people for value in (p.email, p.phone, p.company, p.cookie_id, p.name)]
    folders = [
        *map(Path, here.runtime.log_dirs),
        here.layout.vault_file.parent,
        here.layout.logs,
        here.layout.spool,
    ]
    deadline = time.monotonic() + PURGE_SECONDS
    while True:
        files = [
            path for folder in folders if folder.exists() for path in folder.rglob("*") if path.is_file()
        ]
        searched = [path for path in files if not any(topic in str(path) for topic in clear_topics)]
        sizes, finds = _search(searched, needles)
        if not finds or time.monotonic() > deadline:
            break
        time.sleep(1.0)
    figure = (
        f"{sum(finds.values())} finds of {len(needles)} values in {len(searched)} files, {sizes / 1e6:.1f} MB"
    )
    if finds:
        figure += f" ({', '.join(sorted({path.parent.name for path in finds})[:3])})"
    return check(3, len(finds), len(searched), figure, "grep -r canary. DATA/broker DATA/vault DATA/logs")


def _search(files: Iterable[Path], needles: Sequence[bytes]) -> tuple[int, dict[Path, int]]:
    size, finds = 0, {}
    for path in files:
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            continue
        size += len(data)
        if count := sum(data.count(needle) for needle in needles):
            finds[path] = count
    return size, finds


# ---- 4 and 7: after due, after erasure, nothing opens ------------------------------------------------------
def lapsed(shelves: Iterable[Shelf], keys: Mapping[str, KeyEndpoint], now: Callable[[], int]) -> Check:
    """Ask the key endpoint again, as the recipient, for every delivery whose every grant is due."""
    asked = opened = 0
    codes: Counter[str] = Counter()
    for shelf in shelves:
        due = [d for d in shelf.deliveries() if all(grant.use_until <= now() for grant in d.grants)]
        for result in keys[shelf.name].ask(due):
            for code in closed_codes(result):
                asked += 1
                opened += code is None
                codes[code or "open"] += 1
    said = ", ".join(f"{count} {code}" for code, count in codes.most_common(3))
    return check(
        4,
        opened,
        asked,
        f"{asked} sealed parts past due asked for, {opened} opened ({said})",
        "POST /v1/keys",
    )


def forgotten(shelves: Sequence[Shelf], erased: Person, late_outcomes: Sequence[str]) -> Check:
    """Nothing of the erased person is on a shelf or opens; what arrived late was turned away."""
    examined = len(late_outcomes)
    bad = sum(outcome != "discarded" for outcome in late_outcomes)
    for shelf in shelves:
        examined += erased.email in shelf.seen_of_watched
        bad += shelf.holds(erased.email)
    bad += not any(erased.email in shelf.seen_of_watched for shelf in shelves)
    said = f"{len(late_outcomes)} late arrivals: {', '.join(sorted(set(late_outcomes)))}"
    return check(
        7,
        bad,
        examined,
        f"read once by {examined - len(late_outcomes)} recipients, on no shelf now; {said}",
        "lapse subject show email:…",
    )


# ---- 9: what ever opened is followed by its lapse ----------------------------------------------------------
def followed(log: Log, shelves: Iterable[Shelf], now: int) -> Check:
    """Every delivery that opened has, for each grant past due, its Depersonalized later in the partition."""
    examined = missing = 0
    for shelf in shelves:
        for entries in log.topics[shelf.name].values():
            lapses = [
                (where.offset, record) for where, record in entries if isinstance(record, Depersonalized)
            ]
            for where, record in entries:
                if not isinstance(record, RecordDelivered) or record.delivery_id not in shelf.ever_opened:
                    continue
                for number, grant in enumerate(record.grants):
                    if grant.use_until <= now:
                        examined += 1
                        missing += not any(
                            at > where.offset and reaches(lapse, record, number) for at, lapse in lapses
                        )
    return check(
        9,
        missing,
        examined,
        f"{examined} opened grants past due, {missing} without their lapse behind them",
        "lapse lifecycle tail",
    )


# ---- 10: a decision precedes its delivery ------------------------------------------------------------------
def ordered(here: Installation, log: Log) -> Check:
    """LogAppendTime of the decision is never later than that of the delivery."""
    examined = wrong = 0
    for name, parts in log.topics.items():
        secret = here.vault.secrets.processor(name)
        first = {
            handles.delivery_id(secret, record): _first_routed(found) for record, found in log.found.items()
        }
        for entries in parts.values():
            for where, record in entries:
                if isinstance(record, RecordDelivered):
                    examined += 1
                    at = first.get(record.delivery_id)
                    wrong += at is None or at > where.appended_ms
    return check(
        10,
        wrong,
        examined,
        f"{examined} deliveries, {wrong} before their decision",
        "LogAppendTime of decisions and processor.*",
    )


def _first_routed(found: Found) -> int | None:
    routed = [where.appended_ms for where, entry in found.entries if entry.outcome == "routed"]
    return min(routed) if routed else None


def codes_of(log: Log, entries: Iterable[RecordId]) -> Counter[str]:
    """Why the discarded were discarded."""
    decisive: list[RecordDecided] = [log.found[record].decisive for record in entries if record in log.found]
    return Counter(entry.code or "-" for entry in decisive if entry.outcome == "discarded")
