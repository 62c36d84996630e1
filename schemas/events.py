"""Reading the three kinds of intake events straight from their Avro bytes.

An `EventReader` returns what `codec.decode` returns, or calls it: whatever is out of the ordinary (another
schema, several blocks, long numbers, broken bytes) is left to the codec, so it alone says what is refused.
Every length read moves the place on and the last place must be the end, so nothing is read beyond it.

What publishers say the same of many events (site, form, names of fields, consents, signals) is decoded once
and shared, so it must not be changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar, get_args

from fastavro.schema import fingerprint, to_parsing_canonical_form

from schemas import codec, framing
from schemas.errors import Rejected
from schemas.ids import EventId, Micros
from schemas.models import (
    ConsentStatement,
    CookieObserved,
    EmailOpened,
    FormSubmitted,
    Identifier,
    IdentifierKind,
    OpenKind,
    Record,
)

Event = FormSubmitted | EmailOpened | CookieObserved
EVENTS = (FormSubmitted, EmailOpened, CookieObserved)

_MOST = 4096
"""Things of one sort kept to be shared: strangers can vary them."""
_LONGEST = 512
"""Bytes of what is kept; longer ones are left to the codec."""
_START = framing.HEADER + 16
"""Where the time stands, behind the event's id."""
_KINDS: Mapping[int, IdentifierKind] = {2 * n: kind for n, kind in enumerate(get_args(IdentifierKind))}
_OPENS: Mapping[int, OpenKind] = {2 * n: kind for n, kind in enumerate(get_args(OpenKind))}
_FINGERPRINTS: Mapping[type[Event], str] = {
    FormSubmitted: "d471f260bb43455d",
    EmailOpened: "dacfdb7df2b37612",
    CookieObserved: "b0c6fc0463339ba0",
}
"""The schemas that are read here, by CRC-64-AVRO of the parsing canonical form; others the codec reads."""

T = TypeVar("T")


class _OddError(Exception):
    """Raised for what the codec must read."""


class _Shared(dict[bytes, T]):
    """Decoded bytes, kept while they are few and short."""

    def keep(self, encoded: bytes, found: T) -> T:
        """Remember what bytes mean."""
        if len(encoded) <= _LONGEST:
            if len(self) >= _MOST:
                self.clear()
            self[encoded] = found
        return found


_FormTail = tuple[list[ConsentStatement], str | None, list[str], bool]
_CookieTail = tuple[list[ConsentStatement], str | None, list[str]]


class EventReader:
    """Reads intake events; not for several threads at once."""

    def __init__(self) -> None:
        self._texts: _Shared[str] = _Shared()
        self._form_tails: _Shared[_FormTail] = _Shared()
        self._cookie_tails: _Shared[_CookieTail] = _Shared()
        read: Mapping[type[Event], Callable[[bytes], Event]] = {
            FormSubmitted: self._form,
            EmailOpened: self._open,
            CookieObserved: self._cookie,
        }
        self._read = {
            framing.header(codec.schema_id(model)): read[model] for model in EVENTS if _as_known(model)
        }

    def read(self, data: bytes) -> Record:
        """Return the record; `Rejected` as `codec.decode`."""
        read = self._read.get(data[: framing.HEADER])
        if read is not None and len(data) <= framing.MAX_BYTES:
            try:
                return read(data)
            except (_OddError, IndexError, KeyError, UnicodeDecodeError):
                pass  # the codec knows why, or reads it after all
        return codec.decode(data)

    def _form(self, data: bytes) -> FormSubmitted:
        at, place = _time(data)
        texts = self._texts
        site, place = _shared(data, place, texts)
        form, place = _shared(data, place, texts)
        identifiers, place = _identifiers(data, place)
        fields, place = _map(data, place, texts)
        encoded = data[place:]
        tail = self._form_tails.get(encoded)
        if tail is None:
            whole = codec.decode_as(FormSubmitted, data)
            found = whole.consents, whole.notice, whole.signals, whole.backfill
            tail = self._form_tails.keep(encoded, found)
        consents, notice, signals, backfill = tail
        return FormSubmitted(
            event_id=EventId(data[framing.HEADER : _START]),
            collected_at=at,
            site=site,
            form=form,
            identifiers=identifiers,
            fields=fields,
            consents=consents,
            notice=notice,
            signals=signals,
            backfill=backfill,
        )

    def _open(self, data: bytes) -> EmailOpened:
        at, place = _time(data)
        site, place = _shared(data, place, self._texts)
        token, place = _text(data, place)
        kind = _OPENS[data[place]]
        ip, place = _maybe(data, place + 1)
        agent, place = _maybe(data, place)
        if place != len(data):
            raise _OddError
        return EmailOpened(
            event_id=EventId(data[framing.HEADER : _START]),
            collected_at=at,
            site=site,
            token=token,
            open_kind=kind,
            ip=ip,
            user_agent=agent,
        )

    def _cookie(self, data: bytes) -> CookieObserved:
        at, place = _time(data)
        texts = self._texts
        site, place = _shared(data, place, texts)
        cookie, place = _maybe(data, place)
        name, place = _shared(data, place, texts)
        url, place = _text(data, place)
        referrer, place = _maybe(data, place)
        ip, place = _maybe(data, place)
        agent, place = _maybe(data, place)
        properties, place = _map(data, place, texts)
        encoded = data[place:]
        tail = self._cookie_tails.get(encoded)
        if tail is None:
            whole = codec.decode_as(CookieObserved, data)
            tail = self._cookie_tails.keep(encoded, (whole.consents, whole.notice, whole.signals))
        consents, notice, signals = tail
        return CookieObserved(
            event_id=EventId(data[framing.HEADER : _START]),
            collected_at=at,
            site=site,
            cookie_id=cookie,
            name=name,
            url=url,
            referrer=referrer,
            ip=ip,
            user_agent=agent,
            properties=properties,
            consents=consents,
            notice=notice,
            signals=signals,
        )


