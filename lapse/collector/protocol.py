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
from http import HTTPStatus
from typing import Any, ClassVar, cast
from weakref import WeakKeyDictionary

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from lapse.collector.exchange import Exchange
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


class EdgeProtocol(HttpToolsProtocol):
    """One connection; whatever is not HTTP gets a problem document and the end of the connection."""

    waiting_of: ClassVar[WeakKeyDictionary[uvicorn.Config, Waiting]] = WeakKeyDictionary()
    """Per server, the connections that owe a request."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._header_bytes = 0
        self._in_headers = True
        self._in_body = False
        self._is_chunked = False
        self._version = ""
        self._timer: asyncio.TimerHandle | None = None
        self._taking: asyncio.TimerHandle | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._idle_since: float | None = None
        self._waiting = self.waiting_of.setdefault(self.config, Waiting(most_waiting()))

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Expect headers soon."""
        super().connection_made(transport)
        self._waiting.add(self)
        self._expect(HEADER_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        self._expect(None)
        if self._idle is not None:
            self._idle.cancel()
        self.resume_writing()
        self._waiting.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes before the end of the headers, then parse; nobody can fill the log this way."""
        self._idle_since = None
        if self._in_headers:
            self._header_bytes += len(data)
            if self._header_bytes > HEADER_BYTES and b"\r\n\r\n" not in data[:HEADER_BYTES]:
                self._refuse(Problem(431, "too_large", f"headers may take {HEADER_BYTES} bytes"))
                return
        self._feed(data)
        if self._in_headers and self._header_bytes and self._timer is None:
            self._expect(HEADER_SECONDS)

    def _feed(self, data: bytes) -> None:
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
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The headers are here."""
        self._judge()
        self._in_headers, self._in_body = False, True
        if self._timer is not None:
            self._expect(None)
        self._begin()

    def _begin(self) -> None:
        """Give the request to the application, on a task of its own."""
        self._waiting.add(self)
        super().on_headers_complete()
        cast("dict[str, Any]", self.scope)[EXCHANGE] = Exchange(self.cycle)

    def _judge(self) -> None:
        """Raise what makes the parser stop where the framing could be read in two ways."""
        self._version = version = self.parser.get_http_version()
        names = [name for name, _ in self.headers]
        hosts = names.count(b"host")
        if version not in _VERSIONS:
            raise _Unsafe("only HTTP/1.0 and HTTP/1.1 are spoken here")
        if len(self.pipeline) >= MOST_PIPELINED:
            raise _Unsafe(f"at most {MOST_PIPELINED} requests may wait for their answers")
        if hosts != 1 and (version == "1.1" or hosts):
            raise _Unsafe("one Host line must stand in a request")
        if b"%" in self.url and _CONTROL.search(self.url.partition(b"?")[0]):
            raise _Unsafe("a path has no control characters")
        self._is_chunked = b"transfer-encoding" in names
        if self._is_chunked:
            codings = [value.lower() for name, value in self.headers if name == b"transfer-encoding"]
            if codings != [b"chunked"] or version == "1.0":
                raise _Unsafe("the only transfer coding is chunked, and only in HTTP/1.1")
        bodied = self._is_chunked or b"content-length" in names
        if bodied and self.parser.should_upgrade():
            raise _Unsafe("no upgrade is offered here: send a body without one")
        self.expect_100_continue = b"expect" in names and any(
            name == b"expect" and value.lower() == b"100-continue" for name, value in self.headers
        )

    def on_message_complete(self) -> None:
        """The body is here: the next request may follow."""
        self._in_headers, self._in_body, self._header_bytes = True, False, 0
        if self._timer is not None:
            self._expect(None)
        self._waiting.remove(self)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Take the next request's turn, or wait for one; an early answer reads on for a moment."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._rest()
        if self.pipeline:
            self.flow.pause_reading()  # uvicorn would read on while requests still wait their turn
        else:
            self.flow.resume_reading()
        if self.cycle.response_complete:
            self._waiting.add(self)
        if self._in_body:
            self._expect(LINGER_SECONDS)

    def _rest(self) -> None:
        """Close the connection unless a request comes; one timer for all of them, set anew when it rings."""
        self._idle_since = self.loop.time()
        if self._idle is None:
            self._idle = self.loop.call_later(self.timeout_keep_alive, self._look)

    def _look(self) -> None:
        self._idle = None
        if self._idle_since is None:
            return
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._idle = self.loop.call_later(left, self._look)
        else:
            self.timeout_keep_alive_handler()

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
