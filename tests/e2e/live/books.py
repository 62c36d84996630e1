"""The books anybody can keep from outside: decisions folded per record, and what each bucket should count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from tests.e2e.live.system import System
from tests.e2e.live.wire import Record

FOLD = ("routed", "kept_in_vault", "expired", "quarantined", "discarded")
"""Entries of one record fold to the first of these that occurs: what was done was done."""
Bucket = tuple[str, int, int]


def entries(system: System) -> list[Record]:
    """Every entry on `decisions`, in log order."""
    batches = system.kafka("auditor").records("DecisionBatch", "decisions")
    return [entry for message in batches if message.record for entry in message.record["entries"]]


def folded(rows: Iterable[Record]) -> dict[bytes, Record]:
    """The entry that counts for each record: the highest in the fold, a second content behind the first."""
    best: dict[bytes, Record] = {}
    for row in rows:
        known = best.get(row["record_id"])
        if known is None or _rank(row) < _rank(known):
            best[row["record_id"]] = row
    return best


def _rank(row: Record) -> tuple[int, bool]:
    return FOLD.index(row["outcome"]), row["code"] == "conflicting_event_id"


def outcomes(rows: Iterable[Record]) -> Counter[tuple[str, str, str | None]]:
    """How many records ended how, by source kind, outcome and code."""
    return Counter(
        (row["source"].split("/")[0], row["outcome"], row["code"]) for row in folded(rows).values()
    )


def expected_tallies(system: System) -> Counter[Bucket]:
    """Per bucket the folded records accepted into it, revision by revision: routed, or expired on their way.

    A link that died on the way, while others lived, is named by an entry of its own.
    """
    names: dict[int, dict[int, str]] = {}
    rows, accepted = entries(system), ("routed", "expired")
    counted: dict[Bucket, set[tuple[bytes, int]]] = {}
    ended = folded(rows)
    for row in rows:
        if row["outcome"] not in accepted or ended[row["record_id"]]["outcome"] not in accepted:
            continue
        if row["policy"] not in names:
            names[row["policy"]] = _names(system, row["policy"])
        for link in row["links"]:
            bucket = (names[row["policy"]][link["purpose"]], link["period"], link["terms"])
            counted.setdefault(bucket, set()).add((row["record_id"], row["revision"]))
    return Counter({bucket: len(records) for bucket, records in counted.items()})


def _names(system: System, version: int) -> dict[int, str]:
    plan: dict[str, Any] = system.admin(f"/v1/plans/{version}").json()
    return {int(purpose["number"]): str(purpose["name"]) for purpose in plan["purposes"]}


def tallies(system: System) -> Counter[Bucket]:
    """What `bucket list` counts, buckets that hold nothing left out."""
    rows = system.do("bucket", "list")["buckets"]
    found = {
        (r["purpose"], r["period"], r["terms"]): r["tally"] for r in rows if r["purpose"] != "quarantine"
    }
    return Counter({bucket: tally for bucket, tally in found.items() if tally})
