"""Reading intake: from raw records to events with their ids, keyed hashes and effective times, before any
transaction.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256

import msgspec

from schemas import codec
from schemas.errors import Rejected
from schemas.ids import EventId, Micros, RecordId
from schemas.models import CookieObserved, EmailOpened, FormSubmitted
from schemas.plan import Plans, PolicyPlan
from streams import tagging
from streams.chunks import POISON
from streams.ports import Inbound
from streams.stage import Part, is_tick
from vault.handles import alias_hash, record_id
from vault.identity import normalise
from vault.port import Vault
from vault.tokens import PixelKeys
from vault.tokens import read as read_token

RELEASED = "lapse-released"
"""Header of an event released from quarantine: its original time and a MAC only the vault's holders can make.
"""
PRIMARY = ("email", "account", "phone", "cookie", "token")
"""Which identifier stands for the person where links between identifiers have no purpose of their own."""


@dataclass(slots=True, kw_only=True)
class Arrived:
    """One intake record, read; `event` None where it cannot be, then `code` says why and `path` where.

    `hashes` are of the person's identifiers, the primary one first; `released` came back from quarantine.
    """

    topic: str
    record: Inbound
    received: Micros
    record_id: RecordId
    event: tagging.Event | None = None
    code: str | None = None
    path: str | None = None
    schema_id: int | None = None
    policy: PolicyPlan | None = None
    when: tagging.Moment | None = None
    digest: bytes = b""
    hashes: tuple[bytes, ...] = ()
    released: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeReader:
    """Reads records of the intake topics; `pixel_keys` verify tokens."""

    vault: Vault
    pixel_keys: PixelKeys

    def part(self, part: Part, plans: Plans, spoilt: frozenset[int]) -> list[Arrived]:
        """Read a part's records; those that a bug was bisected to keep their id if it can be had, and nothing
        else.
        """
        now, found = self.vault.clock.now(), []
        for record in part.records:
            if is_tick(record):
                continue
            if record.offset in spoilt:
                found.append(self._spoilt(part, record, plans, now))
            else:
                found.append(self._read(part, record, plans, now))
        return found

    def _spoilt(self, part: Part, record: Inbound, plans: Plans, now: Micros) -> Arrived:
        place = place_id(self.vault, part.topic, part.partition, record.offset)
        received = received_at(self.vault, record, now)
        spoilt = Arrived(topic=part.topic, record=record, received=received, record_id=place, code="bug")
        with suppress(*POISON):
            spoilt.record_id = self._read(part, record, plans, now).record_id
        return spoilt

    def _read(self, part: Part, record: Inbound, plans: Plans, now: Micros) -> Arrived:
        """Read one record; nothing in it can make this raise anything but a bug of ours."""
        topic, value = part.topic, record.value or b""
        received = received_at(self.vault, record, now)
        released = self._released(record, value)
        place = place_id(self.vault, topic, part.partition, record.offset)
        arrived = Arrived(topic=topic, record=record, received=received, record_id=place)
        if released is not None:
            arrived.received, arrived.released = released, True
        try:
            event = codec.decode(value)
        except Rejected as rejected:
            arrived.code, arrived.path = rejected.code, rejected.where
            return arrived
        if not isinstance(event, FormSubmitted | EmailOpened | CookieObserved) or topic != topic_of(event):
            arrived.code, arrived.path = "schema_mismatch", "another kind of record stands here"
            return arrived
        arrived.schema_id = codec.schema_id(type(event))
        self._know(arrived, event, plans)
        return arrived

    def _know(self, arrived: Arrived, event: tagging.Event, plans: Plans) -> None:
        secrets = self.vault.secrets
        arrived.event = event
        arrived.record_id = record_id(secrets.record, event.site, tagging.kind_of(event), event.event_id)
        arrived.digest = self.vault.content_digest(content(event))
        arrived.when = tagging.moment(event.collected_at, arrived.received)
        arrived.policy = plans.in_force(arrived.when.at)
        token = self._token(arrived, event) if isinstance(event, EmailOpened) else None
        source = arrived.policy.sources.get(tagging.source_of(event)) if arrived.policy else None
        hashes: dict[bytes, None] = {}
        named = sorted(tagging.identities(event, source, token), key=lambda named: PRIMARY.index(named[0]))
        for kind, value in named:
            try:
                hashes[alias_hash(secrets.alias, kind, normalise(kind, value))] = None
            except Rejected:  # an empty or unreadable identifier names nobody
                continue
        arrived.hashes = tuple(hashes)

    def _token(self, arrived: Arrived, event: EmailOpened) -> str | None:
        sites = arrived.policy.sites if arrived.policy else ()
        token = read_token(event.token, self.pixel_keys, sites)
        if token is None or token.site != event.site:
            arrived.code = "token_invalid"
            return None
        if arrived.when is not None and arrived.when.at >= token.expires:
            arrived.code = "token_expired"
        return token.identifier

    def _released(self, record: Inbound, value: bytes) -> Micros | None:
        header = next((data for name, data in record.headers if name == RELEASED), b"")
        if len(header) != 8 + 32:
            return None
        made = release_header(self.vault, value, Micros(int.from_bytes(header[:8], "big")))
        return Micros(int.from_bytes(header[:8], "big")) if hmac.compare_digest(made, header) else None


def place_id(vault: Vault, topic: str, partition: int, offset: int) -> RecordId:
    """Record id of what has no readable event id."""
    place = EventId(partition.to_bytes(8, "big") + offset.to_bytes(8, "big"))
    return record_id(vault.secrets.record, "", topic, place)


def received_at(vault: Vault, record: Inbound, now: Micros) -> Micros:
    """When a record was received: LogAppendTime; a manual clock stands still, so there it is the
    clock's now.
    """
    if vault.clock.mode == "manual":
        return now
    return min(Micros(record.timestamp_ms * 1000 + 999), now)


def release_header(vault: Vault, value: bytes, received: Micros) -> bytes:
    """The header under which a quarantined event runs again as of its original time: nobody outside can make
    one.
    """
    time = received.to_bytes(8, "big")
    return time + hmac.digest(vault.secrets.named("release"), time + sha256(value).digest(), sha256)


def topic_of(event: tagging.Event) -> str:
    """Intake topic of an event's kind."""
    return f"intake.{tagging.kind_of(event)}"


def content(event: tagging.Event) -> bytes:
    """What makes two events of one id the same: all but what a publisher's retry stamps anew."""
    kind = tagging.kind_of(event)
    match event:
        case FormSubmitted():
            same: Sequence[object] = (
                event.form,
                sorted((i.kind, i.value) for i in event.identifiers),
                sorted(event.fields.items()),
                sorted((c.purpose, c.granted) for c in event.consents),
                event.notice,
            )
        case EmailOpened():
            same = (event.token,)
        case CookieObserved():
            same = (
                (event.cookie_id, event.name, event.url, event.referrer),
                sorted(event.properties.items()),
                sorted((c.purpose, c.granted) for c in event.consents),
                event.notice,
            )
    return msgspec.msgpack.encode((kind, event.site, same))
