"""What Salesforce's answers mean: error codes, retry classes, ids.

Pure. Source: REST API Developer Guide, "Status Codes and Error Responses" and "sObject Rows by External ID".
"""

from __future__ import annotations

import re

from processors.answers import Answer, Pause, Permanent, Refresh, Retry
from processors.backoff import retry_after
from processors.http import LOOK_AGAIN, Reply
from schemas.ids import Micros
from schemas.times import SECOND

LIMIT = Micros(900 * SECOND)
"""How long an org whose calls are used up is left alone: the 24 hours roll, so some come back soon."""
ID = re.compile(r"[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?", re.ASCII)
"""A record's id."""
CONVERTED = "CANNOT_UPDATE_CONVERTED_LEAD"
MISSING = "REQUIRED_FIELD_MISSING"
_GONE = frozenset({"NOT_FOUND", "ENTITY_IS_DELETED", "INVALID_CROSS_REFERENCE_KEY"})
_LOCKED = "UNABLE_TO_LOCK_ROW"
_NO_FIELD = "external id field"


def errors(reply: Reply) -> list[tuple[str, str]]:
    """Return (code, message) of each error; empty where the body is not Salesforce's."""
    found = reply.json
    if not isinstance(found, list):
        return []
    return [
        (str(each["errorCode"]), str(each.get("message", "")))
        for each in found
        if isinstance(each, dict) and "errorCode" in each
    ]


def codes(reply: Reply) -> frozenset[str]:
    """Return the error codes of an answer."""
    return frozenset(code for code, _ in errors(reply))


def hidden(reply: Reply) -> bool:
    """Return whether the field that should name our objects is not there, or not for this user."""
    return reply.status in (400, 404) and any(_NO_FIELD in message.lower() for _, message in errors(reply))


def gone(reply: Reply) -> bool:
    """Return whether there is no such record (any more); a missing field is no missing record."""
    return reply.status in (400, 404) and bool(codes(reply) & _GONE) and not hidden(reply)


def missing_fields(reply: Reply) -> frozenset[str]:
    """Return the mandatory fields that a creation lacked."""
    found = reply.json
    if reply.status != 400 or not isinstance(found, list):
        return frozenset()
    return frozenset(
        str(name)
        for each in found
        if isinstance(each, dict) and each.get("errorCode") == MISSING
        for name in each.get("fields") or ()
    )


def refusal(reply: Reply) -> Answer:
    """Return what an answer without success means; only Salesforce's own error may refuse for good."""
    status, said = reply.status, errors(reply)
    named, wish = {code for code, _ in said}, retry_after(reply.headers.get("retry-after"), None)
    if any(_LOCKED in code or _LOCKED in message for code, message in said):
        return Retry(code="vendor_busy", landed=False)  # also inside CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY
    if "REQUEST_LIMIT_EXCEEDED" in named or "STORAGE_LIMIT_EXCEEDED" in named:
        return Pause(code="vendor_busy", after=LIMIT)
    if status == 401:
        return Refresh(code="vendor_login")
    if hidden(reply) or (status == 403 and not any(c.startswith("INSUFFICIENT_ACCESS") for c in named)):
        return Pause(code="vendor_login", after=LOOK_AGAIN)
    if 301 <= status < 400:
        return Pause(code="vendor_redirect", after=LOOK_AGAIN)
    if status in (409, 429):
        return Retry(code="vendor_busy", after=wish, landed=status == 409)
    if status >= 500:
        return Retry(code="vendor_down", after=wish)
    if status == 300 or said:
        return Permanent(code="vendor_refused", evidence=reply.evidence())
    return Retry(code="vendor_answer")


def several(reply: Reply) -> list[str]:
    """Return the ids that a 300 names, one URL each."""
    found = reply.json
    urls = [str(each) for each in found] if isinstance(found, list) else []
    return [name for url in urls if ID.fullmatch(name := url.rpartition("/")[2])]


def record_id(value: object) -> str | None:
    """Return a record's id, None where it is none."""
    return value if isinstance(value, str) and ID.fullmatch(value) else None
