"""The invariants from outside, after an ordeal: topics, key endpoint, commands, files, against the oracle."""

from __future__ import annotations

import base64
import json
import time
from collections import Counter
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from lapse.audit import oracle
from schemas.policy import Policy, load
from tests.chaos.book import ERASURE_REACH, Book, Sent
from tests.chaos.evidence import PULLED, RECEIVERS, Evidence
from tests.chaos.recipient import Recipient
from tests.e2e.live.books import expected_tallies, tallies
from tests.e2e.live.system import CLEAR, MARK, System
from tests.e2e.live.wire import Record, unseal
from tests.support.live import search_bytes

PURGED_WITHIN = 90.0
"""Seconds after the last commit until no clear byte is left in intake."""
ACCEPTED = ("routed", "expired")


NAMES = (
    "every accepted event ends once",
    "no grant exceeds what is allowed",
    "tallies are what was accepted",
    "residue adds up",
    "handles are all different",
    "what is due, erased or withdrawn does not open",
    "what must open opens",
    "a withdrawal leaves the other purposes open",
    "only the highest revision opens",
    "what ended is followed by its lapse",
    "a decision precedes its delivery",
    "a rebirth shares nothing",
    "nothing opens at the end",
    "every key is destroyed at the end",
    "what ended is followed by its lapse, at the end",
    "each destroyed key is announced once, with its count",
    "the partner holds nothing at the end",
    "no clear byte in any file",
    "nothing was wrong on the way",
)
"""What every verdict checks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One promise, examined: how many things were looked at, and how many were not as promised."""

    name: str
    invariants: tuple[int, ...]
    examined: int
    bad: int
    said: str = ""
    leak: bool = False
    """What is bad here is somebody's data in the wrong place."""
    may_be_empty: bool = False

    @property
    def held(self) -> bool:
        """Whether it held; a check that examined nothing has not."""
        return self.bad == 0 and (self.examined > 0 or self.may_be_empty)

    def as_json(self) -> dict[str, Any]:
        """For the results."""
        return {**asdict(self), "held": self.held}


def at_rest(system: System, book: Book, crm: Recipient) -> list[Check]:
    """What must hold at any quiet point."""
    found = Evidence(system, book)
    checks = [ends_once(found), lawful(found), counted(found), added_up(found), unlinked(found)]
    return [*checks, *readable(found), corrected(found), followed(found, crm), ordered(found), reborn(found)]


def all_lapsed(system: System, book: Book, crm: Recipient) -> list[Check]:
    """What must hold when every due date has passed."""
    found = Evidence(system, book)
    return [*gone(found), followed(found, crm, late=True), announced(found), vendors(found)]


@lru_cache(maxsize=4)
def written(text: str) -> Policy:
    """The policy as people wrote it."""
    return load(text, where="policy")


# ---- 1, 2, 11, 19 ------------------------------------------------------------------------------------------
def ends_once(found: Evidence) -> Check:
    """1 and 5: each accepted event has one folded outcome, and one that may be."""
    wrong: list[str] = []
    for record, sent in found.ids.records.items():
        row = found.folded.get(record)
        if row is None:
            wrong.append(f"{sent.event_id} vanished")
        elif not _may_end(found.book, sent, row):
            wrong.append(f"{sent.event_id} ({sent.kind}) ended {row['outcome']} {row['code']}")
    return Check(
        name="every accepted event ends once",
        invariants=(1,),
        examined=len(found.ids.records),
        bad=len(wrong),
        said="; ".join(wrong[:5]) or _sums(found),
    )


def _sums(found: Evidence) -> str:
    sums = Counter(str(found.folded[record]["outcome"]) for record in found.ids.records)
    return ", ".join(f"{count} {outcome}" for outcome, count in sums.most_common())


