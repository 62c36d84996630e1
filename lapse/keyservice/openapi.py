"""The key endpoint's OpenAPI document: requests from the shapes that check them, answers written here."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Any

import msgspec

from lapse.keyservice.shapes import MOST, AskedDelivery, GivenReceipt
from lapse.openapi import HEX16, PROBLEM, REF, TIME, Part, answer, in_path, operation, problems, shape
from processors.messages import Status

_CLOSED = shape(
    code={"type": "string", "description": "One of schemas/codes.json with kind `closed`."},
    cause={
        "enum": ["retention", "withdrawal", "objection", "erasure", "rectification", "recall", None],
        "description": "Why it ended, where that may be told.",
    },
    since={"anyOf": [TIME, {"type": "null"}]},
)
_KEY = shape(
    n={"type": "integer"},
    key={
        "type": "string",
        "contentEncoding": "base64",
        "description": "The compartment's content key, 32 bytes; keep it no longer than you use it.",
    },
    use_until=TIME,
)
_SHUT = shape(n={"type": "integer"}, closed={"$ref": f"{REF}Closed"})
_ANSWERS: Part = {
    "Closed": _CLOSED,
    "Result": shape(
        delivery_id=HEX16,
        revision={"type": "integer"},
        compartments={"type": "array", "items": {"anyOf": [_KEY, _SHUT]}},
    ),
    "Keys": shape(as_of=TIME, results={"type": "array", "items": {"$ref": f"{REF}Result"}}),
    "Accepted": shape(receipt_ids={"type": "array", "items": HEX16}),
    "Health": shape(status={"const": "ok"}),
    "Schema": shape(schema={"type": "string"}),
    "SchemaError": shape(error_code={"type": "integer"}, message={"type": "string"}),
    "Problem": PROBLEM,
}
_ABOUT = {
    400: "The body is not of the shape stated; `pointer` says where.",
    401: "The bearer token is missing or not valid.",
    403: "The signature is missing, wrong or too old.",
    404: "Nothing of this name is awaited.",
    413: f"More than {MOST} entries, or too many bytes.",
    429: "Too many requests; see Retry-After.",
    503: "The vault does not answer; see Retry-After.",
}


_PROCESSOR = {"type": "string", "pattern": "^[a-z][a-z0-9-]{0,39}$"}


def _body(schema: Part) -> Part:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _entries(name: str, item: str) -> Part:
    return shape(**{name: {"type": "array", "maxItems": MOST, "items": {"$ref": f"{REF}{item}"}}})


def _post(summary: str, body: Part, answers: Part, **more: Any) -> Part:
    return operation("post", summary, answers, requestBody=_body(body), **more)


def _get(summary: str, answers: Part, **more: Any) -> Part:
    return operation("get", summary, answers, security=[], **more)


@cache
def document() -> Part:
    """Return the document (OpenAPI 3.1)."""
    _, asked = msgspec.json.schema_components(
        (AskedDelivery, GivenReceipt, Status), ref_template=f"{REF}{{name}}"
    )
    registry = "application/vnd.schemaregistry.v1+json"
    usual = problems(_ABOUT, 400, 401, 413, 429, 503)
    callback = problems(_ABOUT, 400, 403, 404, 413, 503) | {"202": {"description": "Entered."}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Lapse key endpoint",
            "version": version("lapse"),
            "description": "Keys at the moment of use. Ask at every attempt; keep neither key nor text.",
        },
        "security": [{"processor": []}],
        "paths": {
            "/v1/keys": _post(
                "Keys of deliveries, in the order asked",
                _entries("deliveries", "AskedDelivery"),
                usual | {"200": answer("Keys", "One result per delivery; a compartment opens or is closed.")},
            ),
            "/v1/receipts": _post(
                "What became of deliveries and lapses",
                _entries("receipts", "GivenReceipt"),
                usual | {"202": answer("Accepted", "The receipts are durable.")},
            ),
            "/v1/callbacks/{processor}/{object}": _post(
                "A business partner reports the state of an erasure (OpenDSR), signed (Standard Webhooks)",
                {"$ref": f"{REF}Status"},
                callback,
                security=[],
                parameters=[in_path("processor", {"type": "string"}), in_path("object", {"type": "string"})],
            ),
            "/in/{processor}": {
                **operation(
                    "post",
                    "A recipient says something, authenticated as its vendor does it",
                    problems(_ABOUT, 400, 403, 404, 413, 429, 503)
                    | {
                        "200": {"description": "Heard; the answer the vendor asked for, as JSON."},
                        "202": {"description": "Heard, and durable."},
                    },
                    security=[],
                    parameters=[in_path("processor", _PROCESSOR)],
                    requestBody={"content": {"*/*": {}}},
                ),
                **_get(
                    "Is this recipient listened to",
                    problems(_ABOUT, 404, 503) | {"200": {"description": "It is."}},
                    parameters=[in_path("processor", _PROCESSOR)],
                ),
            },
            "/healthz": _get(
                "Does the vault answer", problems(_ABOUT, 503) | {"200": answer("Health", "It does.")}
            ),
            "/openapi.json": _get("This document", {"200": {"description": "OpenAPI 3.1"}}),
            "/schemas/ids/{id}": _get(
                "An Avro schema by its id, in the shape of Confluent's registry",
                {
                    "200": answer("Schema", "The schema as JSON text.", registry),
                    "404": answer("SchemaError", "There is none.", registry),
                },
                parameters=[in_path("id", {"type": "integer"})],
            ),
        },
        "components": {
            "schemas": {**asked, **_ANSWERS},
            "securitySchemes": {"processor": {"type": "http", "scheme": "bearer"}},
        },
    }
