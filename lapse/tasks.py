"""What operators do about tasks: see what is open, look at one, and show that it is done."""

from __future__ import annotations

import hashlib
import re
import time
from pathlib import Path
from typing import Any

from lapse.cli.output import moment
from lapse.commands import LOOK_SECONDS, publish
from lapse.initialise import signing_key
from lapse.main import Installation
from schemas.errors import BadInput, NotFound, Refused, Unavailable
from schemas.models import ReceiptGiven
from schemas.signing import sign_receipt
from streams.tasking import name_of
from streams.tasks import BY_HAND
from vault.tasks import State, Task

MOST = 10_000
"""Tasks that are listed; more are a sign of something that one by one will not mend."""
_SHA = re.compile("[0-9a-f]{64}")
_NAME = re.compile("([a-z][a-z0-9-]{0,39}):([0-9a-f]{8,32})")


def listed(here: Installation, *, processor: str | None, every: bool) -> list[dict[str, Any]]:
    """What is open, the longest due first; with `every` also what is still awaited, and what was done."""
    states: tuple[State, ...] = ("open", "awaited", "done") if every else ("open",)
    with here.vault.transaction(write=False) as tx:
        found = [task for state in states for task in tx.tasks(state=state, processor=processor, limit=MOST)]
    return [row(task) for task in found]


def row(task: Task) -> dict[str, Any]:
    """One task as a row: nothing in it names a person."""
    return {
        "task": name_of(task),
        "processor": task.processor,
        "state": task.state,
        "kind": task.kind,
        "cause": task.cause,
        "about": task.scope,
        "purposes": list(task.purposes),
        "since": moment(task.since),
        "due": moment(task.due),
    }


def shown(here: Installation, name: str) -> dict[str, Any]:
    """All that is known of one task."""
    task = find(here, name)
    counts: dict[str, int] = {}
    for outcome in task.answers.values():
        counts[outcome] = counts.get(outcome, 0) + 1
    return row(task) | {
        "lapse_id": task.about.hex(),
        "reason": task.reason or None,
        "answers": counts,
        "expected": task.expected,
        "opened": moment(task.opened_at),
        "letters": list(task.steps),
        "done": moment(task.done_at),
        "evidence": task.evidence.hex() or None,
    }


def find(here: Installation, name: str) -> Task:
    """Return the task of this name, `PROCESSOR:HEX`; the first eight digits do where they name one alone."""
    matched = _NAME.fullmatch(name)
    if matched is None:
        raise BadInput("bad_id", "not the name of a task", "TASK", "take it from: lapse task list")
    processor, digits = matched.groups()
    with here.vault.transaction(write=False) as tx:
        if len(digits) == 32 and (one := tx.task(processor, bytes.fromhex(digits))) is not None:
            return one
        found = [
            task for task in tx.tasks(processor=processor, limit=MOST) if task.about.hex().startswith(digits)
        ]
    if not found:
        raise NotFound("not_found", "there is no such task", "TASK", "see: lapse task list --all")
    if len(found) > 1:
        raise BadInput("bad_id", "more than one task begins like this", "TASK", "give more digits")
    return found[0]


def done(here: Installation, name: str, evidence: str, timeout: float) -> dict[str, Any]:
    """Show that a task is done, by a receipt with the evidence's hash, signed with the operator's key.

    It lies on `receipts` and has been taken to heart when this returns.
    """
    task = find(here, name)
    if task.state == "done":
        raise Refused("conflict", "this is done already", name, "see: lapse task show")
    digest = proof(evidence)
    receipt = sign_receipt(_receipt(here, task, digest), signing_key(here.layout.operator_key))
    publish(here, "receipts", [receipt])
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        with here.vault.transaction(write=False) as tx:
            now = tx.task(task.processor, task.about)
        if now is None or now.state == "done":
            return {"task": name_of(task), "state": "done", "evidence": digest.hex()}
        time.sleep(LOOK_SECONDS)
    where, do = receipt.receipt_id.hex(), "look at: lapse doctor"
    raise Unavailable("timeout", f"not taken to heart after {timeout:g} s", where, do)


def proof(evidence: str) -> bytes:
    """Return the SHA-256 of a file, or the one that was given as 64 hex digits."""
    if _SHA.fullmatch(evidence):
        return bytes.fromhex(evidence)
    try:
        with Path(evidence).open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        what = "neither a SHA-256 of 64 hex digits nor a file that can be read"
        raise BadInput("no_file", what, "--evidence", "name the file that shows it") from None


def _receipt(here: Installation, task: Task, evidence: bytes) -> ReceiptGiven:
    digest = hashlib.sha256(b"lapse/v1/by-hand" + task.processor.encode() + task.about + evidence)
    return ReceiptGiven(
        receipt_id=digest.digest()[:16],
        processor=task.processor,
        about=task.about,
        outcome="completed",
        at=here.vault.clock.now(),
        evidence=evidence,
        code=BY_HAND,
    )
