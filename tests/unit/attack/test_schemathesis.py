"""What the OpenAPI documents allow, and what they do not: every answer is one the documents state."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from lapse.admin.openapi import document as admin
from lapse.collector.openapi import document as collector
from lapse.keyservice.openapi import document as keys
from tests.unit.attack.flood import Target

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis comes with the locks: make setup")
from schemathesis import GenerationMode  # noqa: E402 - after the skip
from schemathesis.checks import not_a_server_error  # noqa: E402 - same
from schemathesis.specs.openapi.checks import (  # noqa: E402 - same
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

DOCUMENTS = {"collector": collector, "keys": keys, "admin": admin}
CHECKS = (status_code_conformance, content_type_conformance, response_schema_conformance)
FEW, MANY = 3, 100
"""Requests per operation and mode, in every run and in the soak; making them costs more than answering."""


def operations() -> list[tuple[str, str, str, str]]:
    """Mode, server, method and path of everything documented; wrong ones only where there is a wrong."""
    found = []
    for name, document in DOCUMENTS.items():
        for path, item in document()["paths"].items():
            for method, operation in item.items():
                found.append(("POSITIVE", name, method.upper(), path))
                if "requestBody" in operation or any(_strict(p) for p in operation.get("parameters", ())):
                    found.append(("NEGATIVE", name, method.upper(), path))
    return found


def _strict(parameter: Any) -> bool:
    """Whether a parameter can be wrong: any text is a string."""
    return "pattern" in parameter["schema"] or parameter["schema"].get("type") == "integer"


def headers(at: Target, name: str) -> dict[str, str]:
    """The right credential."""
    token = {"collector": "site_token", "keys": "processor", "admin": "admin"}[name]
    return {"Authorization": f"Bearer {at.given[token]}"}


@pytest.mark.parametrize(("mode", "name", "method", "path"), operations())
def test_every_answer_is_documented(attacked: Target, mode: str, name: str, method: str, path: str) -> None:
    """Status, media type and body are as the document says, for what it allows and for what it does not."""
    exercise(attacked, name, method, path, mode, FEW)


@pytest.mark.soak
@pytest.mark.parametrize(("mode", "name", "method", "path"), operations())
def test_every_answer_is_documented_many_times(
    attacked: Target, mode: str, name: str, method: str, path: str
) -> None:
    """The same, a hundred times each."""
    exercise(attacked, name, method, path, mode, MANY)


def narrowed(part: Any) -> Any:
    """The same document with short lists: five hundred random deliveries take seconds to think of."""
    if isinstance(part, dict):
        kept = {name: narrowed(each) for name, each in part.items()}
        return (
            kept | {"maxItems": min(kept["maxItems"], 2)} if isinstance(kept.get("maxItems"), int) else kept
        )
    return [narrowed(each) for each in part] if isinstance(part, list) else part


def exercise(at: Target, name: str, method: str, path: str, mode: str, examples: int) -> None:
    """Send so many generated requests of one operation."""
    scheme = "http" if name == "collector" else "https"
    base = f"{scheme}://localhost:{at.given['ports'][name]}"
    operation = schemathesis.openapi.from_dict(narrowed(DOCUMENTS[name]()))[path][method]
    verify: Any = False if name == "collector" else at.given["ca"]

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=GenerationMode[mode]))
    def send(case: Any) -> None:
        answer = case.call(base_url=base, headers=headers(at, name), verify=verify, allow_redirects=False)
        if answer.status_code != 503:  # nothing runs behind the admin API here
            case.validate_response(answer, checks=[not_a_server_error])
        case.validate_response(answer, checks=list(CHECKS))

    send()
