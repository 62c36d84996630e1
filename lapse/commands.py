"""Signed commands: made, signed by the operator, put on `control`, followed until govern has judged them."""

from __future__ import annotations

import getpass
import json
import secrets
import time
from typing import Any, TypeVar

from lapse.initialise import signing_key
from lapse.main import Installation
from lapse.sending import send
from schemas import codec
from schemas.codes import CODES
from schemas.errors import NotFound, Refused, Unavailable
from schemas.ids import CommandId, Micros
from schemas.models import Command, PolicyPublished, ProcessorApproved, Record
from schemas.signing import sign
from streams.ports import Outbound

C = TypeVar("C", bound=Command)

OPERATOR = "operator"
"""Key id of the data folder's own operator key."""
LOOK_SECONDS = 0.03
OWED_LIMIT = 100_000


def command(kind: type[C], here: Installation, **fields: Any) -> C:
    """Make and sign one command of this kind, ordered by whoever runs this process."""
    unsigned = kind(
        command_id=CommandId(secrets.token_bytes(16)),
        ordered_by=person(),
        at=Micros(time.time_ns() // 1000),
        key_id=OPERATOR,
        signature=b"",
        **fields,
    )
    return sign(unsigned, signing_key(here.layout.operator_key))


def approve_first(here: Installation) -> None:
    """Order what making a data folder means: the policy is in force, its recipients are approved.

    Recipients of later versions are approved one by one: `lapse processor approve`.
    """
    plan = here.plans.latest
    body = here.layout.policy(plan.version).read_text()
    orders: list[Record] = [
        command(PolicyPublished, here, version=plan.version, sha256=plan.sha256, body=body)
    ]
    for processor in plan.processors:
        if processor.suspended is None:
            orders.append(
                command(
                    ProcessorApproved,
                    here,
                    processor=processor.name,
                    assurance_until=processor.assurance_until,
                    evidence=processor.evidence,
                )
            )
    publish(here, "control", orders)


def publish(here: Installation, topic: str, records: list[Record], *, role: str = "keys") -> None:
    """Put records on partition 0 of a topic, durably; `Unavailable` if the broker takes too long."""
    here.reach_broker()
    send(here.librdkafka(role), [Outbound(topic, 0, None, codec.encode(record)) for record in records])


def order(here: Installation, ordered: Command, timeout: float) -> dict[str, Any]:
    """Send a command and return the detail it was applied with; a refusal is raised under its code."""
    publish(here, "control", [ordered])
    return outcome(here, ordered.command_id, timeout)


def outcome(here: Installation, command_id: CommandId, timeout: float) -> dict[str, Any]:
    """Follow a command until it is judged and everything owed to the log at that moment is announced."""
    deadline, owed, judged = time.monotonic() + timeout, 0, None
    while True:
        with here.vault.transaction(write=False) as tx:
            if judged is None:
                judged = tx.command_judged(command_id)
                owed = max((row.id for row in tx.outbox(OWED_LIMIT)), default=0) if judged else 0
            oldest = tx.outbox(1)
        if judged is not None and (judged.code or not oldest or oldest[0].id > owed):
            return _applied(judged.code, judged.detail)
        if time.monotonic() > deadline:
            state = "judged but not yet announced" if judged else "not judged yet"
            raise Unavailable(
                "timeout", f"{state} after {timeout:g} s", command_id.hex(), "look at: lapse doctor"
            )
        time.sleep(LOOK_SECONDS)


def _applied(code: str | None, detail: bytes) -> dict[str, Any]:
    if code is None:
        return dict(json.loads(detail or b"{}"))
    known, said = CODES.get(code), dict(json.loads(detail or b"{}"))
    what, do = (known.meaning, known.do) if known else ("the command was refused", "look at: lapse doctor")
    raise (NotFound if code == "not_found" else Refused)(
        code, said.get("what") or what, said.get("where") or "control", said.get("do") or do
    )


def person() -> str:
    """Who runs this process: the name that stands in commands and reveals."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "operator"
