"""The three OpenAPI documents: each says exactly what its server takes, and points nowhere it does not go."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from lapse.admin.app import create_app as admin_app
from lapse.admin.openapi import document as admin
from lapse.collector.app import routes
from lapse.collector.openapi import document as collector
from lapse.keyservice.app import create_app as keys_app
from lapse.keyservice.openapi import document as keys
from lapse.layout import Layout
from schemas.codes import CODES
from tests.unit.processors.world import World


def served(app: Starlette) -> dict[str, frozenset[str]]:
    """Paths and methods of an application's routes; HEAD comes with every GET."""
    found = [cast(Route, route) for route in app.routes]
    return {route.path: frozenset(route.methods or ()) - {"HEAD"} for route in found}


def documented(document: dict[str, Any]) -> dict[str, frozenset[str]]:
    """Paths and methods a document names."""
    return {path: frozenset(method.upper() for method in item) for path, item in document["paths"].items()}


def test_key_endpoint_and_admin_document_every_route_and_no_other(tmp_path: Path) -> None:
    """Path by path and method by method."""
    world = World()
    assert documented(keys()) == served(keys_app(world.vault, world.book.within))
    assert documented(admin()) == served(admin_app(Layout(tmp_path), lambda: pytest.fail("opened")))


def test_the_collector_documents_every_route_and_no_other() -> None:
    """A prefix stands for the one parameter behind it; pixels are answered before any route is looked for."""
    said = {re.sub(r"\{.*", "", path): methods for path, methods in documented(collector()).items()}
    assert said == {**routes(), "/o/": frozenset({"GET", "HEAD"})}


def references(part: Any) -> Iterator[str]:
    """Every `$ref` in a document."""
    if isinstance(part, dict):
        yield from ([part["$ref"]] if "$ref" in part else [])
        for each in part.values():
            yield from references(each)
    elif isinstance(part, list):
        for each in part:
            yield from references(each)


@pytest.mark.parametrize("document", [collector, keys, admin], ids=["collector", "keys", "admin"])
def test_every_reference_leads_to_a_schema_and_every_schema_is_used(document: Any) -> None:
    """No dangling and no dead part; and the version is the package's."""
    written = document()
    named = {each.removeprefix("#/components/schemas/") for each in references(written)}
    assert named == set(written["components"]["schemas"])
    assert written["openapi"] == "3.1.0"


def test_what_the_protocol_itself_refuses_has_a_code_of_the_table() -> None:
    """The codes written past the applications are documented ones."""
    assert {"malformed", "timeout", "too_large", "unavailable"} <= set(CODES)
