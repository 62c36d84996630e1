"""Reading intake: raw records become events with ids, keyed hashes and effective times."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import msgspec

from schemas import codec
from schemas.errors import Rejected
from schemas.events import EVENTS, EventReader
from schemas.ids import EventId, Micros, RecordId
from schemas.models import CookieObserved, EmailOpened, FieldsCorrected, FormSubmitted
from schemas.plan import Plans, PolicyPlan
from streams import tagging
from streams.chunks import POISON
from streams.ports import Inbound
from streams.stage import Part, is_tick
from vault.handles import alias_names, packed, record_id, record_names
from vault.identity import normalise
from vault.keys import ID_BYTES, Keyed
from vault.port import Vault
from vault.progress import DIGEST_BYTES, content_digests
from vault.tokens import PixelKeys
from vault.tokens import read as read_token

RELEASED = "lapse-released"
"""Header of an event released from quarantine: its original time and a MAC only the vault's holders can make.
"""
CORRECTIONS = "intake.form"
"""Where an operator's corrections come in, among the forms they are of."""
REVISIONS = 2**31 - 1
"""Revisions are Avro's `int`, which the codec reads however long it is; the last one is what is dropped."""
NAMELESS = RecordId(bytes(16))
"""Id of what has none yet."""
PRIMARY = ("email", "account", "phone", "cookie", "token")
"""Which identifier stands for the person where links between identifiers have no purpose of their own."""


class Arrived(msgspec.Struct, kw_only=True, gc=False):
    """One intake record, read; `event` None where it cannot be, then `code` says why and `path` where.

    `source` and `given` are the event's source and clear fields; `hashes` are of the person's identifiers,
    the primary one first; `released` came back from quarantine.
    """

    topic: str
    record: Inbound
    received: Micros
    record_id: RecordId
    event: tagging.Event | None = None
    correction: FieldsCorrected | None = None
    code: str | None = None
    path: str | None = None
    schema_id: int | None = None
    source: str = ""
    given: Mapping[str, str] = {}
    policy: PolicyPlan | None = None
    when: tagging.Moment | None = None
    digest: bytes = b""
    hashes: tuple[bytes, ...] = ()
    released: bool = False


