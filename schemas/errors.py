"""The one error tree of Lapse: who raises what, and what happens next.

```
LapseError           exit  what happens next
|-- Rejected           1   this input alone is turned away: discarded or quarantined under its code
|-- BadInput           2   the caller's words or file are wrong, nothing was done; findings say what mends it
|-- Refused            3   policy, a brake or a missing second person said no; the same again gets the same
|-- NotFound           4   what was named does not exist (towards outsiders never told apart from "erased")
|-- Unavailable        5   broker, vault, registry or third party does not answer: wait, do the same again
|   `-- Conflict       5   somebody else changed the row first: the chunk is read and done again, at once
`-- Bug               70   an invariant of ours does not hold: stop, or bisect to the offending record
```

Foreign errors are translated where they enter (the vault's driver, the Kafka clients, HTTP), not further in.
No error ever carries a value out of a record: a code, a schema path, an id or a file name at most, because
texts of errors reach logs. Everything that cannot be judged fails closed, as `Refused`.
"""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing wrong with an input: where (a path inside it), what, and what would mend it."""

    where: str
    what: str
    do: str


class LapseError(Exception):
    """What went wrong: `code` (a name of `schemas.codes`), `what` happened, `where`, and what to `do`."""

    exit_code: ClassVar[int] = 70

    def __init__(self, code: str, what: str, where: str = "", do: str = "") -> None:
        super().__init__(code, what, where, do)
        self.code = code
        self.what = what
        self.where = where
        self.do = do

    def __str__(self) -> str:
        place = f" ({self.where})" if self.where else ""
        mend = f"; {self.do}" if self.do else ""
        return f"{self.code}: {self.what}{place}{mend}"

    def as_json(self) -> dict[str, object]:
        """Return the shape every command prints under `-o json`: `{"error": {code, what, where, do}}`."""
        return {"error": {"code": self.code, "what": self.what, "where": self.where, "do": self.do}}


class Rejected(LapseError):
    """One input cannot be accepted; its code decides between discarding and quarantine."""

    exit_code = 1


class BadInput(LapseError):
    """What the caller gave (arguments, a policy, a key file) is wrong; `findings` lists every fault."""

    exit_code = 2

    def __init__(
        self, code: str, what: str, where: str = "", do: str = "", findings: tuple[Finding, ...] = ()
    ) -> None:
        super().__init__(code, what, where, do)
        self.args = (code, what, where, do, findings)
        self.findings = findings

    def as_json(self) -> dict[str, object]:
        """Return the common shape, with `findings: [{where, what, do}]` where there are any."""
        error: dict[str, object] = {"code": self.code, "what": self.what, "where": self.where, "do": self.do}
        if self.findings:
            error["findings"] = [{"where": f.where, "what": f.what, "do": f.do} for f in self.findings]
        return {"error": error}


class Refused(LapseError):
    """A rule says no, or nothing says yes: brakes, missing approval, and everything that fails closed."""

    exit_code = 3


class NotFound(LapseError):
    """What was named does not exist here."""

    exit_code = 4


class Unavailable(LapseError):
    """Something we depend on does not answer; the same call may succeed later."""

    exit_code = 5


class Conflict(Unavailable):
    """A compare-and-swap lost: read again and do the work again at once."""


class Bug(LapseError):
    """An invariant of ours is broken; retrying cannot help."""

    exit_code = 70
