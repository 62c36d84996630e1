"""A recipient as the bench sees it: every call noted before it begins and after it ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from processors.answers import Answer, Done, Retry
from processors.calls import Call, Erase
from processors.conformance.trace import Trace, names
from processors.recipient import Names, Recipient
from schemas.models import RecordDelivered

During = Callable[[Call], AbstractContextManager[None]]
"""What goes on around a call: the bench remembers what may leave in it."""


class Watched:
    """Wraps a recipient; it is asked exactly what the connector asks."""

    def __init__(self, inner: Recipient, trace: Trace, during: During) -> None:
        self.inner, self._trace, self._during = inner, trace, during
        self.known: dict[str, str | None] = {}
        """Per object its name at the vendor, as the vendor last gave it."""

    def key(self, delivery: RecordDelivered) -> str:
        """Name the object of a delivery."""
        return self.inner.key(delivery)

    async def call(self, call: Call) -> Answer:
        """Make a call, with a line before and after."""
        self._trace.say(f"  call {_said(call)}")
        with self._during(call):
            answer = await self.inner.call(call)
        if isinstance(answer, Done):
            self.known[call.key] = answer.vendor_id or call.vendor_id
        self._trace.say(f"  answer {_heard(answer)}")
        return answer

    async def follow(self, request: str) -> Answer | None:
        """Ask how an accepted erasure stands."""
        answer = await self.inner.follow(request)
        self._trace.say(f"  followed: {_heard(answer)}")
        return answer

    async def refresh(self) -> None:
        """Renew the login."""
        self._trace.say("  refresh the login")
        await self.inner.refresh()

    async def present(self, key: str, vendor_id: str | None) -> frozenset[str] | Retry | None:
        """Look what stands there."""
        found = await self.inner.present(key, vendor_id)
        self._trace.say(f"  looked: {names(found) if isinstance(found, frozenset) else _heard(found)}")
        return found

    async def check(self) -> None:
        """Prove the credentials."""
        await self.inner.check()

    async def close(self) -> None:
        """Release connections."""
        await self.inner.close()


class WatchedNames(Watched):
    """The same for a recipient whose objects are named by their values."""

    def named(self, values: Mapping[str, str]) -> str | None:
        """Return the name these values give."""
        assert isinstance(self.inner, Names)
        return self.inner.named(values)


def watched(inner: Recipient, trace: Trace, during: During) -> Watched:
    """Wrap a recipient so that it keeps what it can."""
    return (WatchedNames if isinstance(inner, Names) else Watched)(inner, trace, during)


def _said(call: Call) -> str:
    if isinstance(call, Erase):
        return f"erase, cause {call.cause}"
    return f"write, set {names(call.set)}; blank {names(call.blank)}"


def _heard(answer: Answer | None) -> str:
    if answer is None:
        return "nothing yet"
    said = answer.outcome if isinstance(answer, Done) else answer.code
    return f"{type(answer).__name__.lower()} {said}"