def _may_end(book: Book, sent: Sent, row: Record) -> bool:
    outcome, happened = row["outcome"], sent.happened
    if sent.suspect:
        return bool(outcome == "quarantined")
    if sent.kind == "signal":
        return outcome in ("kept_in_vault", "discarded")
    purposes = _stated(book, happened.source)
    if any(book.requires(sent, purpose) for purpose in purposes):
        return bool(outcome == "routed")
    why = {book.account.forbids(happened, purpose, book.now) for purpose in purposes}
    if why <= {"never consented", "signal"}:
        return bool(outcome == "discarded")
    return outcome in (*ACCEPTED, "discarded")


def _stated(book: Book, source: str) -> tuple[str, ...]:
    policy = written(book.account.policy_text)
    kind, _, form = source.partition("/")
    if kind == "form":
        return tuple(policy.forms[form].purposes)
    return tuple({p for c in policy.cookie_categories.values() for p in c.purposes})


def lawful(found: Evidence) -> Check:
    """2: no grant beyond the policy, and none for a purpose nobody ever allowed."""
    text, wrong, examined = found.book.account.policy_text, [], 0
    policy = written(text)
    names = list(policy.purposes)
    for entry in found.entries():
        if entry.source == "signal":
            continue
        wrong += oracle.excess(entry, text)
        sent = found.ids.records.get(entry.record_id)
        for verdict in entry.verdicts:
            for grant in verdict.grants:
                examined += 1
                purpose = names[entry.links[grant.link].purpose]
                if sent and policy.purposes[purpose].basis == "consent":
                    who = (sent.happened.person, purpose)
                    if not found.book.account.granted.get(who):
                        wrong.append(f"{purpose} was never allowed")
    return Check(
        name="no grant exceeds what is allowed",
        invariants=(2,),
        examined=examined,
        bad=len(wrong),
        said="; ".join(wrong[:3]),
        leak=True,
    )


def counted(found: Evidence) -> Check:
    """11: every bucket counts the folded records that were accepted into it."""
    now, expected = tallies(found.system), expected_tallies(found.system)
    off = {b: (now[b], expected[b]) for b in {*now, *expected} if now[b] != expected[b]}
    return Check(
        name="tallies are what was accepted",
        invariants=(11,),
        examined=len(expected),
        bad=len(off),
        said=str(dict(list(off.items())[:3])) if off else f"{expected.total()} links",
    )


def added_up(found: Evidence) -> Check:
    """11 and 19: published and carried counts are what was accepted, in cells of ten people at least."""
    shown = found.system.do("residue", "show")
    accepted = sum(
        row["outcome"] in (*ACCEPTED, "kept_in_vault") and row["source"] != "signal"
        for row in found.folded.values()
    )
    bad = abs(shown["published"] + shown["carried"] - accepted)
    cells = found.system.kafka("auditor").records("ResidueCounted", "residue")
    bad += sum(cell["people"] < 10 for m in cells if m.record for cell in m.record["cells"])
    said = f"{shown['published']} published + {shown['carried']} carried, {accepted} accepted"
    return Check(name="residue adds up", invariants=(11, 19), examined=accepted, bad=bad, said=said)


# ---- 4, 5, 7, 12: what opens -------------------------------------------------------------------------------
def readable(found: Evidence) -> list[Check]:
    """4, 5, 7, 12: the key endpoint opens what must open, and nothing the oracle forbids."""
    asked, must, partly, forbidden, shut = 0, 0, 0, list[str](), list[str]()
    for name in PULLED:
        for delivery, parts in found.asked(name):
            sent = found.ids.deliveries[name].get(delivery["delivery_id"])
            if sent is None or found.outdated(name, delivery):
                continue
            for part, wraps in zip(parts, _purposes(delivery), strict=True):
                asked += 1
                why = {found.book.account.forbids(sent.happened, p, found.book.now) for p in wraps}
                if "key" in part and None not in why and not _unsure(found.book, sent):
                    forbidden.append(f"{name} opens {sent.event_id}: {sorted(map(str, why))}")
                if any(found.book.requires(sent, p) for p in wraps):
                    must += 1
                    partly += _denied_another(found.book, sent)
                    if "key" not in part:
                        shut.append(f"{name} {sent.event_id}: {part['closed']['code']}")
    return [
        Check(
            name="what is due, erased or withdrawn does not open",
            invariants=(4, 7),
            examined=asked,
            bad=len(forbidden),
            said="; ".join(forbidden[:3]),
            leak=True,
        ),
        Check(
            name="what must open opens",
            invariants=(5,),
            examined=must,
            bad=len(shut),
            said="; ".join(shut[:3]),
        ),
        Check(
            name="a withdrawal leaves the other purposes open",
            invariants=(12,),
            examined=partly,
            bad=0 if not shut else len(shut),
            said="of what must open, where the person denied another purpose",
        ),
    ]


