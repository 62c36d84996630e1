"""What happened in one run, line by line: names of people, deliveries and fields, never a value."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

_NAME = re.compile(r"[A-Za-z][A-Za-z_.-]{0,40}|v?\d{1,3}(\.\d{1,2})?|[A-Z][A-Za-z]+__c")


@dataclass(slots=True)
class Trace:
    """The lines of one run."""

    lines: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        """Add a line."""
        self.lines.append(f"{len(self.lines) + 1:3}  {line}")


def template(target: str) -> str:
    """Return a request's path with everything that may name somebody left out, and the names of its query."""
    split = urlsplit(target)
    path = "/".join(part if not part or _NAME.fullmatch(part) else "{}" for part in split.path.split("/"))
    names = sorted({name for name, _ in parse_qsl(split.query, keep_blank_values=True)})
    return path + (f"?{'&'.join(names)}" if names else "")


def names(several: Iterable[str]) -> str:
    """Return names with commas between, a dash for none."""
    return ", ".join(sorted(several)) or "-"