class _Reading:
    """What the records of a part have in common while they are read; `hashes` are those made so far."""

    def __init__(self, part: Part, plans: Plans, vault: Vault) -> None:
        self.part, self.plans = part, plans
        self.now, self.manual = vault.clock.now(), vault.clock.mode == "manual"
        self.hashes: dict[tagging.Identity, bytes | None] = {}
        self._record, self._alias = vault.secrets.record, vault.secrets.alias
        self._content = content_digests(vault.secrets.named("seen"))
        self.schema_ids: dict[type, int] = {
            kind: codec.schema_id(kind) for kind, topic in TOPICS.items() if topic == part.topic
        }
        """Kinds of events that may stand in this topic."""
        self._names: dict[tuple[str, type], Keyed] = {}
        self._aliases: dict[str, Keyed] = {}
        self._said: dict[int, tuple[object, list[tuple[str, bool]]]] = {}
        self._policy: tuple[int, int, PolicyPlan | None] = (0, 0, None)

    def record_id(self, event: tagging.Event) -> RecordId:
        """The id of an event's record (`vault.handles.record_id`)."""
        of = event.site, type(event)
        names = self._names.get(of)
        if names is None:
            names = self._names[of] = record_names(self._record, event.site, tagging.kind_of(event))
        return RecordId(names.digest(event.event_id)[:ID_BYTES])

    def hash(self, named: tagging.Identity) -> bytes | None:
        """The keyed hash of an identifier; an empty or unreadable one names nobody."""
        if named in self.hashes:
            return self.hashes[named]
        kind, value = named
        names = self._aliases.get(kind)
        if names is None:
            names = self._aliases[kind] = alias_names(self._alias, kind)
        found = None
        with suppress(Rejected):
            found = names.digest(packed(normalise(kind, value)))[:ID_BYTES]
        self.hashes[named] = found
        return found

    def digest(self, event: tagging.Event) -> bytes:
        """The digest by which a second content under one id is recognised."""
        return self._content.digest(content(event, self._consents(event)))[:DIGEST_BYTES]

    def digest_of(self, said: FieldsCorrected) -> bytes:
        """The digest by which the same correction is recognised."""
        same = (said.source, said.policy, said.collected_at, sorted(said.fields.items()))
        return self._content.digest(_pack(same))[:DIGEST_BYTES]

    def _consents(self, event: tagging.Event) -> list[tuple[str, bool]]:
        """What `said` says of an event; events that were read alike share their list of consents."""
        if isinstance(event, EmailOpened):
            return []
        known = self._said.get(id(event.consents))
        if known is None:
            # The list is kept beside, so that no other gets its identity.
            known = self._said[id(event.consents)] = event.consents, said(event)
        return known[1]

    def policy(self, at: Micros) -> PolicyPlan | None:
        """The policy in force at a time (`Plans.in_force`)."""
        since, until, found = self._policy
        if not since <= at < until:
            since, until = self.plans.span(at)
            found = self.plans.in_force(at)
            self._policy = since, until, found
        return found

    def received(self, record: Inbound) -> Micros:
        """When a record was received (`received_at`)."""
        return self.now if self.manual else min(Micros(record.timestamp_ms * 1000 + 999), self.now)


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeReader:
    """Reads records of the intake topics; `pixel_keys` verify tokens."""

    vault: Vault
    pixel_keys: PixelKeys
    events: EventReader = field(default_factory=EventReader)

    def part(self, part: Part, plans: Plans, spoilt: frozenset[int]) -> list[Arrived]:
        """Read a part's records; one a bug was bisected to keeps its id, if it has one, and no more."""
        reading = _Reading(part, plans, self.vault)
        found = []
        for record in part.records:
            if record.value is None and is_tick(record):
                continue
            if record.offset in spoilt:
                found.append(self._spoilt(reading, record))
            else:
                found.append(self._read(reading, record))
        return found

    def _spoilt(self, reading: _Reading, record: Inbound) -> Arrived:
        spoilt = self._arrived(reading, record)
        spoilt.code = "bug"
        spoilt.record_id = self._place(reading, record)
        with suppress(*POISON):
            spoilt.record_id = self._read(reading, record).record_id
        return spoilt

    def _arrived(self, reading: _Reading, record: Inbound) -> Arrived:
        received = reading.received(record)
        return Arrived(topic=reading.part.topic, record=record, received=received, record_id=NAMELESS)

    def _place(self, reading: _Reading, record: Inbound) -> RecordId:
        return place_id(self.vault, reading.part.topic, reading.part.partition, record.offset)

    def _read(self, reading: _Reading, record: Inbound) -> Arrived:
        """Read one record; nothing in it can make this raise anything but a bug of ours."""
        arrived, value = self._arrived(reading, record), record.value or b""
        released = self._released(record, value) if record.headers else None
        if released is not None:
            arrived.received, arrived.released = released, True
        try:
            event = self.events.read(value)
        except Rejected as rejected:
            arrived.record_id = self._place(reading, record)
            arrived.code, arrived.path = rejected.code, rejected.where
            return arrived
        arrived.schema_id = reading.schema_ids.get(type(event))
        if arrived.schema_id is None or not isinstance(event, EVENTS):
            arrived.record_id = self._place(reading, record)
            if isinstance(event, FieldsCorrected) and arrived.topic == CORRECTIONS:
                return _corrected(reading, arrived, event)
            arrived.code, arrived.path = "schema_mismatch", "another kind of record stands here"
            return arrived
        self._know(reading, arrived, event)
        return arrived

    def _know(self, reading: _Reading, arrived: Arrived, event: tagging.Event) -> None:
        arrived.event = event
        arrived.source, arrived.given = tagging.source_of(event), tagging.clear_fields(event)
        arrived.record_id, arrived.digest = reading.record_id(event), reading.digest(event)
        when = arrived.when = tagging.moment(event.collected_at, arrived.received)
        policy = arrived.policy = reading.policy(when.at)
        token = self._token(arrived, event) if type(event) is EmailOpened else None
        source = policy.sources.get(arrived.source) if policy else None
        named = tagging.identities(event, source, token)
        if len(named) > 1:
            named = tuple(sorted(named, key=lambda named: PRIMARY.index(named[0])))
        hashes = [hash_ for each in named if (hash_ := reading.hash(each)) is not None]
        arrived.hashes = tuple(hashes) if len(hashes) < 2 else tuple(dict.fromkeys(hashes))

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


