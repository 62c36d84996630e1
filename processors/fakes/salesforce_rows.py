"""The records of the stand-in for Salesforce: what an org's rules let through, and what lies in the bin."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from aiohttp import web

EXTERNAL = {"Contact": "Subject_Key__c", "Lead": "Subject_Key__c"}
"""The external id of each kind: not unique here, so that two may match (`twin`)."""
_COMMON = {
    "Id",
    "Subject_Key__c",
    "FirstName",
    "LastName",
    "Email",
    "Phone",
    "Title",
    "Description",
    "HasOptedOutOfEmail",
    "DoNotCall",
    "IndividualId",
}
_PLACE = ("Street", "City", "State", "PostalCode", "Country")
_KINDS = {
    "Contact": frozenset({*_COMMON, *(f"Mailing{part}" for part in _PLACE), "Birthdate"}),
    "Lead": frozenset({*_COMMON, *_PLACE, "Company", "Industry", "IsConverted", "ConvertedContactId"}),
    "Individual": frozenset(
        {
            "Id",
            "FirstName",
            "LastName",
            "ShouldForget",
            *(f"HasOptedOut{what}" for what in ("Processing", "Profiling", "Solicit", "Tracking")),
            "HasOptedOutGeoTracking",
        }
    ),
}
_MANDATORY = {"Contact": ("LastName",), "Lead": ("LastName", "Company"), "Individual": ("LastName",)}
_PREFIX = {"Contact": "003", "Lead": "00Q", "Individual": "0PK"}
_CHECK_BOXES = ("HasOptedOut", "DoNotCall", "ShouldForget", "IsConverted")


def problem(status: int, code: str, message: str, fields: tuple[str, ...] = ()) -> web.Response:
    """Return errors in Salesforce's shape."""
    return web.json_response([{"errorCode": code, "message": message, "fields": list(fields)}], status=status)


class Rows:
    """Every record of an org and the moods of its rules."""

    def __init__(self) -> None:
        self.kinds = dict(_KINDS)
        self.rows: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in _KINDS}
        self.bin: dict[str, tuple[str, dict[str, Any]]] = {}
        self.with_cases: set[str] = set()
        """Records that cannot be deleted."""
        self.locks: dict[str, int] = {}
        """Key or id -> so many attempts meet a row lock."""
        self.hide_locks = False
        """Whether the lock is only named inside another error's message."""
        self.no_duplicates = False
        """Whether a rule warns of two records with one address."""
        self.refills: dict[str, str] = {}
        """What a flow of the org writes into a record whenever it is changed."""
        self._count = itertools.count(1)

    def standing(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Return every record with its kind."""
        for kind in ("Contact", "Lead"):
            for row in self.rows[kind].values():
                yield kind, row

    def by_key(self, kind: str, key: str) -> list[str]:
        """Return the ids of the records with this external id."""
        return [name for name, row in self.rows.get(kind, {}).items() if row.get("Subject_Key__c") == key]

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return a record; ids of 15 characters name it, too."""
        found = self.rows.get(kind, {})
        return found.get(name) or next((row for each, row in found.items() if each[:15] == name), None)

    def put(
        self, kind: str, name: str | None, body: Mapping[str, Any], *, forced: bool
    ) -> str | web.Response:
        """Make or change a record; its id, or what its rules object."""
        now = self.rows[kind].get(name or "", {})
        if (wrong := self._wrong(kind, now, body, forced=forced)) is not None:
            return wrong
        if name is None:
            name = f"{_PREFIX[kind]}5e{next(self._count):010d}AAA"
            now = {"Id": name, **({"IsConverted": False} if kind == "Lead" else {})}
        self.rows[kind][name] = {**now, **body, **self.refills}
        return name

    def _wrong(
        self, kind: str, now: Mapping[str, Any], body: Mapping[str, Any], *, forced: bool
    ) -> web.Response | None:
        if strange := [each for each in body if each not in self.kinds[kind]]:
            return problem(400, "INVALID_FIELD", f"No such column '{strange[0]}'", (strange[0],))
        if now.get("IsConverted"):
            return problem(400, "CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")
        for each in (str(now.get("Id")), str(body.get("Subject_Key__c")), str(now.get("Subject_Key__c"))):
            if (locked := self.locked(each)) is not None:
                return locked
        after = {**now, **body}
        if lacking := [each for each in _MANDATORY[kind] if not after.get(each)]:
            text = f"Required fields are missing: [{', '.join(lacking)}]"
            return problem(400, "REQUIRED_FIELD_MISSING", text, tuple(lacking))
        if bad := [n for n, v in body.items() if n.startswith(_CHECK_BOXES) and not isinstance(v, bool)]:
            return problem(400, "JSON_PARSE_ERROR", "Cannot deserialize a check box", (bad[0],))
        mail = body.get("Email")
        if mail is not None and "@" not in mail:
            return problem(400, "INVALID_EMAIL_ADDRESS", "Email: invalid email address", ("Email",))
        others = (row for row in self.rows[kind].values() if row["Id"] != now.get("Id"))
        if self.no_duplicates and not forced and mail and any(row.get("Email") == mail for row in others):
            return problem(400, "DUPLICATES_DETECTED", "You're creating a duplicate record.")
        return None

    def locked(self, name: str) -> web.Response | None:
        """Return the error of a row lock, as often as one was ordered."""
        if self.locks.get(name, 0) <= 0:
            return None
        self.locks[name] -= 1
        text = "unable to obtain exclusive access to this record"
        if self.hide_locks:
            text = f"MyTrigger: execution of BeforeUpdate caused by: UNABLE_TO_LOCK_ROW, {text}"
            return problem(400, "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", text)
        return problem(400, "UNABLE_TO_LOCK_ROW", text)

    def drop(self, kind: str, name: str) -> None:
        """Put a record into the recycle bin."""
        self.bin[name] = (kind, self.rows[kind].pop(name))

    def twin(self, key: str, kind: str = "Contact") -> str:
        """Let a second record bear the same external id; return its id."""
        made = self.put(kind, None, {"LastName": "Twin", "Subject_Key__c": key}, forced=True)
        assert isinstance(made, str)
        return made

    def convert(self, key: str) -> str:
        """Convert a lead as somebody in sales does; return the id of its contact: it has no external id."""
        [name] = self.by_key("Lead", key)
        lead = self.rows["Lead"][name]
        moved = {f"Mailing{part}": lead.get(part) for part in _PLACE}
        kept = {
            each: lead.get(each)
            for each in ("FirstName", "LastName", "Email", "Phone", "Title", "Description")
        }
        made = self.put("Contact", None, {**kept, **moved}, forced=True)
        assert isinstance(made, str)
        lead.update({"IsConverted": True, "ConvertedContactId": made})
        return made

    def introduce(self, kind: str, key: str) -> str:
        """Give a record an Individual; return its id."""
        [name] = self.by_key(kind, key)
        row = self.rows[kind][name]
        made = self.put("Individual", None, {"LastName": row["LastName"]}, forced=True)
        assert isinstance(made, str)
        row["IndividualId"] = made
        return made