def corrected(found: Evidence) -> Check:
    """14: of what was corrected the old revision opens nowhere, and the new one says what was ordered."""
    examined, old, wrong = 0, list[str](), list[str]()
    for name in PULLED:
        for delivery, parts in found.asked(name):
            record = found.record_of(name, delivery)
            opened = [part for part in parts if "key" in part]
            if found.outdated(name, delivery):
                examined += 1
                old += [f"{name} opens revision {delivery['revision']}"] * bool(opened)
                continue
            known = found.book.corrected.get(record or b"")
            if known is None or known[0] != delivery["revision"]:
                continue
            for part in opened:
                fields = json.loads(unseal(delivery, part["n"], base64.b64decode(part["key"])))
                examined += "name" in fields
                wrong += [f"{name} reads another name"] * (fields.get("name", known[1]) != known[1])
    wrong += oracle.overtaken(found.entries())
    said = f"{len(found.book.corrected)} records corrected"
    return Check(
        name="only the highest revision opens",
        invariants=(14,),
        examined=examined,
        bad=len(old) + len(wrong),
        said="; ".join([*old, *wrong][:3]) or said,
        leak=True,
    )


def _purposes(delivery: Record) -> list[list[str]]:
    grants = delivery["grants"]
    return [[grants[w["grant"]]["purpose"] for w in part["wraps"]] for part in delivery["compartments"]]


def _unsure(book: Book, sent: Sent) -> bool:
    """A contested event may be the other content's; of a person it is clear who it is all the same."""
    return sent.contested


def _denied_another(book: Book, sent: Sent) -> bool:
    return any(person == sent.happened.person for person, _ in book.account.denied)


def gone(found: Evidence) -> list[Check]:
    """4: after every due date nobody opens anything, whoever asks."""
    asked, opened = 0, 0
    for name in PULLED:
        for _, parts in found.asked(name):
            asked += len(parts)
            opened += sum("key" in part for part in parts)
    rows = [r for r in found.system.do("bucket", "list")["buckets"] if r["purpose"] != "quarantine"]
    living = [row for row in rows if row["state"] != "destroyed"]
    return [
        Check(name="nothing opens at the end", invariants=(4,), examined=asked, bad=opened, leak=True),
        Check(
            name="every key is destroyed at the end",
            invariants=(4,),
            examined=len(rows),
            bad=len(living),
            said=str(living[:2]) if living else "",
        ),
    ]


# ---- 9, 10, 15, 8 ------------------------------------------------------------------------------------------
def followed(found: Evidence, crm: Recipient, *, late: bool = False) -> Check:
    """9, 16: of a delivery whose grant has ended the lapse lies in its partition.

    As a rule it follows. Route seals what it judged, and a person may withdraw meanwhile: then the keys are
    gone first, and the delivery lands behind its lapse and opens for nobody (model m2). Whether anything does
    is for other checks.
    """
    examined, missing, behind = 0, list[str](), 0
    for name in RECEIVERS:
        for messages in found.topics[name].values():
            lapses = [(m.offset, m.record) for m in messages if m.name == "Depersonalized" and m.record]
            for message in messages:
                if message.name != "RecordDelivered" or message.record is None:
                    continue
                sent = found.ids.deliveries[name].get(message.record["delivery_id"])
                for grant in message.record["grants"] if sent else ():
                    assert sent is not None
                    if not found.book.account.forbids(sent.happened, grant["purpose"], found.book.now):
                        continue
                    examined += 1
                    places = [at for at, x in lapses if reaches(x, message.record, grant)]
                    behind += bool(places) and max(places) < message.offset
                    if not places:
                        opened = "opened" if message.record["delivery_id"] in crm.opened else "not seen open"
                        place = f"{name} {message.partition}/{message.offset}"
                        missing.append(f"{place} {grant['purpose']} decided {grant['decided']} ({opened})")
    return Check(
        name="what ended is followed by its lapse" + (", at the end" if late else ""),
        invariants=(9, 16),
        examined=examined,
        bad=len(missing),
        said="; ".join(missing[:3]) or f"{behind} lie behind their lapse",
        may_be_empty=not late,
    )