_GOES_ON, _ENDS = 0x0080808080808080, 0x8080808080808080


def _time(data: bytes) -> tuple[Micros, int]:
    """Read a time of eight bytes, which those of 1988 to 2527 have."""
    raw = int.from_bytes(data[_START : _START + 8], "little")
    if raw & _ENDS != _GOES_ON:
        raise _OddError
    # Seven bits of each byte: pairs of bytes become 14 bits, pairs of those 28, and both of these 56.
    raw = raw & 0x007F007F007F007F | (raw & 0x7F007F007F007F00) >> 1
    raw = raw & 0x00003FFF00003FFF | (raw & 0x3FFF00003FFF0000) >> 2
    raw = raw & 0x0FFFFFFF | (raw & 0x0FFFFFFF00000000) >> 4
    if raw & 1:
        raise _OddError
    return Micros(raw >> 1), _START + 8


def _end(data: bytes, place: int) -> tuple[int, int]:
    """Return where the text whose length stands here begins, and where it ends."""
    length = data[place]
    place += 1
    if length & 0x80:
        more = data[place]
        place += 1
        if more & 0x80:
            last = data[place]
            place += 1
            if last & 0x80:
                raise _OddError
            more = more & 0x7F | last << 7
        length = length & 0x7F | more << 7
    if length & 1:
        raise _OddError
    return place, place + (length >> 1)


def _text(data: bytes, place: int) -> tuple[str, int]:
    length = data[place]
    if length & 0x81:
        place, end = _end(data, place)
    else:
        place += 1
        end = place + (length >> 1)
    return data[place:end].decode(), end


def _maybe(data: bytes, place: int) -> tuple[str | None, int]:
    branch = data[place]
    if branch == 2:
        return _text(data, place + 1)
    if branch:
        raise _OddError
    return None, place + 1


def _shared(data: bytes, place: int, texts: _Shared[str]) -> tuple[str, int]:
    """Read a text that many events have."""
    length = data[place]
    if length & 0x81:
        raise _OddError
    place += 1
    end = place + (length >> 1)
    encoded = data[place:end]
    found = texts.get(encoded)
    if found is None:
        if end > len(data):
            raise _OddError
        found = texts.keep(encoded, encoded.decode())
    return found, end


def _identifiers(data: bytes, place: int) -> tuple[list[Identifier], int]:
    count = data[place]
    place += 1
    if count & 0x81:
        raise _OddError
    found = []
    for _ in range(count >> 1):
        kind = _KINDS[data[place]]
        value, place = _text(data, place + 1)
        found.append(Identifier(kind=kind, value=value))
    if count:
        if data[place]:
            raise _OddError
        place += 1
    return found, place


def _map(data: bytes, place: int, names: _Shared[str]) -> tuple[dict[str, str], int]:
    count = data[place]
    place += 1
    if count & 0x81:
        raise _OddError
    found = {}
    for _ in range(count >> 1):
        name, place = _shared(data, place, names)
        found[name], place = _text(data, place)
    if count:
        if data[place]:
            raise _OddError
        place += 1
    return found, place


def _as_known(model: type[Event]) -> bool:
    """Say whether the schema in use is the one that is read here."""
    try:
        schema = codec.schema(codec.schema_id(model))
    except Rejected:
        return False
    return str(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO")) == _FINGERPRINTS[model]
