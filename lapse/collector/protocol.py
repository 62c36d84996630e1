"""uvicorn's HTTP protocol with what it leaves open: header limits, slow senders, and errors in our shape."""

import asyncio
import logging
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from lapse.collector.http import PROBLEM_TYPE, Problem

HEADER_BYTES = 32 * 1024
HEADER_SECONDS = 15.0
"""How long a connection may take to bring the headers of its first request, or of one it has begun."""
LINGER_SECONDS = 5.0
"""How long the rest of a body is still read after an early answer: closing at once could lose the answer."""


class EdgeProtocol(HttpToolsProtocol):
    """One connection; whatever is not HTTP gets a problem document and the end of the connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._header_bytes = 0
        self._in_headers = True
        self._in_body = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Expect headers soon."""
        super().connection_made(transport)
        self._expect(HEADER_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._expect(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes before the end of the headers."""
        if self._in_headers:
            if not self._header_bytes and self._timer is None:
                self._expect(HEADER_SECONDS)
            self._header_bytes += len(data)
            if self._header_bytes > HEADER_BYTES and b"\r\n\r\n" not in data[:HEADER_BYTES]:
                self._refuse(Problem(431, "too_large", f"headers may take {HEADER_BYTES} bytes"))
                return
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """The headers are here."""
        self._in_headers, self._in_body = False, True
        self._expect(None)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is here: the next request may follow."""
        self._in_headers, self._in_body, self._header_bytes = True, False, 0
        self._expect(None)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer before the end of the body: read on for a moment."""
        super().on_response_complete()
        if self._in_body:
            self._expect(LINGER_SECONDS)

    def send_400_response(self, _msg: str) -> None:
        """Answer what could not be parsed."""
        self._refuse(Problem(400, "malformed", "this is not a well-formed HTTP request"))

    def _expect(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, self._late) if seconds else None

    def _late(self) -> None:
        if not self.transport.is_closing():
            if self._in_headers and self._header_bytes:
                self._refuse(Problem(408, "timeout", "the headers did not come in time"))
            else:
                self.transport.close()

    def _refuse(self, problem: Problem) -> None:
        """Write an answer past the application and close."""
        if self.transport.is_closing():
            return
        response = problem.response()
        status = HTTPStatus(response.status)
        head = [f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()]
        head += [b"content-type: " + PROBLEM_TYPE + b"\r\n"]
        head += [f"content-length: {len(response.body)}\r\nconnection: close\r\n\r\n".encode()]
        self.transport.write(b"".join([*head, response.body]))
        self.transport.close()


class WithoutPayload(logging.Filter):
    """Keeps the text of an unforeseen error, which may quote a request, out of the log."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace exception and message."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            last = error.__traceback__
            while last is not None and last.tb_next is not None:
                last = last.tb_next
            where = f"{last.tb_frame.f_code.co_filename}:{last.tb_lineno}" if last else "?"
            record.msg, record.args = "unforeseen %s at %s", (type(error).__name__, where)
            record.exc_info = record.exc_text = None
        return True
