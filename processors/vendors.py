"""What checks of vendors' credentials have in common."""

from __future__ import annotations

from processors.answers import Answer, Pause, Permanent, Refresh
from schemas.errors import Refused, Unavailable


def proved(answer: Answer | dict[str, object] | None, where: str) -> None:
    """Pass the answer to a harmless question; `Refused` where the vendor refuses us, else `Unavailable`."""
    if isinstance(answer, dict):
        return
    if isinstance(answer, Pause | Permanent | Refresh):
        raise Refused(answer.code, "it does not take our credentials", where, "renew its credentials file")
    code = "vendor_answer" if answer is None else getattr(answer, "code", "vendor_answer")
    raise Unavailable(code, "it did not answer as its interface promises", where, "try again")
