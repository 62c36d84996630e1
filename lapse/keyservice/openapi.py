"""The OpenAPI document of the key endpoint: requests from the shapes that check them, answers written
here.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Any

import msgspec

from lapse.keyservice.shapes import MOST, AskedDelivery, GivenReceipt
from processors.messages import Status

_HEX = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
_TIME = {"type": "string", "format": "date-time"}
_REF = "#/components/schemas/"


def _object(**properties: Any) -> dict[str, Any]:
    """An object with exactly these properties, all of them always present."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


_CLOSED = _object(
    code={"type": "string", "description": "One of schemas/codes.json with kind `closed`."},
    cause={
        "enum": ["retention", "withdrawal", "objection", "erasure", "rectification", "recall", None],
        "description": "Why it ended, where that may be told.",
    },
    since={"anyOf": [_TIME, {"type": "null"}]},
)
_KEY = _object(
    n={"type": "integer"},
    key={
        "type": "string",
        "contentEncoding": "base64",
        "description": "The compartment's content key, 32 bytes; keep it no longer than you use it.",
    },
    use_until=_TIME,
)
_SHUT = _object(n={"type": "integer"}, closed={"$ref": f"{_REF}Closed"})
_ANSWERS: dict[str, Any] = {
    "Closed": _CLOSED,
    "Result": _object(
        delivery_id=_HEX,
        revision={"type": "integer"},
        compartments={"type": "array", "items": {"anyOf": [_KEY, _SHUT]}},
    ),
    "Keys": _object(as_of=_TIME, results={"type": "array", "items": {"$ref": f"{_REF}Result"}}),
    "Accepted": _object(receipt_ids={"type": "array", "items": _HEX}),
    "Health": _object(status={"const": "ok"}),
    "Schema": _object(schema={"type": "string"}),
    "SchemaError": _object(error_code={"type": "integer"}, message={"type": "string"}),
    "Problem": {
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
    },
}


def _answer(schema: str, about: str, media_type: str = "application/json") -> dict[str, Any]:
    return {"description": about, "content": {media_type: {"schema": {"$ref": f"{_REF}{schema}"}}}}


def _problems(*statuses: int) -> dict[str, Any]:
    about = {
        400: "The body is not of the shape stated; `pointer` says where.",
        401: "The bearer token is missing or not valid.",
        403: "The signature is missing, wrong or too old.",
        404: "Nothing of this name is awaited.",
        413: f"More than {MOST} entries, or too many bytes.",
        429: "Too many requests; see Retry-After.",
        503: "The vault does not answer; see Retry-After.",
    }
    return {str(s): _answer("Problem", about[s], "application/problem+json") for s in statuses}


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _entries(name: str, item: str) -> dict[str, Any]:
    return _object(**{name: {"type": "array", "maxItems": MOST, "items": {"$ref": f"{_REF}{item}"}}})


def _post(summary: str, body: dict[str, Any], answers: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"post": {"summary": summary, "requestBody": _body(body), "responses": answers, **more}}


def _get(summary: str, answers: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"get": {"summary": summary, "responses": answers, "security": [], **more}}


def _path(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": schema}


@cache
def document() -> dict[str, Any]:
    """Return the document (OpenAPI 3.1)."""
    _, asked = msgspec.json.schema_components(
        (AskedDelivery, GivenReceipt, Status), ref_template=f"{_REF}{{name}}"
    )
    registry = "application/vnd.schemaregistry.v1+json"
    usual = _problems(400, 401, 413, 429, 503)
    callback = _problems(400, 403, 404, 413, 503) | {"202": {"description": "Entered."}}
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
                usual
                | {"200": _answer("Keys", "One result per delivery; a compartment opens or is closed.")},
            ),
            "/v1/receipts": _post(
                "What became of deliveries and lapses",
                _entries("receipts", "GivenReceipt"),
                usual | {"202": _answer("Accepted", "The receipts are durable.")},
            ),
            "/v1/callbacks/{processor}/{object}": _post(
                "A business partner reports the state of an erasure (OpenDSR), signed (Standard Webhooks)",
                {"$ref": f"{_REF}Status"},
                callback,
                security=[],
                parameters=[_path("processor", {"type": "string"}), _path("object", {"type": "string"})],
            ),
            "/healthz": _get(
                "Does the vault answer", _problems(503) | {"200": _answer("Health", "It does.")}
            ),
            "/openapi.json": _get("This document", {"200": {"description": "OpenAPI 3.1"}}),
            "/schemas/ids/{id}": _get(
                "An Avro schema by its id, in the shape of Confluent's registry",
                {
                    "200": _answer("Schema", "The schema as JSON text.", registry),
                    "404": _answer("SchemaError", "There is none.", registry),
                },
                parameters=[_path("id", {"type": "integer"})],
            ),
        },
        "components": {
            "schemas": {**asked, **_ANSWERS},
            "securitySchemes": {"processor": {"type": "http", "scheme": "bearer"}},
        },
    }
