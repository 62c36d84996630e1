"""What recipients say, as signals for `intake.signal`. Pure; said again, it has the same ids."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field

from processors.kept import object_ref
from processors.recipient import Edited, Ended, Moved, Notice, Said, Withdrawn
from schemas.ids import EventId, Micros
from schemas.models import (
    ConsentStated,
    ConsentStatement,
    Identifier,
    ProcessorNotified,
    SignalBody,
    SignalReceived,
)
from schemas.plan import PolicyPlan

_LABEL = b"lapse/v1/heard"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hearing:
    """One recipient that speaks: its name, its secret (which keys ids and references), and today's policy."""

    processor: str
    secret: bytes = field(repr=False)
    plan: PolicyPlan

    def signals(self, said: Sequence[Said], request: bytes, now: Micros) -> list[SignalReceived]:
        """Return what has to be on `intake.signal` before the request may be answered.

        `request` names the vendor's request where what it says has no time of its own: the same for every
        delivery of it, another for every other.
        """
        return [self._signal(each, request, now) for each in said if not isinstance(each, Ended | Moved)]

    def _signal(self, said: Withdrawn | Edited | Notice, request: bytes, now: Micros) -> SignalReceived:
        at = now if isinstance(said, Notice) else said.at
        return SignalReceived(
            event_id=self._id(said, request),
            # Before its policy took effect nothing can be judged: such a withdrawal counts from then on.
            collected_at=Micros(max(at, self.plan.effective)),
            site=f"processor.{self.processor}",
            identifiers=[Identifier(kind=said.kind, value=said.value)] if isinstance(said, Withdrawn) else [],
            via="processor",
            body=self._body(said),
        )

    def _body(self, said: Withdrawn | Edited | Notice) -> SignalBody:
        match said:
            case Withdrawn():
                granted = [self.plan.purposes[n].name for n in self.plan.processor(self.processor).grants]
                ends = said.purposes or granted
                return ConsentStated(consents=[ConsentStatement(purpose=p, granted=False) for p in ends])
            case Edited():
                return ProcessorNotified(
                    processor=self.processor,
                    notice="object_edited",
                    object_ref=object_ref(self.secret, said.key or said.vendor_id).hex(),
                    detail="emptied" if said.emptied else None,
                )
            case Notice():
                return ProcessorNotified(processor=self.processor, notice=said.what)

    def _id(self, said: Withdrawn | Edited | Notice, request: bytes) -> EventId:
        match said:
            case Withdrawn():
                parts = ("withdrawn", said.kind, said.value, str(said.at), *sorted(said.purposes))
            case Edited():
                parts = ("edited", said.vendor_id, str(said.at), str(said.emptied))
            case Notice():
                parts = ("notice", said.what, request.hex())
        digest = hmac.new(self.secret, _LABEL, hashlib.sha256)
        for part in parts:
            digest.update(len(part.encode()).to_bytes(4) + part.encode())
        return EventId(digest.digest()[:16])
