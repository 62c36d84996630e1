"""The admin API: who may ask what, and what an installation that does not open looks like from outside."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lapse.admin import create_app
from lapse.layout import Layout
from lapse.main import Installation
from schemas.errors import NotFound, Unavailable
from tests.unit.processors.asgi import Client

EVENT = "00" * 16


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None, int]]:
    """Who asked for which event, as which site, on which thread."""
    seen: list[tuple[str, str | None, int]] = []

    def outcome(_here: Installation, event: str, site: str | None) -> dict[str, Any]:
        seen.append((event, site, threading.get_ident()))
        return {"event_id": event, "outcome": "routed", "code": None}

    monkeypatch.setattr("lapse.records.outcome_of_event", outcome)
    return seen


def opening(root: Path) -> tuple[Layout, Callable[[], Installation]]:
    """An installation of one site, as far as the admin API looks at it."""
    layout = Layout(root)
    path = layout.credentials("sites", "www")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"key": "sk_www_1", "token": "st_www_1"}))
    layout.admin_token.write_text("la_1\n")

    def version(_number: int) -> None:
        raise NotFound("not_found", "no such version")

    plans = SimpleNamespace(latest=SimpleNamespace(sites={"www": None}), version=version)
    here = SimpleNamespace(layout=layout, plans=plans, close=lambda: None)
    return layout, lambda: cast(Installation, here)


@pytest.mark.parametrize(
    ("token", "status", "site"),
    [("la_1", 200, None), ("st_www_1", 200, "www"), ("sk_www_1", 401, None), ("", 401, None)],
)
def test_an_event_is_told_to_admin_and_site(
    tmp_path: Path, asked: list[Any], token: str, status: int, site: str | None
) -> None:
    """The admin asks for every site, a site for its own; the public key and silence open nothing."""
    client = Client(create_app(*opening(tmp_path)))
    answer = client.get(f"/v1/events/{EVENT}", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == status
    assert [each[1] for each in asked] == ([site] if status == 200 else [])


@pytest.mark.parametrize("sent", [{}, {"Authorization": "Bearer "}, {"Authorization": "Bearer"}])
def test_emptied_tokens_let_nobody_in(tmp_path: Path, asked: list[Any], sent: dict[str, str]) -> None:
    """A token's file that was emptied matches no request, also none without a token."""
    layout, open_here = opening(tmp_path)
    layout.admin_token.write_text("\n")
    layout.credentials("sites", "www").write_text(json.dumps({"key": "sk_www_1", "token": ""}))
    assert Client(create_app(layout, open_here)).get(f"/v1/events/{EVENT}", headers=sent).status_code == 401
    assert asked == []


def test_work_leaves_the_loop_alone(tmp_path: Path, asked: list[Any]) -> None:
    """The key endpoint answers on the same loop: nothing that blocks may run there."""
    client = Client(create_app(*opening(tmp_path)))
    client.get(f"/v1/events/{EVENT}", headers={"Authorization": "Bearer la_1"})
    assert asked[0][2] != threading.get_ident()


def test_an_installation_that_does_not_open_is_unavailable(tmp_path: Path) -> None:
    """A vault that is away is 503 and a problem document, not a bug."""

    def away() -> Installation:
        raise Unavailable("unavailable", "the vault does not answer")

    answer = Client(create_app(Layout(tmp_path), away)).get("/v1/plans/1")
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:lapse:error:unavailable")


@pytest.mark.parametrize(("version", "status"), [("1", 404), ("x", 400), ("9" * 5000, 400)])
def test_plans_of_versions_nobody_published(tmp_path: Path, version: str, status: int) -> None:
    """Each way to ask for nothing has its status."""
    assert Client(create_app(*opening(tmp_path))).get(f"/v1/plans/{version}").status_code == status
