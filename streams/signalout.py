"""What governing sends besides the outbox: quarantined signals, decisions, and how requests moved on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from schemas import codec
from schemas.models import RequestStepped
from streams import metrics
from streams.out import DECISIONS, Out, decision_batches
from streams.quarantine import set_aside
from streams.signals import SignalWork
from streams.stage import Part
from vault.keys import Draw, random_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalOutput:
    """Sends what governing owes the log besides the outbox."""

    out: Out
    draw: Draw = random_bytes

    async def send(self, part: Part, work: SignalWork) -> None:
        """Send quarantined signals, decisions and steps; returns once all of it is acknowledged."""
        records = [
            set_aside(self.out, part.partition, said, raw, key, self.draw) for said, raw, key in work.asides
        ]
        batches = decision_batches(work.entries)
        records += [self.out.to_partition(DECISIONS, part.partition, batch) for batch in batches]
        await self.out.send(records)
        for entry in work.entries:
            metrics.OUTCOMES.labels(entry.outcome, entry.code or "").inc()
        await self.send_steps(part, work.steps)

    async def send_steps(self, part: Part, steps: Sequence[RequestStepped]) -> None:
        """Send how requests moved on."""
        await self.out.send(
            [self.out.to_partition(DECISIONS, part.partition, codec.encode(step)) for step in steps]
        )
