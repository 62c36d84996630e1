"""Answers of the key endpoint, each batch in one vault transaction: keys, receipts, callbacks."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lapse.keyservice.shapes import (
    AskedDelivery,
    GivenReceipt,
    micros,
    unbase64,
)
from processors.answers import Done, Permanent
from processors.messages import Status
from processors.opening import PlansIn, recipiency
from processors.reporting import Reports
from processors.tokens import authenticate
from schemas.codec import encode
from schemas.ids import DeliveryId, Micros
from schemas.models import ReceiptGiven
from schemas.plan import Plans
from schemas.times import rfc3339
from vault import deliveries as late
from vault.deliveries import OpenKey
from vault.port import Tx, Vault
from vault.values import NEVER, Closed


@dataclass(frozen=True, slots=True)
class Locked:
    """Published policies for several threads at once: compiling them is not made for that."""

    plans: PlansIn
    _lock: threading.Lock

    @classmethod
    def around(cls, plans: PlansIn) -> Locked:
        """Guard a look-up."""
        return cls(plans, threading.Lock())

    def __call__(self, tx: Tx) -> Plans:
        """Every version as of a transaction."""
        with self._lock:
            return self.plans(tx)


class Desk:
    """The vault side of the endpoint; its methods block and may be called from several threads."""

    def __init__(
        self, *, vault: Vault, plans: PlansIn, receipt_partitions: int, wall: Callable[[], Micros]
    ) -> None:
        self._vault, self._plans, self._wall = vault, plans, wall
        self._partitions = receipt_partitions

    def alive(self) -> None:
        """Read the vault; raises Unavailable where it does not answer."""
        with self._vault.transaction(write=False) as tx:
            tx.policy_count()

    def who(self, token: str) -> str | None:
        """Return the processor a bearer token is of."""
        with self._vault.transaction(write=False) as tx:
            return authenticate(tx, token)

    def keys(self, processor: str, asked: Sequence[AskedDelivery]) -> dict[str, Any]:
        """Return the body of `POST /v1/keys`: one result per delivery, in the order asked."""
        with self._vault.transaction(write=False) as tx:
            to = recipiency(tx, self._plans(tx), processor)
            answers = late.delivery_keys(tx, to, [_asked(d) for d in asked])
            as_of = rfc3339(tx.now)
        return {
            "as_of": as_of,
            "results": [_result(d, answer) for d, answer in zip(asked, answers, strict=True)],
        }

    def receive(self, processor: str, given: Sequence[GivenReceipt]) -> list[str]:
        """Keep receipts durably; return their ids, the same for the same receipt."""
        with self._vault.transaction() as tx:
            made = [
                _receipt(processor, one, tx.now, f"/receipts/{number}") for number, one in enumerate(given)
            ]
            for receipt in made:
                partition = int.from_bytes(hashlib.sha256(receipt.about).digest()[:4]) % self._partitions
                value, key = encode(receipt), processor.encode()
                tx.put_outbox(kind="receipt", topic="receipts", partition=partition, key=key, value=value)
        return [receipt.receipt_id.hex() for receipt in made]

    def report(self, processor: str, ref: bytes, status: Status, body: bytes) -> bool:
        """Enter a partner's callback; False where nothing of the kind is awaited."""
        reports = Reports(processor=processor, receipt_partitions=self._partitions)
        evidence = hashlib.sha256(body).digest()
        ended: Mapping[str, Done | Permanent] = {
            "completed": Done(outcome="completed", evidence=evidence),
            "cancelled": Permanent(code="vendor_refused", evidence=evidence),
        }
        answer = ended.get(status.request_status)
        if answer is None:
            return True  # pending or in progress: nothing has ended yet
        with self._vault.transaction() as tx:
            return reports.reported(tx, ref, status.subject_request_id, answer, self._wall())


def _asked(delivery: AskedDelivery) -> late.AskedDelivery:
    return late.AskedDelivery(
        delivery_id=DeliveryId(bytes.fromhex(delivery.delivery_id)),
        revision=delivery.revision,
        compartments=[
            late.AskedCompartment(
                n=part.n,
                wraps=[
                    late.AskedWrap(
                        purpose=wrap.purpose,
                        period=wrap.period,
                        terms=wrap.terms,
                        handle=bytes.fromhex(wrap.handle),
                        key=base64.b64decode(wrap.key),
                    )
                    for wrap in part.wraps
                ],
            )
            for part in delivery.compartments
        ],
    )


def _result(asked: AskedDelivery, answers: Sequence[OpenKey | Closed]) -> dict[str, Any]:
    return {
        "delivery_id": asked.delivery_id,
        "revision": asked.revision,
        "compartments": [
            {"n": part.n, **_said(answer)} for part, answer in zip(asked.compartments, answers, strict=True)
        ],
    }


def _said(answer: OpenKey | Closed) -> dict[str, Any]:
    if isinstance(answer, Closed):
        since = None if answer.since is None or answer.since <= NEVER else rfc3339(answer.since)
        return {"closed": {"code": answer.code, "cause": answer.cause, "since": since}}
    return {"key": base64.b64encode(answer.key).decode(), "use_until": rfc3339(answer.use_until)}


def _receipt(processor: str, given: GivenReceipt, now: Micros, where: str) -> ReceiptGiven:
    at = micros(given.at, f"{where}/at")
    digest = hashlib.sha256(b"lapse/v1/given-receipt")
    for part in (processor, given.about, given.outcome, given.at or "", given.evidence or ""):
        digest.update(len(part).to_bytes(4) + part.encode())
    return ReceiptGiven(
        receipt_id=digest.digest()[:16],
        processor=processor,
        about=bytes.fromhex(given.about),
        outcome=given.outcome,
        at=now if at is None else at,
        evidence=bytes.fromhex(given.evidence or ""),
        code=given.code,
        signature=unbase64(given.signature, f"{where}/signature"),
    )