def reaches(lapse: Record, delivery: Record, grant: Record) -> bool:
    """Whether a lapse ends this grant (docs/wire.md, Deliveries)."""
    if grant["decided"] >= lapse["reaches"]:
        return False
    kind, scope = lapse["scope"]
    if kind.endswith("Bucket"):
        return all(grant[name] == scope[name] for name in ("purpose", "period", "terms"))
    if kind.endswith("Subject"):
        return bool(scope["subject_ref"] == delivery["subject_ref"] and grant["purpose"] in scope["purposes"])
    if kind.endswith("Record"):
        return bool(scope["delivery_id"] == delivery["delivery_id"] and grant["purpose"] in scope["purposes"])
    return True


def ordered(found: Evidence) -> Check:
    """10: by the log's own times no delivery is older than the decision that allowed it."""
    first: dict[bytes, int] = {}
    for at, row in found.decisions:
        if row["outcome"] == "routed":
            first[row["record_id"]] = min(at, first.get(row["record_id"], at))
    examined = wrong = 0
    for name in RECEIVERS:
        for message in found.deliveries(name):
            assert message.record is not None
            examined += 1
            record = found.ids.record_of[name].get(message.record["delivery_id"], b"")
            wrong += first.get(record, message.at_ms + 1) > message.at_ms
    return Check(name="a decision precedes its delivery", invariants=(10,), examined=examined, bad=wrong)


def unlinked(found: Evidence) -> Check:
    """15: two sealed records share no handle and carry no key."""
    kafka = found.system.kafka("auditor")
    records = kafka.records(
        "RecordTagged", *(t for t in found.system.run["topics"] if t.startswith("records."))
    )
    handles = {
        (m.record["record_id"], link["handle"]) for m in records if m.record for link in m.record["links"]
    }
    counted = Counter(handle for _, handle in handles)
    bad = sum(count - 1 for count in counted.values()) + sum(m.key is not None for m in records)
    return Check(
        name="handles are all different", invariants=(15,), examined=len(handles), bad=bad, leak=True
    )


def reborn(found: Evidence) -> Check:
    """8: who comes back after an erasure has another pseudonym."""
    seen: dict[tuple[str, str], set[tuple[int, bytes]]] = {}
    for name in RECEIVERS:
        for message in found.deliveries(name):
            assert message.record is not None
            sent = found.ids.deliveries[name].get(message.record["delivery_id"])
            if sent and sent.happened.person in found.book.account.erased:
                at = (sent.happened.at, message.record["subject_ref"])
                seen.setdefault((name, sent.happened.person), set()).add(at)
    examined = bad = 0
    for (_, person), refs in seen.items():
        for until in found.book.account.erased[person]:
            before = {ref for at, ref in refs if at <= until}
            after = {ref for at, ref in refs if at > until + ERASURE_REACH}
            examined += bool(before and after)
            bad += bool(before & after)
    return Check(
        name="a rebirth shares nothing", invariants=(8,), examined=examined, bad=bad, may_be_empty=True
    )


