"""What the connectors of vendors have in common: checks of credentials, calls of several requests."""

from __future__ import annotations

from dataclasses import replace

from processors.answers import Answer, Pause, Permanent, Refresh, Retry
from processors.http import Stopped
from schemas.errors import Refused, Unavailable


def proved(answer: Answer | dict[str, object] | None, where: str) -> None:
    """Pass the answer to a harmless question; `Refused` where the vendor refuses us, else `Unavailable`."""
    if isinstance(answer, dict):
        return
    if isinstance(answer, Pause | Permanent | Refresh):
        raise Refused(answer.code, "it does not take our credentials", where, "renew its credentials file")
    code = "vendor_answer" if answer is None else getattr(answer, "code", "vendor_answer")
    raise Unavailable(code, "it did not answer as its interface promises", where, "try again")


def landed(stop: Stopped) -> Stopped:
    """Return the stop of a call that has changed something already: it must count as possibly done."""
    answer = stop.answer
    if isinstance(answer, Retry):
        return Stopped(replace(answer, landed=True))
    if isinstance(answer, Pause):  # the next call meets the same at its first step, and pauses then
        return Stopped(Retry(code=answer.code, after=answer.after))
    return stop
