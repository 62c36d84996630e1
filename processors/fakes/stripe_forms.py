"""Stripe's customer object and the parameters it takes: strict, as the real one is."""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web
from multidict import MultiDictProxy

_PLAIN = {"email": 512, "name": 256, "phone": 20, "description": 5000}
_ADDRESS = ("city", "country", "line1", "line2", "postal_code", "state")
_NAME = re.compile(r"([a-z_0-9]+)(?:\[([^\[\]]{1,40})\])?")
_MAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


def customer(name: str, created: int) -> dict[str, Any]:
    """Return a customer with nothing set."""
    empty: dict[str, Any] = dict.fromkeys(_PLAIN)
    return {
        "id": name,
        "object": "customer",
        "address": None,
        "created": created,
        "livemode": False,
        "metadata": {},
        **empty,
    }


def problem(status: int, kind: str, code: str | None, message: str = "no") -> web.Response:
    """Return an error in Stripe's shape."""
    error = {"type": kind, "message": message, **({"code": code} if code else {})}
    return web.json_response({"error": error}, status=status)


def put(found: dict[str, Any], form: MultiDictProxy[Any]) -> web.Response | None:
    """Set parameters on a customer; what is wrong with them otherwise, and then nothing may be kept.

    An address is set whole: a part that is not sent is empty afterwards.
    """
    address: dict[str, str | None] = {}
    for name, value in form.items():
        parts = _NAME.fullmatch(name)
        head, inner = parts.groups() if parts else ("", None)
        if head == "metadata" and inner and len(value) <= 500:
            if value:
                found["metadata"][inner] = value
            else:
                found["metadata"].pop(inner, None)
        elif head == "address" and inner in _ADDRESS:
            address[inner] = value or None
        elif head in _PLAIN and inner is None:
            if len(value) > _PLAIN[head] or (head == "email" and value and not _MAIL.fullmatch(value)):
                return problem(400, "invalid_request_error", f"{head}_invalid")
            found[head] = value or None
        else:
            return problem(400, "invalid_request_error", "parameter_unknown")
    if address:
        whole = {part: address.get(part) for part in _ADDRESS}
        found["address"] = whole if any(whole.values()) else None
    return None
