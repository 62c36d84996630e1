"""An answer as the bytes of HTTP/1.1, and short ways past ASGI's messages for nearly every request."""

import re
from functools import lru_cache
from weakref import ref

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from lapse.collector.http import CLOSE, Headers, without_length

_UNFIT = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
"""What uvicorn refuses in a header's value."""


@lru_cache(maxsize=256)
def _head(status: int, headers: Headers) -> bytes:
    """The status line and header lines; there are few, for they are ours or the policy's."""
    if any(_UNFIT.search(value) for _, value in headers):
        raise RuntimeError("a header of an answer has control characters")
    lines = (part for name, value in headers for part in (name, b": ", value, b"\r\n"))
    return b"".join((STATUS_LINE[status], *lines))


def written(status: int, headers: Headers, body: bytes, always: list[tuple[bytes, bytes]]) -> bytes:
    """A whole answer with its length and what the server says `always`; names are in lower case."""
    content = [_head(status, headers)]
    for name, value in always:
        content += name, b": ", value, b"\r\n"
    content += b"\r\n" if without_length(status) else b"content-length: %d\r\n\r\n" % len(body), body
    return b"".join(content)


class Exchange:
    """A request that a task answers: short ways where it came whole, or where its answer fits."""

    __slots__ = ("_cycle",)

    def __init__(self, cycle: RequestResponseCycle) -> None:
        # Weak, for the cycle's own scope holds this: else each request would wait, body and all, for Python
        # to look for garbage.
        self._cycle = ref(cycle)

    def whole(self) -> bytes | None:
        """The body, if all of it is here and nobody has begun to read it."""
        cycle = self._cycle()
        if cycle is None or cycle.more_body or cycle.disconnected or cycle.response_complete:
            return None
        body, cycle.body = bytes(cycle.body), bytearray()
        return body

    def answer(self, status: int, headers: Headers, body: bytes) -> bool:
        """Write a whole answer; false where the connection ends with it or its client is waited for."""
        cycle = self._cycle()
        if (
            cycle is None
            or cycle.response_started
            or cycle.disconnected
            or cycle.flow.write_paused
            or not cycle.keep_alive
            or cycle.scope["method"] == "HEAD"
            or CLOSE in headers
        ):
            return False
        content = written(status, headers, body, cycle.default_headers)
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        if not cycle.transport.is_closing():
            cycle.transport.write(content)
        cycle.message_event.set()
        cycle.on_response()
        return True
