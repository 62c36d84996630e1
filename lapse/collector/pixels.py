"""The clear gif: always the same 43 bytes at once; what it means is judged and kept after the answer.

The answer waits for nothing, because nobody is promised anything by it, and so that a good, a bad and an
expired token cannot be told apart by time.
"""

import asyncio

from lapse.collector import metrics
from lapse.collector.edge import Edge
from lapse.collector.http import EXCHANGE, Headers, Problem, Scope, Send, read_headers, send_whole
from lapse.collector.opens import GIF, GIF_HEADERS, open_kind
from lapse.collector.wire import to_send
from schemas.errors import Unavailable
from schemas.models import EmailOpened
from vault import tokens

PREFIX, SUFFIX = "/o/", ".gif"
_LONGEST = 2048


class Pixels:
    """Serves gifs and keeps the opens they stand for."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._under_way = 0
        self._second = 0
        self._counts: dict[bytes, int] = {}

    @staticmethod
    def is_one(scope: Scope) -> bool:
        """Whether a request asks for a gif."""
        path: str = scope["path"]
        return scope["method"] in {"GET", "HEAD"} and path.startswith(PREFIX) and path.endswith(SUFFIX)

    async def __call__(self, scope: Scope, send: Send) -> None:
        """Answer, then remember: the token is read before, at a cost that does not depend on it."""
        edge = self._edge
        token: str = scope["path"][len(PREFIX) : -len(SUFFIX)]
        read = tokens.read(token, edge.pixel_keys, edge.credentials.sites)
        head, exchange = scope["method"] == "HEAD", scope.get(EXCHANGE)
        if exchange is None or not exchange.answer(200, GIF_HEADERS, GIF):
            await send_whole(send, 200, GIF_HEADERS, GIF, head=head)
        metrics.pixels("authentic" if read else "forged", scope["method"]).inc()
        if read is not None and not head:
            # The answer leaves the process first: what is done for an authentic token must not delay it.
            await asyncio.sleep(0)
            await self._remember(scope, token, read)

    async def _remember(self, scope: Scope, token: str, read: tokens.PixelToken) -> None:
        if self._under_way >= self._edge.settings.limits.pixels_in_flight:
            metrics.LOST.labels("full").inc()
            return
        event = self._event(scope, token, read)
        if event is None:
            metrics.LOST.labels("flood").inc()
            return
        self._under_way += 1
        try:
            await self._edge.delivery.store([to_send(event)])
        except Unavailable:
            metrics.LOST.labels("full").inc()
        finally:
            self._under_way -= 1

    def _event(self, scope: Scope, token: str, read: tokens.PixelToken) -> EmailOpened | None:
        """The open; None for the seventeenth of one message within a second, which no id is left for."""
        edge, at = self._edge, self._edge.now()
        second = at // 1_000_000
        if second != self._second:
            self._second, self._counts = second, {}
        k = self._counts.get(read.message_id, 0)
        if k >= tokens.OPENS_PER_SECOND:
            return None
        self._counts[read.message_id] = k + 1
        headers = self._headers(scope["headers"])
        peer = scope.get("client")
        address = edge.address(peer[0] if peer else None, headers.get("x-forwarded-for"))
        text = address.text if address else None
        identified = edge.plan().pixel_mode != "aggregate"
        return EmailOpened(
            event_id=tokens.open_id(edge.pixel_keys, read.message_id, second, k),
            collected_at=at,
            site=read.site,
            token=token,
            open_kind=open_kind(headers, text, edge.sources),
            ip=text if identified else None,
            user_agent=headers.get("user-agent", "")[:_LONGEST] or None if identified else None,
        )

    @staticmethod
    def _headers(raw: Headers) -> dict[str, str]:
        """The request's headers, or none where they contradict each other: a gif is owed either way."""
        try:
            return read_headers(raw)
        except Problem:
            return {}
