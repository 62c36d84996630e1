"""Requests that came whole are answered without a task: this is where speed costs clarity, and only here.

What a request means does not change. The application's coroutine, the same one, takes its first step in the
parser's callback and its last in the callback of what it waited for: uvicorn's cycle, a task, its event and
its context are a sixth of what a request costs. Requests that are not usual (a body still to come, HEAD,
HTTP/1.0, `Connection: close`, `Expect`, chunks, requests sent ahead) are given to a task, as uvicorn does.
"""

import asyncio
import logging
import re
from collections.abc import Coroutine
from typing import Any, ClassVar, Never, cast
from urllib.parse import unquote

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from lapse.collector.exchange import written
from lapse.collector.http import CLOSE, EXCHANGE, Headers
from lapse.collector.protocol import EdgeProtocol

_log = logging.getLogger("uvicorn.error")
_METHODS = {b"GET": "GET", b"POST": "POST"}
_PLAIN = re.compile(rb"/[!\"$-~]*")
"""A path and a query that need no reading: printable ASCII without a fragment."""
_FAILED: Headers = ((b"content-type", b"text/plain; charset=utf-8"),)


class _Heard:
    """Stands where uvicorn wakes a task that may wait for more of a body; nobody does here."""

    @staticmethod
    def set() -> None:
        """Wake nobody."""


class Turn:
    """A request and its coroutine: for uvicorn the connection's cycle, for the application its exchange."""

    __slots__ = (
        "_body",
        "_coroutine",
        "_protocol",
        "_tasks",
        "disconnected",
        "keep_alive",
        "response_complete",
    )
    message_event: ClassVar[type[_Heard]] = _Heard
    more_body: ClassVar[bool] = False

    def __init__(self, protocol: "DirectProtocol", body: bytes) -> None:
        self._protocol: DirectProtocol | None = protocol
        self._body: bytes | None = body
        self._coroutine: Coroutine[Any, Any, None] | None = None
        self._tasks: set[Any] = set()
        self.disconnected = False
        self.keep_alive = True
        self.response_complete = False

    # ---- the application's side ----------------------------------------------------------------------------
    def whole(self) -> bytes | None:
        """The body, once."""
        body, self._body = self._body, None
        return body

    def answer(self, status: int, headers: Headers, body: bytes) -> bool:
        """Write the answer, unless its client has gone; always true."""
        protocol = self._protocol
        if protocol is None:
            raise RuntimeError("a request is answered once")
        close = not self.keep_alive or CLOSE in headers
        if close and CLOSE not in headers:
            headers = (*headers, CLOSE)
        content = written(status, headers, body, protocol.server_state.default_headers)
        self.response_complete, self._protocol = True, None
        if not self.disconnected and not protocol.transport.is_closing():
            protocol.transport.write(content)
            if close:
                protocol.transport.close()
            protocol.on_response_complete()
        return True

    # ---- the coroutine's side ------------------------------------------------------------------------------
    def run(self, coroutine: Coroutine[Any, Any, None], tasks: set[Any]) -> None:
        """Take the first step; stands among the server's `tasks` until the last, for it waits for them."""
        self._coroutine, self._tasks = coroutine, tasks
        tasks.add(self)
        self._step()

    def _step(self, _waited: object = None) -> None:
        """Go on until the coroutine waits again or ends: what a task does, here and now."""
        if self._coroutine is None:
            return
        try:
            waits = self._coroutine.send(None)
        except StopIteration:
            self._end()
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - whatever it was, an answer is owed
            _log.error("Exception in ASGI application\n", exc_info=error)
            self._end()
        else:
            if waits is None:
                asyncio.get_running_loop().call_soon(self._step)
            else:
                # What the future holds, it gives or raises in the next step.
                waits._asyncio_future_blocking = False  # noqa: SLF001 - the protocol of futures and tasks
                waits.add_done_callback(self._step)

    def cancel(self, msg: object = None) -> None:
        """Give up, as a server does that has waited long enough at its end."""
        del msg
        if self._coroutine is not None:
            self._coroutine.close()
            # Not at once: the server is walking through its tasks.
            asyncio.get_running_loop().call_soon(self._end)

    def _end(self) -> None:
        self._coroutine = None
        self._tasks.discard(self)
        if self._protocol is not None:
            self.keep_alive = False
            self.answer(500, _FAILED, b"Internal Server Error")


async def _nowhere(*_: object) -> Never:
    """Stands where ASGI receives and sends: a turn has its body and writes its answer in one piece."""
    raise RuntimeError("a request that came whole is answered by its exchange")


class DirectProtocol(EdgeProtocol):
    """For applications that wait for futures alone and never ask which task they are."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._held: bytes | None = None
        """What came of the body of a request that nobody has been given yet."""
        self._is_first = True
        """Whether no request was answered here since the last packet came: others have their turn, too."""

    def data_received(self, data: bytes) -> None:
        """Give a request whose body is still to come to a task."""
        self._is_first = True
        super().data_received(data)
        if self._held is not None:
            body, self._held = self._held, None
            self._long_way()
            if body:
                super().on_body(body)

    def on_message_begin(self) -> None:
        """Keep what comes; ASGI's scope is made for whoever needs it."""
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def _begin(self) -> None:
        if self._is_usual():
            self._held = b""
        else:
            self._long_way()

    def _is_usual(self) -> bool:
        """Whether a request may be answered without a task, if its body comes with it."""
        parser, before = self.parser, cast("RequestResponseCycle | None", self.cycle)
        return (
            self._is_first
            and (before is None or before.response_complete)
            and parser.get_method() in _METHODS
            and self._version == "1.1"
            and parser.should_keep_alive()
            and not self.expect_100_continue
            and not self.flow.write_paused
            and not self._is_chunked
            and _PLAIN.fullmatch(self.url) is not None
        )

    def _long_way(self) -> None:
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect
        self.headers.extend(headers)
        super()._begin()

    def on_body(self, body: bytes) -> None:
        """Keep it, or hand it to the task."""
        if self._held is None:
            super().on_body(body)
        else:
            self._held += body

    def on_message_complete(self) -> None:
        """A request that came whole is answered at once, or as soon as what it brings is stored."""
        if self._held is None:
            super().on_message_complete()
            return
        body, self._held, self._is_first = self._held, None, False
        self._in_headers, self._in_body, self._header_bytes = True, False, 0
        self._waiting.remove(self)
        turn = Turn(self, body)
        self.cycle = cast("RequestResponseCycle", turn)
        path, _, query = self.url.partition(b"?")
        text = path.decode("ascii")
        scope = {
            "type": "http",
            "method": _METHODS[self.parser.get_method()],
            "path": unquote(text) if "%" in text else text,
            "query_string": query,
            "headers": self.headers,
            "client": self.client,
            EXCHANGE: turn,
        }
        turn.run(self.app(scope, _nowhere, _nowhere), self.tasks)
