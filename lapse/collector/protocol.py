"""uvicorn's HTTP protocol and what it leaves open: limits, strict framing, errors in our shape.

Collector, key endpoint and admin API all speak it. What it refuses beyond llhttp's own strictness is what two
servers in a row could read differently (RFC 9112): no or several Host lines, transfer codings other than
`chunked`, versions other than 1.0 and 1.1, control characters in a path (a router's `$` matches before a line
feed). Trailers are dropped: a proxy that sets or strips a header does not look for it behind the body.
"""

import asyncio
import logging
import re
import resource
from collections import OrderedDict
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, ClassVar, cast
from weakref import WeakKeyDictionary, ref

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from lapse.collector.http import EXCHANGE, PROBLEM_TYPE, Problem

HEADER_BYTES = 32 * 1024
HEADER_SECONDS = 15.0
"""How long a connection may take to bring the headers of its first request, or of one it has begun."""
LINGER_SECONDS = 5.0
"""How long the rest of a body is still read after an early answer: closing at once could lose the answer."""
TAKE_SECONDS = 30.0
"""How long a client may leave an answer lying before its connection is cut."""
MOST_WAITING = 4096
"""Connections that may owe the rest of a request at a time, if the process may open so many files."""
MOST_PIPELINED = 64
"""Requests one connection may send ahead of their answers; uvicorn would queue them without end."""
FILES = 65_536
"""How many files a server asks to be allowed to open."""
_MALFORMED = "this is not a well-formed HTTP request"
_CONTROL = re.compile(rb"%([01][0-9a-f]|7f)", re.IGNORECASE)
_UNFIT = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
"""What uvicorn refuses in a header's value; the long way does it."""
_VERSIONS = frozenset({"1.0", "1.1"})


