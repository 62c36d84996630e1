"""Holds requests to Mailchimp, and the stand-in's answers, against Mailchimp's own description.

`openapi-core` judges paths, parameters, bodies and answers. It takes names that are not described for
additional ones, and sees no body where none is described: both are looked at here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

import pytest

from tests.support.beside import Exchange


class MailchimpJudge:
    """One description; `seen` are the operations that were judged, ids left out."""

    def __init__(self, spec: dict[str, Any]) -> None:
        core = pytest.importorskip("openapi_core", reason="openapi-core is not installed: make setup")
        self._testing = pytest.importorskip("openapi_core.testing")
        self._error = pytest.importorskip("openapi_core.exceptions").OpenAPIError
        spec["servers"] = [{"url": "/"}]
        problems = {"application/problem+json": json.loads}
        config = core.Config(spec_validator_cls=None, extra_media_type_deserializers=problems)
        self._openapi = core.OpenAPI.from_dict(spec, config=config)
        self._paths = {
            re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)): operations
            for path, operations in spec["paths"].items()
        }
        self.seen: set[str] = set()

    async def __call__(self, of: Exchange) -> list[str]:
        """Return what does not fit."""
        where = f"{of.method} {re.sub('[0-9a-f]{32}', 'X', of.path)}"
        self.seen.add(where)
        empty: dict[str, Any] = {}
        found = next((o for path, o in self._paths.items() if path.fullmatch(of.path)), empty)
        operation = found.get(of.method.lower())
        if operation is None:
            return [f"{where}: no such operation"]
        wrong = [*self._names(operation, of), *self._schemas(of)]
        return [f"{where} ({of.status}): {each}" for each in wrong]

    def _schemas(self, of: Exchange) -> list[str]:
        query = {name: values[0] for name, values in parse_qs(of.target.partition("?")[2]).items()}
        request = self._testing.MockRequest(
            "http://localhost",
            of.method.lower(),
            of.path,
            args=query,
            headers=dict(of.headers),
            data=of.body or None,
            content_type=of.headers.get("Content-Type", "application/json").partition(";")[0],
        )
        answer = self._testing.MockResponse(of.answer, status_code=of.status, content_type=of.content_type)
        found = []
        judges: dict[str, Callable[[], object]] = {
            "request": lambda: self._openapi.validate_request(request),
            "answer": lambda: self._openapi.validate_response(request, answer),
        }
        for what, judge in judges.items():
            try:
                judge()
            except self._error as error:
                found.append(f"{what}: {error} {_why(error)}")
        return found

    def _names(self, operation: Mapping[str, Any], of: Exchange) -> list[str]:
        known = {p["name"] for p in operation.get("parameters", []) if p["in"] == "query"}
        asked = parse_qs(of.target.partition("?")[2], keep_blank_values=True)
        found = [f"no parameter {name}" for name in asked if name not in known]
        described = operation.get("requestBody")
        if described is None:
            return [*found, "a body where none is described"] if of.body else found
        [content] = described["content"].values()
        body = json.loads(of.body)
        return [*found, *(f"no field {name}" for name in body if name not in content["schema"]["properties"])]


def _why(error: BaseException) -> str:
    """The causes below an error, and what a schema said."""
    texts, cause = list[str](), error.__cause__
    while cause is not None:
        texts += [str(cause), *(each.message for each in getattr(cause, "schema_errors", ()))]
        cause = cause.__cause__
    return "; ".join(texts)
