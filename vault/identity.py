"""From what a person calls themselves to the hashes the vault knows: one spelling per identifier."""

import unicodedata
from collections.abc import Iterable

from schemas.errors import Rejected
from schemas.models import Identifier, IdentifierKind
from vault.handles import alias_hash

LONGEST = 1024
"""Characters of an identifier; longer ones are not addresses of anybody."""


def normalise(kind: IdentifierKind, value: str) -> str:
    """Return the one spelling of an identifier; `Rejected` (`no_subject`) where nothing is left of it.

    E-mail addresses: NFC, trimmed, lower case (also the local part: no provider in use tells them apart).
    Phone numbers: digits, with a leading + where there was one (or 00). Everything else: NFC, trimmed.
    """
    if value.isascii() and kind != "phone":  # NFC changes nothing there
        text = value.strip().lower() if kind == "email" else value.strip()
        return _fitting(kind, text)
    text = unicodedata.normalize("NFC", value).strip()
    if kind == "email":
        # Lower-casing can undo a composition (U+0130), hence NFC again.
        text = unicodedata.normalize("NFC", text.lower())
    elif kind == "phone":
        text = _phone(text)
    return _fitting(kind, text)


def _fitting(kind: IdentifierKind, text: str) -> str:
    if not text or len(text) > LONGEST:
        raise Rejected("no_subject", "an identifier is empty or too long", kind)
    return text


def hashes_of(alias_key: bytes, identifiers: Iterable[Identifier]) -> tuple[bytes, ...]:
    """Return the distinct alias hashes of identifiers, in their order; `Rejected` as `normalise`."""
    found = {alias_hash(alias_key, i.kind, normalise(i.kind, i.value)): None for i in identifiers}
    return tuple(found)


def _phone(text: str) -> str:
    digits = "".join(str(unicodedata.digit(c)) for c in text if c.isdigit())
    if text.startswith("+"):
        return f"+{digits}" if digits else ""
    return f"+{digits[2:]}" if digits.startswith("00") and len(digits) > 2 else digits