def allow_files() -> None:
    """Raise this process's limit of open files as far as it may: every connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def most_waiting() -> int:
    """How many connections may owe a request: at most half of the files this process may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_WAITING if soft == resource.RLIM_INFINITY else max(1, min(MOST_WAITING, soft // 2))


class Waiting:
    """The connections of one server that owe (the rest of) a request; beyond `most` the oldest goes.

    So slow senders, however many, take the place of each other and never the last file of the process.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._since: OrderedDict[EdgeProtocol, None] = OrderedDict()

    def add(self, connection: "EdgeProtocol") -> None:
        """Enter a connection as the youngest, unless it is known already; give up the oldest of too many."""
        self._since.setdefault(connection, None)
        if len(self._since) > self.most:
            oldest, _ = self._since.popitem(last=False)
            oldest.give_up()

    def remove(self, connection: "EdgeProtocol") -> None:
        """Strike a connection out: its request is whole, or it has gone."""
        self._since.pop(connection, None)

    def __len__(self) -> int:
        return len(self._since)


class _Unsafe(Exception):
    """A request another server might have read differently; the text says what is wrong with it."""


class Exchange:
    """Short ways past ASGI's messages for nearly every request: it came whole, and its answer fits."""

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

    def answer(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool:
        """Write a whole answer; false where the connection ends with it, or its client has to be waited for.

        Headers name their length; names are ours and in lower case, as in all of this package.
        """
        cycle = self._cycle()
        if (
            cycle is None
            or cycle.response_started
            or cycle.disconnected
            or cycle.flow.write_paused
            or not cycle.keep_alive
            or cycle.scope["method"] == "HEAD"
            or any(_UNFIT.search(value) for _, value in headers)
        ):
            return False
        content = [STATUS_LINE[status]]
        for name, value in (*cycle.default_headers, *headers):
            content += name, b": ", value, b"\r\n"
        content += b"\r\n", body
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        cycle.transport.write(b"".join(content))
        cycle.message_event.set()
        cycle.on_response()
        return True


class EdgeProtocol(HttpToolsProtocol):
    """One connection; whatever is not HTTP gets a problem document and the end of the connection."""

    waiting_of: ClassVar[WeakKeyDictionary[uvicorn.Config, Waiting]] = WeakKeyDictionary()
    """Per server, the connections that owe a request."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._header_bytes = 0
        self._in_headers = True
        self._in_body = False
        self._timer: asyncio.TimerHandle | None = None
        self._taking: asyncio.TimerHandle | None = None
        self._waiting = self.waiting_of.setdefault(self.config, Waiting(most_waiting()))

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Expect headers soon."""
        super().connection_made(transport)
        self._waiting.add(self)
        self._expect(HEADER_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        self._expect(None)
        self.resume_writing()
        self._waiting.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes before the end of the headers, then parse; nobody can fill the log this way."""
        if self._in_headers:
            if not self._header_bytes and self._timer is None:
                self._expect(HEADER_SECONDS)
            self._header_bytes += len(data)
            if self._header_bytes > HEADER_BYTES and b"\r\n\r\n" not in data[:HEADER_BYTES]:
                self._refuse(Problem(431, "too_large", f"headers may take {HEADER_BYTES} bytes"))
                return
        self._unset_keepalive_if_required()
        while data and self.parser is not None:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                # Nothing to upgrade to: what follows the message is the next request (RFC 9110, 7.8).
                data = data[upgrade.args[0] :]
            except httptools.HttpParserError as error:
                said = error.__context__
                self.send_400_response(str(said) if isinstance(said, _Unsafe) else _MALFORMED)
                return

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header of the request; what comes behind the body is dropped."""
        if self._in_headers:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The headers are here."""
        self._judge()
        self._in_headers, self._in_body = False, True
        self._expect(None)
        self._waiting.add(self)
        super().on_headers_complete()
        cast("dict[str, Any]", self.scope)[EXCHANGE] = Exchange(self.cycle)

    def _judge(self) -> None:
        """Raise what makes the parser stop where the framing could be read in two ways."""
        version, names = self.parser.get_http_version(), [name for name, _ in self.headers]
        codings = [value.lower() for name, value in self.headers if name == b"transfer-encoding"]
        if version not in _VERSIONS:
            raise _Unsafe("only HTTP/1.0 and HTTP/1.1 are spoken here")
        if len(self.pipeline) >= MOST_PIPELINED:
            raise _Unsafe(f"at most {MOST_PIPELINED} requests may wait for their answers")
        if names.count(b"host") != 1 and (version == "1.1" or b"host" in names):
            raise _Unsafe("one Host line must stand in a request")
        if _CONTROL.search(self.url.partition(b"?")[0]):
            raise _Unsafe("a path has no control characters")
        if codings and (codings != [b"chunked"] or version == "1.0"):
            raise _Unsafe("the only transfer coding is chunked, and only in HTTP/1.1")
        if self.parser.should_upgrade() and (codings or b"content-length" in names):
            raise _Unsafe("no upgrade is offered here: send a body without one")

    def on_message_complete(self) -> None:
        """The body is here: the next request may follow."""
        self._in_headers, self._in_body, self._header_bytes = True, False, 0
        self._expect(None)
        self._waiting.remove(self)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer before the end of the body: read on for a moment."""
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if self.pipeline:
            self.flow.pause_reading()  # uvicorn reads on while requests still wait their turn
        if self.cycle.response_complete:
            self._waiting.add(self)
        if self._in_body:
            self._expect(LINGER_SECONDS)

    def send_400_response(self, msg: str) -> None:
        """Answer what could not be parsed, or not in one way alone."""
        self._refuse(Problem(400, "malformed", msg))

    def pause_writing(self) -> None:
        """The client does not take its answer: not for ever."""
        super().pause_writing()
        if self._taking is None:
            self._taking = self.loop.call_later(TAKE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """It does."""
        super().resume_writing()
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None

    def give_up(self) -> None:
        """End this connection for the sake of others."""
        if self._in_headers and self._header_bytes:
            self._refuse(Problem(503, "unavailable", "too many requests are waited for"))
        else:
            self.transport.close()

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
