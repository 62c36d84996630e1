"""Members of a JSON body, each checked where it stands: 422 with a pointer, never with a value."""

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, TypeVar
from uuid import UUID

from lapse.collector.http import Problem, pointer
from schemas.ids import EventId, Micros
from schemas.models import ConsentStatement, Identifier, IdentifierKind
from schemas.plan import PolicyPlan
from schemas.retention import parse_instant

T = TypeVar("T")
LONGEST_TEXT = 32_768
LONGEST_NAME = 256
_SIGNAL = re.compile(r"[a-z][a-z0-9_]{0,31}(:[a-z0-9_-]{1,32})?")
_MOST_SIGNALS = 10
_KINDS: dict[str, IdentifierKind] = {
    "email": "email",
    "cookie": "cookie",
    "phone": "phone",
    "account": "account",
    "token": "token",
}
_MICROS = range(-62_135_596_800_000_000, 253_402_300_800_000_000)
"""The years 1 to 9999."""


def wrong(what: str, where: str) -> Problem:
    """The answer to a member of the wrong shape."""
    return Problem(422, "bad_argument", what, where)


def only(value: object, names: Iterable[str], where: str) -> dict[str, Any]:
    """An object with no other members than these."""
    if not isinstance(value, dict):
        raise wrong("an object must stand here", where)
    known = frozenset(names)
    for name in value:
        if name not in known:
            raise Problem(422, "unknown_field", "no such member is known here", pointer(where, name))
    return value


def items(value: object, most: int, where: str) -> list[Any]:
    """A list of at most `most`; more is 413."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise wrong("a list must stand here", where)
    if len(value) > most:
        raise Problem(413, "too_large", f"at most {most} are taken", where)
    return value


def text(value: object, where: str, longest: int = LONGEST_TEXT) -> str:
    """A text that is not too long."""
    if not isinstance(value, str) or len(value) > longest:
        raise wrong(f"a text of at most {longest} characters must stand here", where)
    return value


def optional(read: Callable[[object, str], T], value: object, where: str) -> T | None:
    """What `read` says, unless the member is missing or null."""
    return None if value is None else read(value, where)


def name(value: object, where: str) -> str:
    """A short text."""
    return text(value, where, LONGEST_NAME)


def event_id(value: object, where: str) -> EventId:
    """16 bytes as 32 hex digits, with or without a UUID's dashes."""
    try:
        return EventId(UUID(hex=value if isinstance(value, str) and len(value) in {32, 36} else "").bytes)
    except ValueError:
        raise wrong("an event id is 32 hex digits", where) from None


def instant(value: object, where: str) -> Micros:
    """An RFC 3339 time with its offset, or whole microseconds since 1970."""
    at: int | None = value if isinstance(value, int) and not isinstance(value, bool) else None
    if isinstance(value, str):
        with suppress(ValueError, OverflowError):
            at = parse_instant(value)
    if at is None or at not in _MICROS:
        raise wrong("a time is RFC 3339 with its offset", where)
    return Micros(at)


def flag(value: object, where: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise wrong("true or false must stand here", where)
    return value


def texts(value: object, most: int, where: str) -> dict[str, str]:
    """An object of texts; members that are null count as missing."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise wrong("an object of texts must stand here", where)
    if len(value) > most:
        raise Problem(413, "too_large", f"at most {most} are taken", where)
    return {key: text(each, pointer(where, key)) for key, each in value.items() if each is not None}


def consent(raw: object, notice: str | None, where: str) -> ConsentStatement:
    """One statement: `{purpose, granted, notice?}`; the body's notice where it names none."""
    members = only(raw, ("purpose", "granted", "notice"), where)
    return ConsentStatement(
        purpose=name(members.get("purpose"), f"{where}/purpose"),
        granted=flag(members.get("granted"), f"{where}/granted"),
        notice=optional(name, members.get("notice"), f"{where}/notice") or notice,
    )


def consents(value: object, most: int, notice: str | None, where: str) -> list[ConsentStatement]:
    """A list of statements, in order."""
    return [consent(each, notice, f"{where}/{n}") for n, each in enumerate(items(value, most, where))]


def known_purposes(stated: Iterable[ConsentStatement], plan: PolicyPlan, where: str) -> None:
    """Raise Problem 422 for a statement about a purpose the policy does not have."""
    for n, statement in enumerate(stated):
        if statement.purpose not in plan.purpose_numbers:
            raise Problem(422, "unknown_purpose", "the policy has no such purpose", f"{where}/{n}/purpose")


def signals(value: object, where: str) -> list[str]:
    """What the publisher noticed, such as `gpc`: short lower-case words, so that no data hides there."""
    found = []
    for n, each in enumerate(items(value, _MOST_SIGNALS, where)):
        if not isinstance(each, str) or not _SIGNAL.fullmatch(each):
            raise wrong("a signal is a short lower-case word", f"{where}/{n}")
        found.append(each)
    return found


def identifier(raw: object, where: str) -> Identifier:
    """`{kind, value}` with a kind the schemas know."""
    members = only(raw, ("kind", "value"), where)
    kind = _KINDS.get(name(members.get("kind"), f"{where}/kind"))
    if kind is None:
        raise wrong(f"an identifier is one of {', '.join(_KINDS)}", f"{where}/kind")
    value = name(members.get("value"), f"{where}/value")
    if not value.strip():
        raise wrong("an identifier cannot be empty", f"{where}/value")
    return Identifier(kind=kind, value=value)
