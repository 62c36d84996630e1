"""The OpenAPI document of the admin API."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Any, get_args

from lapse.openapi import HEX16, PROBLEM, TIME, Part, answer, in_path, operation, problems, shape
from schemas.models import Cause, Outcome
from vault.tasks import ScopeName, State, TaskKind

_COUNT = {"type": "integer", "minimum": 0}
_NAMED: Part = {"type": "array", "items": {"type": "object"}}
_ANSWERS: Part = {
    "Health": shape(status={"const": "ok"}),
    "Lag": shape(
        total=_COUNT,
        groups={
            "type": "object",
            "additionalProperties": {"type": "object", "additionalProperties": _COUNT},
        },
        outbox=_COUNT,
        spool=_COUNT,
    ),
    "Tasks": shape(
        tasks={
            "type": "array",
            "items": shape(
                task={"type": "string"},
                processor={"type": "string"},
                state={"enum": list(get_args(State))},
                kind={"enum": [*get_args(TaskKind), None]},
                cause={"enum": [*get_args(Cause), None]},
                about={"enum": list(get_args(ScopeName))},
                purposes={"type": "array", "items": {"type": "string"}},
                since=TIME,
                due=TIME,
            ),
        }
    ),
    "Event": shape(
        event_id=HEX16,
        outcome={"enum": list(get_args(Outcome))},
        code={"anyOf": [{"type": "string"}, {"type": "null"}]},
    ),
    "Plan": shape(
        policy={"type": "integer"},
        sha256={"type": "string", "pattern": "^[0-9a-f]{64}$"},
        purposes=_NAMED,
        categories=_NAMED,
        processors=_NAMED,
        sources=_NAMED,
        mask={"type": "string"},
    ),
    "Problem": PROBLEM,
}
_ABOUT = {
    400: "Not an event id of 32 hexadecimal digits, or not a version number.",
    401: "The bearer token is missing, or neither the admin's nor a site's.",
    404: "Nothing is decided for this event of this site, or no such version was published.",
    503: "Vault or broker do not answer; see Retry-After.",
}


def _get(summary: str, schema: str, about: str, *statuses: int, **more: Any) -> Part:
    answers = {"200": answer(schema, about), **problems(_ABOUT, *statuses)}
    return operation("get", summary, answers, **more)


@cache
def document() -> Part:
    """Return the document (OpenAPI 3.1)."""
    anyone: Part = {"security": []}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Lapse admin API",
            "version": version("lapse"),
            "description": "What operators' tools and sites may ask; nothing in it is a person's.",
        },
        "security": [{"admin": []}],
        "paths": {
            "/healthz": _get("Does the process live", "Health", "It does.", **anyone),
            "/openapi.json": operation(
                "get", "This document", {"200": {"description": "OpenAPI 3.1"}}, **anyone
            ),
            "/v1/lag": _get("What is still on its way", "Lag", "0 is a quiet point.", 401, 503),
            "/v1/tasks": _get(
                "What somebody has to do because a recipient did not answer as it should",
                "Tasks",
                "The longest due first; nothing in it names a person.",
                *(401, 503),
            ),
            "/v1/events/{event}": _get(
                "What became of an event: all of them for the admin, a site's own for the site",
                "Event",
                "Outcome and code, folded.",
                *(400, 401, 404, 503),
                parameters=[in_path("event", HEX16)],
                security=[{"admin": []}, {"site": []}],
            ),
            "/v1/plans/{version}": _get(
                "What the numbers in records of a policy version mean",
                "Plan",
                "Purposes, categories, processors and sources by number.",
                *(400, 404, 503),
                parameters=[in_path("version", {"type": "integer", "minimum": 1, "maximum": 10**9 - 1})],
                **anyone,
            ),
        },
        "components": {
            "schemas": _ANSWERS,
            "securitySchemes": {
                "admin": {"type": "http", "scheme": "bearer"},
                "site": {"type": "http", "scheme": "bearer"},
            },
        },
    }
