"""The OpenAPI document of the collector: what a publisher may send, and every answer there is."""

from functools import cache
from importlib.metadata import version
from typing import Any

from lapse.openapi import (
    HEX16,
    PROBLEM,
    TIME,
    Part,
    answer,
    in_path,
    in_query,
    operation,
    problems,
    ref,
    shape,
)
from schemas.policy_words import RIGHTS

_TEXT = {"type": "string", "maxLength": 32_768}
_NAME = {"type": "string", "maxLength": 256}
_INSTANT = {
    "anyOf": [TIME, {"type": "integer"}],
    "description": "RFC 3339 with its offset, or microseconds since 1970.",
}
_STORED = {"enum": ["kafka", "spool"]}


def _loose(**properties: Any) -> Part:
    """An object with some of these properties and no others."""
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _list(of: Part, most: int) -> Part:
    return {"type": "array", "items": of, "maxItems": most}


_CONSENTS = _list(ref("Consent"), 200)
_SIGNALS = _list({"type": "string", "pattern": "^[a-z][a-z0-9_]{0,31}(:[a-z0-9_-]{1,32})?$"}, 10)
_TEXTS = {"type": "object", "additionalProperties": _TEXT, "maxProperties": 200}
_SCHEMAS: Part = {
    "Consent": _loose(purpose=_NAME, granted={"type": "boolean"}, notice=_NAME)
    | {"required": ["purpose", "granted"]},
    "Form": _loose(
        event_id=HEX16,
        fields=_TEXTS,
        consents=_CONSENTS,
        notice=_NAME,
        signals=_SIGNALS,
        collected_at=_INSTANT,
        backfill={"type": "boolean"},
        nonce=_NAME,
        rendered_at=_INSTANT,
    ),
    "Pairs": {"type": "object", "additionalProperties": {"type": "string"}},
    "Event": _loose(
        event_id=HEX16,
        collected_at=_INSTANT,
        site=_NAME,
        cookie_id=_TEXT,
        name=_NAME,
        url=_TEXT,
        referrer=_TEXT,
        ip=_TEXT,
        user_agent=_TEXT,
        properties=_TEXTS,
        consents=_CONSENTS,
        notice=_NAME,
        signals=_SIGNALS,
    )
    | {"required": ["name", "url"]},
    "Events": _loose(events=_list(ref("Event"), 50)),
    "Identifier": shape(kind={"enum": ["email", "cookie", "phone", "account", "token"]}, value=_NAME),
    "Signal": _loose(
        event_id=HEX16,
        collected_at=_INSTANT,
        identifiers=_list(ref("Identifier"), 200),
        cookie_id=_NAME,
        via={"enum": ["banner", "unsubscribe", "form", "gpc"]},
        notice=_NAME,
        consents=_CONSENTS,
        body={"anyOf": [ref("ConsentStated"), ref("RightsRequested"), ref("AnchorReached")]},
    ),
    "ConsentStated": shape(type={"const": "ConsentStated"}, consents=_CONSENTS),
    "RightsRequested": _loose(
        type={"const": "RightsRequested"}, right={"enum": list(RIGHTS)}, purposes=_list(_NAME, 200)
    )
    | {"required": ["type", "right"]},
    "AnchorReached": shape(type={"const": "AnchorReached"}, anchor=_NAME, reached_at=_INSTANT),
    "OneClick": shape(**{"List-Unsubscribe": {"const": "One-Click"}}),
    "Accepted": shape(event_id=HEX16, stored=_STORED),
    "Heard": _loose(event_id=HEX16, stored=_STORED, request_id=HEX16) | {"required": ["event_id", "stored"]},
    "Batch": shape(event_ids={"type": "array", "items": HEX16}, stored=_STORED),
    "Foreseen": {
        "type": "object",
        "properties": {"dry_run": {"const": True}},
        "required": ["dry_run"],
    },
    "Policy": shape(
        version={"type": "integer"},
        effective=TIME,
        sites={"type": "array", "items": {"type": "string"}},
        purposes={"type": "array", "items": {"type": "string"}},
        sources={"type": "object"},
        pixel_mode={"type": "string"},
    ),
    "Alive": shape(alive={"const": True}),
    "Ready": shape(ready={"type": "boolean"}, spooling={"type": "boolean"}),
    "Gpc": shape(gpc={"const": True}, lastUpdate={"type": "string", "format": "date"}),
    "Problem": PROBLEM,
}
_ABOUT = {
    400: "Malformed JSON, header or query.",
    401: "The credential is missing or not a site's, or only a server may say this.",
    404: "The policy knows no such form of this site, or no mail carries this token.",
    408: "The body did not come in time.",
    411: "The body has no length.",
    413: "Over 64 KiB, 200 fields or 50 events.",
    415: "Not a media type taken here, or a content encoding.",
    422: "A field, purpose or shape the policy does not know; `pointer` says where.",
    429: "Over the rate of this network; see Retry-After.",
    503: "There is nowhere to keep it; see Retry-After.",
}
_TAKES = (400, 401, 404, 408, 411, 413, 415, 422, 429, 503)
_DRY = in_query("dry_run", {"enum": ["0", "1"]}, "1: say what would happen, publish nothing.")


