"""A small, strict reading of YAML: plain data with the line of every value, and none of YAML's surprises.

Refused: duplicate keys, anchors, aliases, tags, merge keys, several documents, keys that are no strings,
control characters, deep nesting, large files, and characters nobody sees: a policy is read by people before
it is signed, and YAML ends lines where an editor shows none, so that a comment could go on as a rule. Only
`true` and `false` are booleans, so that the country NO stays a country; dates stay text and mean what the
policy's model says.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from schemas.errors import BadInput, Finding

LARGEST = 1 << 20
"""Bytes of UTF-8 a policy may have."""
DEEPEST = 16
"""Levels of nesting a policy may have; the deepest the model knows is 7."""

Path = tuple[str | int, ...]
"""Where a value stands: keys and positions from the root."""

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})", re.ASCII)
_FLOAT = re.compile(r"-?[0-9]{1,15}\.[0-9]{1,15}", re.ASCII)
MOST = 20_000
"""Values a policy may hold; the company's has a thousand. Parsing takes a second for so many."""
_HIDDEN = re.compile(
    "[\x85\u2028\u2029"  # line ends that are none on the screen
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what turns the direction of text (Trojan Source)
    "\u00ad\u180e\u200b\u2060-\u2064\ufeff\ufff9-\ufffd\U000e0000-\U000e007f]"  # nothing to see at all
    "|\r(?!\n)"
)
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_SEEN = ("a character nobody sees (U+0085, U+2028, a change of direction, …)", "write what can be read")
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}


class Refusal(Exception):
    """The text is not the YAML we take: the line (from 1; 0 unknown), why, and what would mend it."""

    def __init__(self, line: int, why: str, mend: str) -> None:
        super().__init__(why)
        self.line = line
        self.why = why
        self.mend = mend


def read(text: str, *, where: str) -> tuple[Any, dict[Path, int]]:
    """Return the data and the line of every path in it; BadInput with one finding where it cannot be read."""
    try:
        return _Reader(text).document()
    except Refusal as refusal:
        place = f"{where}:{refusal.line}" if refusal.line else where
        finding = Finding(where=place, what=refusal.why, do=refusal.mend)
        raise BadInput("bad_policy", refusal.why, place, refusal.mend, (finding,)) from None


class _Reader:
    """Builds data from parser events: a constructor would already have followed what is refused here."""

    def __init__(self, text: str) -> None:
        if len(text.encode("utf-8", "surrogatepass")) > LARGEST:
            raise Refusal(
                0, "the file is larger than 1 MiB", "a policy is written by hand: leave generated text out"
            )
        text = text.removeprefix("\ufeff")  # the mark some editors put before UTF-8
        if hidden := _HIDDEN.search(text):
            line = text.count("\n", 0, hidden.start()) + 1
            raise Refusal(line, *_SEEN)
        self.lines: dict[Path, int] = {}
        self.events = self._parsed(text)

    def document(self) -> tuple[Any, dict[Path, int]]:
        next(self.events)
        start = next(self.events)
        if isinstance(start, yaml.StreamEndEvent):
            raise Refusal(0, "the file is empty", "write a policy; policies/demo.yaml is one to start from")
        value = self._value(next(self.events), ())
        next(self.events)
        more = next(self.events)
        if not isinstance(more, yaml.StreamEndEvent):
            raise Refusal(_line(more), "a second document begins here", "keep one policy in one file")
        return value, self.lines

    @staticmethod
    def _parsed(text: str) -> Iterator[Any]:
        try:
            yield from yaml.parse(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else 0
            raise Refusal(
                line, f"this is not YAML: {error.problem}", "check indentation, quotes and colons"
            ) from None
        except yaml.YAMLError:
            raise Refusal(
                0, "the file holds characters YAML does not allow", "save it as plain UTF-8 text"
            ) from None

    def _value(self, event: Any, path: Path) -> Any:
        self._refuse(event, path)
        self.lines[path] = _line(event)
        if len(self.lines) > MOST:
            raise Refusal(_line(event), f"more than {MOST} values", "leave generated text out")
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path)
        return _scalar(event)

    def _refuse(self, event: Any, path: Path) -> None:
        line = _line(event)
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise Refusal(line, "anchors and aliases are not taken", "write the value out where it is meant")
        if event.tag is not None:
            raise Refusal(
                line, "tags (!…) are not taken", "leave the tag out; quote the value if it must be text"
            )
        if len(path) > DEEPEST:
            raise Refusal(line, f"more than {DEEPEST} levels of nesting", "a policy needs no more than 7")

    def _mapping(self, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            self._refuse(event, path)
            key = _scalar(event) if isinstance(event, yaml.ScalarEvent) else None
            key = str(event.value) if isinstance(key, int) and not isinstance(key, bool) else key
            if not isinstance(key, str):
                raise Refusal(
                    _line(event), "a key that is no text", "write the key as a word, in quotes if need be"
                )
            if key == "<<":
                raise Refusal(_line(event), "merge keys (<<) are not taken", "write the values out")
            if key in found:
                why = f"the key `{key}` stands here a second time (first on line {self.lines[(*path, key)]})"
                raise Refusal(_line(event), why, "keep one of the two")
            found[key] = self._value(next(self.events), (*path, key))
            self.lines[(*path, key)] = _line(event)
        return found

    def _sequence(self, path: Path) -> list[Any]:
        found: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            found.append(self._value(event, (*path, len(found))))
        return found


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _scalar(event: Any) -> Any:
    """Return a scalar's value; only plain (unquoted) ones can be anything but text."""
    value: str = event.value
    if _HIDDEN.search(value):
        raise Refusal(_line(event), *_SEEN)
    if _UNPRINTABLE.search(value):
        raise Refusal(_line(event), "a text with control characters", "write printable characters alone")
    if event.style is not None:
        return value
    if value in _WORDS:
        return _WORDS[value]
    if _INTEGER.fullmatch(value):
        return int(value)
    return float(value) if _FLOAT.fullmatch(value) else value