def _corrected(reading: _Reading, arrived: Arrived, said: FieldsCorrected) -> Arrived:
    """A correction is of nobody's making until its signature is judged: it keeps the name of its place."""
    if not 1 < said.revision < REVISIONS:
        arrived.code, arrived.path = "schema_mismatch", f"{FieldsCorrected.__name__}.revision"
        return arrived
    arrived.correction, arrived.source, arrived.given = said, said.source, said.fields
    arrived.schema_id = reading.schema_ids[FormSubmitted]
    arrived.digest = reading.digest_of(said)
    return arrived


def place_id(vault: Vault, topic: str, partition: int, offset: int) -> RecordId:
    """Record id of what has no readable event id."""
    place = EventId(partition.to_bytes(8, "big") + offset.to_bytes(8, "big"))
    return record_id(vault.secrets.record, "", topic, place)


def received_at(vault: Vault, record: Inbound, now: Micros) -> Micros:
    """When a record was received: LogAppendTime, or the clock's now where a manual clock stands still."""
    if vault.clock.mode == "manual":
        return now
    return min(Micros(record.timestamp_ms * 1000 + 999), now)


def release_header(vault: Vault, value: bytes, received: Micros) -> bytes:
    """The header under which a quarantined event runs again as of its time; nobody outside can make one."""
    time = received.to_bytes(8, "big")
    return time + hmac.digest(vault.secrets.named("release"), time + sha256(value).digest(), sha256)


TOPICS: Mapping[type, str] = {
    FormSubmitted: "intake.form",
    EmailOpened: "intake.email-open",
    CookieObserved: "intake.cookie",
}
"""Intake topic of each kind of event."""


def said(event: FormSubmitted | CookieObserved) -> list[tuple[str, bool]]:
    """What an event says of consent, as far as it makes two events differ."""
    return _sorted([(c.purpose, c.granted) for c in event.consents])


def content(event: tagging.Event, consents: list[tuple[str, bool]]) -> bytes:
    """What makes two events of one id the same: all but what a retry stamps anew, with what was `said`."""
    if isinstance(event, FormSubmitted):
        identifiers = _sorted([(i.kind, i.value) for i in event.identifiers])
        fields = sorted(event.fields.items())
        return _pack(("form", event.site, (event.form, identifiers, fields, consents, event.notice)))
    if isinstance(event, EmailOpened):
        return _pack(("email-open", event.site, (event.token,)))
    seen = event.cookie_id, event.name, event.url, event.referrer
    properties = _sorted(list(event.properties.items()))
    return _pack(("cookie", event.site, (seen, properties, consents, event.notice)))


_pack = msgspec.msgpack.Encoder().encode


def _sorted(pairs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return pairs if len(pairs) < 2 else sorted(pairs)


def release_id(record: RecordId) -> RecordId:
    """Under what a release is remembered, so that a second one of the same input counts for nothing."""
    return RecordId(sha256(b"lapse/v1/released" + record).digest()[:16])
