"""`/in/<processor>`: what a recipient says to us becomes what it is, durably, before it is answered.

A withdrawal at a vendor is a withdrawal: it is on `intake.signal`, acknowledged by Kafka, before the 2xx. An
answer with personal data (JivoChat's `chat_accepted`) is opened at its moment and entered as a copy in the
same transaction. Who is not known to listen, and whose authentication fails, changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from processors.answers import Done, Permanent
from processors.awaiting import Awaiting
from processors.hearing import Hearing
from processors.messages import ID
from processors.opening import PlansIn
from processors.recipient import Edited, Ended, Heard, Hears, Moved, Post, Said
from processors.reporting import Reports
from schemas.ids import Micros
from schemas.models import SignalReceived
from schemas.plan import PolicyPlan, ProcessorPlan
from vault.port import Tx, Vault

BODY_BYTES = 1024 * 1024
"""Largest request read: a finished chat comes whole, and its sender is unknown until it was read."""

Compose = Callable[[Mapping[str, str]], bytes]
Show = Callable[[Tx, str, Compose, Micros], bytes]
"""Opens an object's live fields for an answer and enters the copy (`processors.ledger.Ledger.show`)."""
Publish = Callable[[Sequence[SignalReceived]], Awaitable[None]]
"""Returns once the signals are acknowledged on `intake.signal`; raises Unavailable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ear:
    """How one recipient is listened to.

    `asks_again` says that it repeats what was answered 404: the end of an erasure that nobody awaits *yet*.
    """

    hears: Hears
    show: Show | None = None
    asks_again: bool = False


Ears = Callable[[ProcessorPlan], Ear | None]
"""Returns how a recipient is listened to, None where it has nothing to say or no credentials are there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbound:
    """The vault side of `/in`; its methods block and may be called from several threads."""

    vault: Vault
    plans: PlansIn
    ears: Ears
    receipt_partitions: int
    wall: Callable[[], Micros]

    def listener(self, name: str) -> tuple[PolicyPlan, Ear] | None:
        """Return today's policy and how the recipient is listened to; None where it is not."""
        with self.vault.transaction(write=False) as tx:
            plans = self.plans(tx)
            plan = plans.today(tx.now)
        number = plan.processor_numbers.get(name)
        ear = None if number is None else self.ears(plan.processors[number])
        return None if ear is None else (plan, ear)

    def heard(self, ear: Ear, post: Post) -> Heard:
        """Authenticate and read one request, as the recipient's module does."""
        return ear.hears.heard(post, self.wall())

    def signals(self, name: str, plan: PolicyPlan, heard: Heard, post: Post) -> list[SignalReceived]:
        """Return what has to be on `intake.signal` before the answer."""
        # A notice has no time of its own: the message's name tells a repetition from a second one.
        request = hashlib.sha256(post.headers.get(ID, "").encode() + b"\0" + post.body).digest()
        hearing = Hearing(processor=name, secret=self.vault.secrets.processor(name), plan=plan)
        return hearing.signals(heard.said, request, self.wall())

    def ends(self, name: str, said: Sequence[Said], body: bytes) -> bool:
        """Enter ends that were awaited, and ask soon about what has moved; False where nobody awaits one."""
        ended = [
            each for each in said if isinstance(each, Ended) or (isinstance(each, Edited) and each.emptied)
        ]
        moved = [each.request for each in said if isinstance(each, Moved)]
        if not ended and not moved:
            return True
        reports, evidence = self._reports(name), hashlib.sha256(body).digest()
        with self.vault.transaction() as tx:
            found = [reports.ended(tx, *_end(each, evidence), self.wall()) for each in ended]
            for request in moved:
                Awaiting(name).hurry(tx, request, self.wall())
        return all(known or isinstance(each, Edited) for known, each in zip(found, ended, strict=True))

    def answer(self, ear: Ear, heard: Heard) -> bytes:
        """Return what to answer with, opened and entered now where it carries fields."""
        compose = partial(ear.hears.answer, heard)
        if heard.wants is None or ear.show is None:
            return compose({})
        with self.vault.transaction() as tx:
            return ear.show(tx, heard.wants, compose, self.wall())

    def _reports(self, name: str) -> Reports:
        return Reports(processor=name, receipt_partitions=self.receipt_partitions)


def _end(said: Said, evidence: bytes) -> tuple[str, Done | Permanent]:
    match said:
        case Ended(request=request, outcome="failed_permanent"):
            return request, Permanent(code="vendor_refused", evidence=evidence)
        case Ended(request=request, outcome=outcome):
            return request, Done(outcome=outcome, evidence=evidence)
        case Edited(vendor_id=name):  # emptied there: what somebody had to do by hand is done
            return name, Done(outcome="completed", evidence=evidence)
        case _:
            raise AssertionError("only ends are entered here")
