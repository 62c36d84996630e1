"""Single requests to one org: the client-credentials login, its token, JSON; a failed step ends the call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TypeVar
from urllib.parse import urlencode

import msgspec

from processors.answers import Pause, Refresh, Retry
from processors.backoff import retry_after
from processors.http import ANSWER_BYTES, LOOK_AGAIN, Http, Reply, Stopped
from processors.salesforce.settings import SalesforceSettings
from processors.salesforce.wire import refusal

TOKEN = "/services/oauth2/token"  # noqa: S105  # an address
DESCRIPTION_BYTES = 8 << 20
"""The description of an object with many fields is long."""
T = TypeVar("T")


class Session:
    """One login, shared by all calls. The token goes to the org's own domain alone, whatever a login says."""

    def __init__(self, settings: SalesforceSettings, *, where: str) -> None:
        self._settings = settings
        self._http = Http(settings.base_url, where=where, allow_private=settings.allow_private)
        self._token: str | None = None
        self._login = asyncio.Lock()
        self.data = f"/services/data/{settings.api_version}"

    async def ask(
        self,
        method: str,
        path: str,
        *,
        send: object = None,
        csv: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        limit: int = ANSWER_BYTES,
    ) -> Reply:
        """Send a request under `data`, with JSON or CSV; `Stopped` with `Refresh` where the token is over."""
        token = await self._logged_in()
        body, kind = csv, "text/csv"
        if csv is None and send is not None:
            body, kind = msgspec.json.encode(send), "application/json"
        said = {"Authorization": f"Bearer {token}", **(headers or {})}
        if body is not None:
            said["Content-Type"] = kind
        answer = await self._http.ask(method, self.data + path, headers=said, body=body, limit=limit)
        if not isinstance(answer, Reply):
            raise Stopped(answer)
        if answer.status == 401:
            if self._token == token:  # another call may have renewed it meanwhile
                self._token = None
            raise Stopped(Refresh(code="vendor_login"))
        if answer.good and "html" in answer.headers.get("content-type", ""):
            raise Stopped(Retry(code="vendor_answer"))  # a proxy's or a login's page
        return answer

    async def renew(self) -> None:
        """Log in again unless another call has; what fails shows in the next call."""
        try:
            await self._logged_in()
        except Stopped:
            return

    async def again(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do the work, once more where the login had run out."""
        try:
            return await work()
        except Stopped as stop:
            if not isinstance(stop.answer, Refresh):
                raise
        return await work()

    async def close(self) -> None:
        """Forget the token and close the connections."""
        self._token = None
        await self._http.close()

    async def _logged_in(self) -> str:
        async with self._login:
            if self._token is None:
                self._token = await self._log_in()
            return self._token

    async def _log_in(self) -> str:
        form = {
            "grant_type": "client_credentials",
            "client_id": self._settings.client_id,
            "client_secret": self._settings.client_secret,
        }
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = await self._http.ask("POST", TOKEN, headers=kind, body=urlencode(form).encode())
        if isinstance(answer, Retry):
            raise Stopped(replace(answer, landed=False))  # a login changes nothing
        if isinstance(answer, Pause):
            raise Stopped(answer)
        if answer.status == 429 or answer.status >= 500:
            wish = retry_after(answer.headers.get("retry-after"), None)
            raise Stopped(Retry(code="vendor_down", after=wish, landed=False))
        if answer.status >= 300:
            raise Stopped(Pause(code="vendor_login", after=LOOK_AGAIN))
        token = (answer.object or {}).get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable() or not token:
            raise Stopped(Retry(code="vendor_answer", landed=False))
        return token


def good(reply: Reply) -> Reply:
    """Return an answer that says success; `Stopped` with what any other one means."""
    if not reply.good:
        raise Stopped(refusal(reply))
    return reply
