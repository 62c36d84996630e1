"""Pieces of OpenAPI documents (3.1), shared by the collector, the key endpoint and the admin API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

REF = "#/components/schemas/"
HEX16 = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
TIME = {"type": "string", "format": "date-time"}
PROBLEM_TYPE = "application/problem+json"
Part = dict[str, Any]


def shape(**properties: Any) -> Part:
    """An object with exactly these properties, all of them always present."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


PROBLEM: Part = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "pattern": "^urn:lapse:error:[a-z_]+$"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "pointer": {"type": "string"},
    },
    "required": ["type", "title", "status", "detail"],
    "additionalProperties": False,
}
"""RFC 9457 problem details, the one shape of every error."""


def ref(schema: str) -> Part:
    """A reference to a schema of the document."""
    return {"$ref": f"{REF}{schema}"}


def answer(schema: str, about: str, media_type: str = "application/json") -> Part:
    """A response with a body of this schema."""
    return {"description": about, "content": {media_type: {"schema": ref(schema)}}}


def problems(about: Mapping[int, str], *statuses: int) -> Part:
    """The errors an operation answers with; `about` says of each status what it means here."""
    return {str(status): answer("Problem", about[status], PROBLEM_TYPE) for status in statuses}


_ANYWHERE = {
    400: "Not a well-formed HTTP request, or no path.",
    408: "The headers did not come in time.",
    431: "The headers are too large.",
}


def operation(method: str, summary: str, answers: Part, **more: Any) -> Part:
    """One operation of a path; what the HTTP protocol itself may answer is added."""
    return {method: {"summary": summary, "responses": problems(_ANYWHERE, *_ANYWHERE) | answers, **more}}


def in_path(name: str, schema: Part) -> Part:
    """A parameter in the path."""
    return {"name": name, "in": "path", "required": True, "schema": schema}


def in_query(name: str, schema: Part, about: str) -> Part:
    """An optional parameter of the query."""
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": about}
