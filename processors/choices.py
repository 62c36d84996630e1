"""Reads single `settings:` of a processor, as a policy states them; `BadInput` names the wrong one."""

from __future__ import annotations

import re
from collections.abc import Mapping

from schemas.errors import BadInput

Said = Mapping[str, str | int | bool]
"""The settings of one connector, without those that map fields."""


def text(said: Said, name: str, default: str | None, shape: re.Pattern[str] | None = None) -> str:
    """Return a text of this shape; without a default it must be stated."""
    value = said.get(name, default)
    if value is None:
        raise BadInput("bad_argument", "this setting is missing", f"settings.{name}", "state it")
    if not isinstance(value, str) or (value != default and shape and not shape.fullmatch(value)):
        raise BadInput("bad_argument", "this text is not of its form", f"settings.{name}", "see the docs")
    return value


def words(said: Said, name: str, default: tuple[str, ...], shape: re.Pattern[str]) -> tuple[str, ...]:
    """Return words of this shape, written with commas between them."""
    if name not in said:
        return default
    found = tuple(word.strip() for word in str(said[name]).split(",") if word.strip())
    if not all(map(shape.fullmatch, found)):
        raise BadInput("bad_argument", "these are not names with commas between", f"settings.{name}")
    return found


def flag(said: Said, name: str, *, default: bool) -> bool:
    """Return true or false."""
    value = said.get(name, default)
    if not isinstance(value, bool):
        raise BadInput("bad_argument", "neither true nor false", f"settings.{name}", "write true or false")
    return value


def whole(said: Said, name: str, default: int, bounds: range) -> int:
    """Return a whole number within bounds."""
    value = said.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value not in bounds:
        what = f"not a whole number from {bounds.start} to {bounds.stop - 1}"
        raise BadInput("bad_argument", what, f"settings.{name}")
    return value