def announced(found: Evidence) -> Check:
    """Each destroyed bucket has one lapse on lifecycle, with its tally."""
    lapses = found.system.kafka("auditor").records("Depersonalized", "lifecycle")
    said: dict[tuple[str, int, int], set[tuple[bytes, int]]] = {}
    for message in lapses:
        assert message.record is not None
        kind, scope = message.record["scope"]
        if kind.endswith("Bucket"):
            bucket = (scope["purpose"], scope["period"], scope["terms"])
            said.setdefault(bucket, set()).add((message.record["lapse_id"], message.record["records"]))
    rows = [r for r in found.system.do("bucket", "list")["buckets"] if r["state"] == "destroyed"]
    wrong = []
    for row in rows:
        bucket = (row["purpose"], row["period"], row["terms"])
        counts = [records for _, records in said.get(bucket, ())]
        if row["purpose"] != "quarantine" and counts != [row["tally"]]:
            wrong.append(f"{bucket}: {counts} for {row['tally']}")
    return Check(
        name="each destroyed key is announced once, with its count",
        invariants=(9, 11),
        examined=len(rows),
        bad=len(wrong),
        said="; ".join(wrong[:3]),
    )


def vendors(found: Evidence) -> Check:
    """4 at the partner: its objects are gone with their purposes."""
    url = found.system.run["processors"]["partner"]["fake_url"]
    deadline = time.monotonic() + 60
    while True:
        held = found.system.http("GET", f"{url}/_held").json()["objects"]
        if not held or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    delivered = len({m.record["delivery_id"] for m in found.deliveries("partner") if m.record})
    return Check(
        name="the partner holds nothing at the end",
        invariants=(4,),
        examined=delivered,
        bad=len(held),
        said=str([len(each["fields"]) for each in held[:5]]) if held else "",
        leak=True,
    )


# ---- 3, and what was noticed on the way --------------------------------------------------------------------
def canary(system: System, *, intake_too: bool) -> Check:
    """3: nobody's values in any file, but clear topics and, until it is purged, intake."""
    run = system.run
    folders = [
        *map(Path, run["broker"]["log_dirs"]),
        *(system.data / n for n in ("vault", "logs", "spool", "state")),
    ]
    deadline = time.monotonic() + (PURGED_WITHIN if intake_too else 0)
    while True:
        found = {
            path: count
            for path, count in search_bytes([MARK.encode()], [f for f in folders if f.exists()]).items()
            if CLEAR not in str(path) and (intake_too or "intake." not in str(path))
        }
        if not found or time.monotonic() > deadline:
            break
        time.sleep(2)
    searched = sum(1 for folder in folders if folder.exists() for path in folder.rglob("*") if path.is_file())
    names = sorted({f"{path.parent.name}/{path.name}" for path in found})
    return Check(
        name="no clear byte in any file",
        invariants=(3,),
        examined=searched,
        bad=sum(found.values()),
        said=", ".join(names[:5]) or ("intake too" if intake_too else "intake apart"),
        leak=True,
    )


def as_it_went(book: Book, crm: Recipient) -> Check:
    """6, 13, 16, 20 and everything else that was checked while it happened."""
    counts = book.counts
    said = (
        f"{counts['unconfirmed jumps']} jumps, {counts['command hold release']} holds, "
        f"{crm.asked_suspended} asked while suspended, {crm.asked} asked, {len(crm.opened)} opened"
    )
    return Check(
        name="nothing was wrong on the way",
        invariants=(6, 13, 16, 20),
        examined=crm.asked + counts["unconfirmed jumps"],
        bad=len(book.violations),
        said="; ".join(book.violations[:5]) or said,
    )


def duplicated(system: System) -> dict[str, int]:
    """How many deliveries lie on a recipient's topic more than once, and how many clear ones do."""
    found: dict[str, int] = {}
    kafka = system.kafka("auditor")
    for name in RECEIVERS:
        ids = [
            (m.record["delivery_id"], m.record["revision"])
            for m in kafka.records("RecordDelivered", f"processor.{name}")
            if m.record
        ]
        found[name] = len(ids) - len(set(ids))
    clear = [
        m.value
        for m in kafka.read("plain.warehouse")
        if m.value and ("lapse-type", b"RecordOpened") in m.headers
    ]
    read = [json.loads(value) for value in clear]
    named = [(each.get("delivery_id"), each.get("revision")) for each in read]
    found["plain.warehouse"] = len(named) - len(set(named))
    return found
