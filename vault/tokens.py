"""Pixel tokens: what a mail's clear gif and its unsubscribe link carry instead of a person.

A token is 36 bytes, 48 base64url characters: version 1 | key id 1 | random message id 16 | expiry day 2 |
tag 16. The tag is HMAC-SHA256 over everything before it and the site's name, so a token belongs to one site
without naming it. Which person a message id leads to is known to the vault alone. Pure: time and randomness
are arguments.
"""

import hmac
import json
from base64 import b64decode, b64encode, urlsafe_b64encode
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256

from schemas.ids import EventId, Micros
from schemas.times import DAY
from vault.keys import keyed

VERSION = 1
TOKEN_CHARS = 48
"""Length of a token: 36 bytes need no padding and leave no spare bits, so a token has one spelling."""
MESSAGE_ID_BYTES = 16
OPENS_PER_SECOND = 16
"""Opens of one message told apart within one second; `records show --message` tries that many."""

_KEY_BYTES = 32
_TAG_BYTES = 16
_BODY_BYTES = 20
_DOMAIN = b"lapse/v1/pixel|"
_FORGED = bytes(_BODY_BYTES + _TAG_BYTES)
_MALFORMED = b"A" * TOKEN_CHARS
_STANDARD = bytes.maketrans(b"-_+/", b"+/  ")
"""From the alphabet of URLs to the one that binascii knows, at a third of what `base64` takes for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A key that signs tokens: id 0..255, 32 bytes."""

    id: int
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelKeys:
    """The live signing keys, newest last, and the key of the event ids of opens, which never rotates."""

    id_key: bytes = field(repr=False)
    signing: tuple[SigningKey, ...]

    def __post_init__(self) -> None:
        ids = {key.id for key in self.signing}
        if not self.signing or len(ids) != len(self.signing) or not ids <= set(range(256)):
            raise ValueError("pixel keys need at least one signing key, with distinct ids from 0 to 255")
        if any(len(key) != _KEY_BYTES for key in (self.id_key, *(each.key for each in self.signing))):
            raise ValueError(f"a pixel key is {_KEY_BYTES} bytes")

    @classmethod
    def generate(cls, random: Callable[[int], bytes]) -> "PixelKeys":
        """Make two signing keys and an id key from `random(n) -> n bytes`."""
        signing = tuple(SigningKey(id=number, key=random(_KEY_BYTES)) for number in (0, 1))
        return cls(id_key=random(_KEY_BYTES), signing=signing)

    def rotated(self, random: Callable[[int], bytes]) -> "PixelKeys":
        """Drop the oldest signing key and add a new one; its tokens are forged from now on."""
        newest = self.signing[-1]
        fresh = SigningKey(id=(newest.id + 1) % 256, key=random(_KEY_BYTES))
        return PixelKeys(id_key=self.id_key, signing=(newest, fresh))

    @classmethod
    def from_json(cls, text: str) -> "PixelKeys":
        """Read what `to_json` wrote; raises ValueError without naming a value."""
        try:
            raw = json.loads(text)
            signing = tuple(SigningKey(id=each["id"], key=b64decode(each["key"])) for each in raw["signing"])
            return cls(id_key=b64decode(raw["id_key"]), signing=signing)
        except (KeyError, TypeError, Base64Error, json.JSONDecodeError):
            raise ValueError("not a file of pixel keys") from None

    def to_json(self) -> str:
        """The content of `keys/pixel.json`; secret."""
        signing = [{"id": each.id, "key": b64encode(each.key).decode()} for each in self.signing]
        return json.dumps({"id_key": b64encode(self.id_key).decode(), "signing": signing}, indent=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelToken:
    """What an authentic token says; `expires` is the end of its last day (UTC)."""

    site: str
    message_id: bytes
    expires: Micros

    @property
    def identifier(self) -> str:
        """The value of the `token` identifier that leads to the person: the message id in hex."""
        return self.message_id.hex()


def _tag(key: bytes, body: bytes, site: str) -> bytes:
    return keyed(key, _DOMAIN).digest(body + site.encode())[:_TAG_BYTES]


def expiry_day(now: Micros, days: int) -> int:
    """Number of the day (since 1970, UTC) `days` after today; negative `days` give an expired token."""
    return now // DAY + days


def mint(keys: PixelKeys, *, site: str, message_id: bytes, expires_day: int) -> str:
    """Sign a token for one message with the newest key; `expires_day` is its last day, in days since 1970."""
    if len(message_id) != MESSAGE_ID_BYTES:
        raise ValueError(f"a message id is {MESSAGE_ID_BYTES} bytes")
    if not 0 <= expires_day < 1 << 16:
        raise ValueError("the expiry day does not fit two bytes (1970 to 2149)")
    newest = keys.signing[-1]
    body = bytes((VERSION, newest.id)) + message_id + expires_day.to_bytes(2, "big")
    return urlsafe_b64encode(body + _tag(newest.key, body, site)).decode()


def _bytes_of(token: str) -> bytes:
    """The token's bytes, or as many zeros; what is malformed goes the same way and costs the same."""
    try:
        text = token.encode("ascii")
    except UnicodeEncodeError:
        text = b""
    whole = len(text) == TOKEN_CHARS
    plain = (text if whole else _MALFORMED).translate(_STANDARD)
    try:
        raw = a2b_base64(plain)
    except Base64Error:
        raw = _FORGED
    # The decoder skips foreign characters: only the one canonical spelling counts.
    return raw if whole and b2a_base64(raw, newline=False) == plain else _FORGED


def read(token: str, keys: PixelKeys, sites: Iterable[str]) -> PixelToken | None:
    """What the token says, or None if malformed, forged or signed by a key that is gone.

    Expiry is not judged. The work done depends on the number of keys and sites alone, never on the token.
    """
    raw = _bytes_of(token)
    body, tag = raw[:_BODY_BYTES], raw[_BODY_BYTES:]
    found: str | None = None
    texts = [(site, body + site.encode()) for site in sites]
    for key in keys.signing:
        known = key.id == body[1] and body[0] == VERSION
        mac = keyed(key.key, _DOMAIN)
        for site, text in texts:
            if hmac.compare_digest(mac.digest(text)[:_TAG_BYTES], tag) and known:
                found = site
    if found is None:
        return None
    day = int.from_bytes(body[18:], "big")
    return PixelToken(site=found, message_id=body[2:18], expires=Micros((day + 1) * DAY))


def open_id(keys: PixelKeys, message_id: bytes, second: int, k: int) -> EventId:
    """Event id of the k-th open (0..15) of a message within one Unix second of the real clock."""
    material = message_id + second.to_bytes(8, "big") + bytes((k,))
    return EventId(keyed(keys.id_key, b"lapse/v1/open|").digest(material)[:16])


def unsubscribe_id(keys: PixelKeys, message_id: bytes, second: int) -> EventId:
    """Event id of an unsubscription by a message's link within one Unix second."""
    material = b"lapse/v1/unsubscribe|" + message_id + second.to_bytes(8, "big")
    return EventId(hmac.digest(keys.id_key, material, sha256)[:16])


def open_ids(keys: PixelKeys, message_id: bytes, first: int, last: int) -> Iterator[EventId]:
    """Every event id an open of this message can have between two Unix seconds, both included."""
    for second in range(first, last + 1):
        for k in range(OPENS_PER_SECOND):
            yield open_id(keys, message_id, second, k)
