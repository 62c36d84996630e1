"""One vendor's HTTP interface as the connectors use it: guarded addresses, no redirects, bounded answers.

What the network does becomes a value: `Reply`, or a `Retry` or `Pause` where nobody answered. Nothing of a
request or an answer is logged, and no address with a person's data in it stands in an error.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp
import msgspec
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from processors.addresses import AddressRefused, check_url, guarded_socket
from processors.answers import Answer, Pause, Retry
from schemas.ids import Micros
from schemas.times import SECOND

ANSWER_BYTES = 262_144
"""More of an answer is not read, unless a request states another bound."""
LOOK_AGAIN = Micros(600 * SECOND)
"""How long a vendor with a wrong login or a redirect is left alone."""


class Stopped(Exception):
    """A step was answered so that the call is over; `answer` is what the connector is told."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(type(answer).__name__)
        self.answer = answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a vendor answered; header names in lower case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def good(self) -> bool:
        """Whether the status says success."""
        return 200 <= self.status < 300

    @property
    def json(self) -> Any:
        """The body as JSON, None where it is not JSON: a proxy's page is not the vendor's word."""
        if "html" in self.headers.get("content-type", ""):
            return None
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None

    @property
    def object(self) -> dict[str, Any] | None:
        """The body as a JSON object, None where it is none."""
        found = self.json
        return found if isinstance(found, dict) else None

    def evidence(self, *names: str) -> bytes:
        """Return the SHA-256 of status, body and the headers of these names that were sent."""
        digest = hashlib.sha256(f"{self.status}\n".encode() + self.body)
        for name in names:
            digest.update(f"\n{name}: {self.headers.get(name, '')}".encode())
        return digest.digest()


class Content(Protocol):
    """A body that is still being received (`aiohttp.StreamReader`)."""

    async def read(self, n: int = -1) -> bytes:
        """Return what has arrived, at most `n` bytes; nothing at the end."""


async def read_up_to(content: Content, limit: int) -> bytes:
    """Read a whole body but no more than `limit` bytes; one `read` returns only what has arrived already."""
    pieces, left = [], limit
    while left and (piece := await content.read(left)):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def guarded_session(
    *, allow_private: bool, connect_timeout: float, headers: Mapping[str, str]
) -> aiohttp.ClientSession:
    """Return a session that calls public addresses alone; the connector's deadline bounds each call."""
    factory = guarded_socket(allow_private=allow_private)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(socket_factory=factory, limit=0, ttl_dns_cache=10),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout),
        trust_env=False,  # a proxy of the environment must not see what is for the recipient alone
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "lapse", "Accept": "application/json", **headers},
    )


async def close_session(session: aiohttp.ClientSession) -> None:
    """Close its connections."""
    await session.close()
    await asyncio.sleep(0)  # transports close in the loop's next turn, which may be its last


def unanswered(error: aiohttp.ClientError | OSError) -> Retry | Pause:
    """What it means that nobody answered: an address that may not be called, no connection, or silence."""
    below = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(below, AddressRefused):
        return Pause(code="address_refused", after=LOOK_AGAIN)
    if below is not error:
        return Retry(code="vendor_down", landed=False)  # no connection, so nothing was asked
    return Retry(code="vendor_timeout")


class Http:
    """The connections to one vendor under one base URL; `BadInput` where the URL may not be called."""

    def __init__(
        self, base_url: str, *, where: str, allow_private: bool = False, connect_timeout: float = 5.0
    ) -> None:
        self.base = check_url(base_url, allow_private=allow_private, where=where).rstrip("/")
        self._allow_private, self._connect_timeout = allow_private, connect_timeout
        self._session: aiohttp.ClientSession | None = None

    async def ask(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        limit: int = ANSWER_BYTES,
    ) -> Reply | Retry | Pause:
        """Send one request; `path` is encoded already. The connector's deadline bounds it."""
        try:
            return await self._ask(method, URL(self.base + path, encoded=True), headers, body, limit)
        except HttpProcessingError:
            return Retry(code="vendor_answer")
        except (aiohttp.ClientError, OSError) as error:
            return unanswered(error)

    async def _ask(
        self, method: str, url: URL, headers: Mapping[str, str], body: bytes | None, limit: int
    ) -> Reply:
        session = self._opened()
        async with session.request(
            method, url, headers=headers, data=body, allow_redirects=False
        ) as response:
            return Reply(
                status=response.status,
                headers={name.lower(): value for name, value in response.headers.items()},
                body=await read_up_to(response.content, limit),
            )

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = guarded_session(
                allow_private=self._allow_private,
                connect_timeout=self._connect_timeout,
                # Not compressed: a small answer must not unfold into a large one.
                headers={"Accept-Encoding": "identity"},
            )
        return self._session

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await close_session(self._session)
            self._session = None