def _body(schema: str, *media: str) -> Part:
    return {"required": True, "content": {each: {"schema": ref(schema)} for each in media}}


def _takes(method: str, summary: str, body: Part, answers: Part, *parameters: Part) -> Part:
    errors = problems(_ABOUT, *_TAKES)
    return operation(method, summary, answers | errors, requestBody=body, parameters=[_KEY_SENT, *parameters])


_KEY_SENT = {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 256}}


def _gives(summary: str, schema: str, about: str, **more: Any) -> Part:
    return operation("get", summary, {"200": answer(schema, about)}, security=[], **more)


def _form() -> Part:
    content = _body("Form", "application/json")
    pairs = _body("Pairs", "application/x-www-form-urlencoded", "multipart/form-data")
    content["content"] |= pairs["content"]
    answers = {
        "200": answer("Foreseen", "A dry run: what would become of it."),
        "202": answer("Accepted", "It is durable."),
        "303": {"description": "It is durable; a plain HTML post goes on to the form's page."},
    }
    return _takes("post", "A submitted form", content, answers, in_path("form", _NAME), _DRY)


def _events() -> Part:
    answers = {
        "200": answer("Foreseen", "A dry run: what would become of them."),
        "202": answer("Batch", "They are durable; these are their ids (`ids=1`)."),
        "204": {"description": "They are durable."},
    }
    ids = in_query("ids", {"enum": ["0", "1"]}, "1: answer with the ids.")
    body = _body("Events", "application/json", "text/plain")
    return _takes("post", "Browser events, at most 50", body, answers, _DRY, ids)


def _signal(method: str) -> Part:
    body = _body("Signal", "application/json", "text/plain")
    return _takes(
        method,
        "Consent stated outside a form, a right asked for, or an anchor reached",
        body,
        {"202": answer("Heard", "Durable; a right asked for has a `request_id`.")},
    )


def _unsubscribe() -> Part:
    page = {"description": "The page behind the link; it changes nothing.", "content": {"text/html": {}}}
    token = {"parameters": [in_path("token", {"type": "string"})], "security": []}
    errors = problems(_ABOUT, 400, 404, 408, 411, 413, 415, 422, 503)
    body = _body("OneClick", "application/x-www-form-urlencoded", "multipart/form-data")
    post = {"200": answer("Accepted", "Withdrawn."), **errors}
    return {
        **operation("get", "Ask before unsubscribing", {"200": page}, **token),
        **operation("post", "One click (RFC 8058)", post, requestBody=body, **token),
    }


def _pixel() -> Part:
    gif = {"200": {"description": "Always the same 43 bytes.", "content": {"image/gif": {}}}}
    more: Part = {"parameters": [in_path("token", {"type": "string"})], "security": []}
    return operation("get", "A clear gif", gif, **more) | operation("head", "Its headers", gif, **more)


@cache
def document() -> Part:
    """Return the document (OpenAPI 3.1); browsers' preflights (OPTIONS) are answered besides."""
    ready = {"200": answer("Ready", "It takes events."), "503": answer("Ready", "It does not.")}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Lapse collector",
            "version": version("lapse"),
            "description": "Takes events in, and answers once they are durable.",
        },
        "security": [{"key": []}, {"header": []}, {"server": []}],
        "paths": {
            "/f/{form}": _form(),
            "/e": _events(),
            "/s": _signal("post"),
            "/c": _signal("post") | _signal("put"),
            "/u/{token}": _unsubscribe(),
            "/o/{token}.gif": _pixel(),
            "/policy": _gives("The policy, as publishers need it", "Policy", "As public as the policy."),
            "/healthz": _gives("Does the process live", "Alive", "It does."),
            "/readyz": operation("get", "Would an event find a place", ready, security=[]),
            "/.well-known/gpc.json": _gives("Global Privacy Control", "Gpc", "The sites abide by it."),
            "/openapi.json": operation(
                "get", "This document", {"200": {"description": "OpenAPI 3.1"}}, security=[]
            ),
        },
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "query", "name": "k"},
                "header": {"type": "apiKey", "in": "header", "name": "X-Lapse-Site-Key"},
                "server": {"type": "http", "scheme": "bearer"},
            },
        },
    }
