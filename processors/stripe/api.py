"""Single requests to Stripe: the key, the pinned version, forms; a step that fails ends the call."""

from __future__ import annotations

from processors.http import Http, Reply, Stopped
from processors.stripe.settings import StripeSettings
from processors.stripe.wire import Pairs, form, refusal


class Api:
    """The requests of one account; each raises `Stopped` where Stripe did not answer at all."""

    def __init__(self, settings: StripeSettings, *, where: str) -> None:
        self._settings = settings
        self._http = Http(settings.base_url, where=where, allow_private=settings.allow_private)

    async def get(self, path: str, *, version: str = "") -> Reply:
        """Send a GET; `path` is encoded already."""
        return await self._ask("GET", path, None, "", version)

    async def post(self, path: str, pairs: Pairs, *, key: str, version: str = "") -> Reply:
        """Send a form under an idempotency key."""
        return await self._ask("POST", path, form(pairs), key, version)

    async def delete(self, path: str, *, key: str) -> Reply:
        """Send a DELETE; the key has no effect but shows in the event that it is ours."""
        return await self._ask("DELETE", path, None, key, "")

    async def _ask(self, method: str, path: str, body: bytes | None, key: str, version: str) -> Reply:
        headers = {
            "Authorization": f"Bearer {self._settings.api_key}",
            "Stripe-Version": version or self._settings.api_version,
        }
        if key:
            headers["Idempotency-Key"] = key
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        answer = await self._http.ask(method, path, headers=headers, body=body)
        if not isinstance(answer, Reply):
            raise Stopped(answer)
        return answer

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()


def good(reply: Reply) -> Reply:
    """Return an answer that says success; `Stopped` with what any other one means."""
    if not reply.good:
        raise Stopped(refusal(reply))
    return reply
