"""How one recipient is called: within a budget and a deadline, and the gate is told how it went."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from processors import metrics
from processors.answers import Answer, Done, Pause, Permanent, Refresh, Retry
from processors.backoff import seconds
from processors.calls import Call, Erase
from processors.faults import CALLED
from processors.gate import Gate
from processors.recipient import Recipient
from schemas.ids import Micros
from vault.faults import Crash

LOGIN = seconds(600)
"""How long a recipient is left alone whose login was renewed and is still refused."""
log = logging.getLogger(__name__)


async def still_there(
    recipient: Recipient, answer: Answer | None, *, key: str, vendor_id: str | None
) -> Retry | None:
    """Look whether an object that is said to be gone can still be read; None where nothing speaks for it."""
    if not isinstance(answer, Done) or answer.outcome not in ("completed", "already_absent"):
        return None
    left = await recipient.present(key, vendor_id)
    if isinstance(left, Retry):
        return replace(left, landed=True)
    return Retry(code="vendor_kept") if left else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Calling:
    """Calls of one connector; `deadline` in seconds bounds each, `slots` is the budget questions share."""

    name: str
    recipient: Recipient
    gate: Gate
    wall: Callable[[], Micros]
    deadline: float
    slots: asyncio.Semaphore
    look_again: Micros
    crash: Crash

    async def call(self, call: Call) -> Answer:
        """Make one call; whoever makes it holds a slot."""
        if not self.gate.enter(self.wall()):
            return Retry(code="vendor_down", landed=False)
        try:
            async with asyncio.timeout(self.deadline):
                answer = await self._ask(call)
        except TimeoutError:
            answer = Retry(code="vendor_timeout")
        self._noted(answer)
        return answer

    async def follow(self, ask: Callable[[], Awaitable[Answer | None]]) -> Answer | None:
        """Ask how something stands; that it is not done yet is no failure."""
        async with self.slots:
            wall = self.wall()
            if (opens_at := self.gate.opens_at(wall)) > wall:
                return Retry(code="vendor_down", after=Micros(min(opens_at - wall, self.look_again)))
            try:
                async with asyncio.timeout(self.deadline):
                    answer = await ask()
                    if isinstance(answer, Refresh):
                        await self.recipient.refresh()
                        answer = await ask()
            except TimeoutError:
                answer = Retry(code="vendor_timeout")
        if isinstance(answer, Refresh):
            answer = Pause(code=answer.code, after=LOGIN)
        if answer is not None and not isinstance(answer, Retry):
            self._noted(answer)
        return answer

    async def _ask(self, call: Call) -> Answer:
        answer = await self.recipient.call(call)
        if isinstance(answer, Refresh):
            await self.recipient.refresh()
            answer = await self.recipient.call(call)
        self.crash(CALLED)
        if isinstance(answer, Refresh):
            return Pause(code=answer.code, after=LOGIN)
        if not isinstance(call, Erase):
            return answer
        kept = await still_there(self.recipient, answer, key=call.key, vendor_id=call.vendor_id)
        return kept or answer

    def _noted(self, answer: Answer) -> None:
        wall = self.wall()
        if isinstance(answer, Done | Permanent) or (isinstance(answer, Retry) and answer.well):
            self.gate.succeeded()
        elif isinstance(answer, Pause):
            self.gate.pause(wall, answer.code, answer.after)
            log.warning("connector paused", extra={"processor": self.name, "code": answer.code})
        elif isinstance(answer, Retry):
            self.gate.failed(wall, answer.code)
        metrics.CALLS.labels(self.name, type(answer).__name__.lower()).inc()
