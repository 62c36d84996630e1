"""What is put to the proof: a recipient's module, its manifest, and a stand-in it can be let loose on.

A third party writes a function that returns a `Party` and names it: `--module pkg.mod:function`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from processors.manifest import Manifest
from processors.recipient import Hears, Recipient
from schemas.ids import Micros

Wall = Callable[[], Micros]
"""The clock a recipient is given."""


class Stand(Protocol):
    """A stand-in that answers at `url` until it is stopped, and lists what it holds.

    `GET <url>/_held` answers `{"objects": [{"id": ..., "fields": {<vendor's name>: <value>}}, ...]}`.
    """

    @property
    def url(self) -> str:
        """Where it answers."""

    @property
    def state(self) -> Any:
        """Whatever the party's own hooks want of it."""

    async def stop(self) -> None:
        """Close it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """How this vendor says no: what is answered instead of doing the work."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """Of a vendor that pulls: how its stand-in is told where we listen, and made to ask or to be emptied."""

    listen: Callable[[Stand, str], None]
    """Tells it the address of our `POST /in/<processor>`."""
    visit: Callable[[Stand, str], Awaitable[object]]
    """Lets the person of this key (`Recipient.key`) come by, so that the vendor asks us."""
    empty: Callable[[Stand, str], Awaitable[object]]
    """Lets somebody there remove what stands at this key by hand, and the vendor say so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Later:
    """Of a vendor that may accept an erasure and do it later: how its stand-in is made to."""

    begin: Callable[[Stand], None]
    """Lets it only accept from now on."""
    end: Callable[[Stand, str], Awaitable[object]]
    """Lets it do what it has accepted, and say so at our `POST /in/<processor>` if it does that."""


Make = Callable[[str, Wall], Recipient]
"""Makes the recipient anew, calling this address: a restart calls it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """A connector under test; `fields` are those of our names that the suite sends, with the vendor's."""

    name: str
    manifest: Manifest
    fields: Mapping[str, str]
    start: Callable[[Wall], Awaitable[Stand]]
    """Starts an empty stand-in; the clock is the one everything else runs on."""
    make: Make
    quota: Refusal = field(
        default_factory=lambda: Refusal(
            status=429, headers={"Retry-After": "3600"}, content_type="text/plain"
        )
    )
    """What the vendor answers when a quota is used up."""
    expired: Refusal = field(default_factory=lambda: Refusal(status=401))
    """What it answers to credentials that are over."""
    refused: Refusal = field(default_factory=lambda: Refusal(status=400, body=b"{}"))
    """What it answers to what it will never take."""
    unmapped: bool = True
    """Whether a field that stands in no mapping must stay here; a partner agrees to all that is granted."""
    asks: Asks | None = None
    """Of a vendor that pulls (`Manifest.pulled`), how it does."""
    later: Later | None = None
    """Of a vendor that may do later what it accepts, how its stand-in is made to."""
    ear: Callable[[], Hears] | None = None
    """How it is listened to, where its recipient's module does not do that itself."""
