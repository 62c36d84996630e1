"""What roles read follows the policies, also those published while they run."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import policies
from lapse import subscriptions
from lapse.layout import Layout
from schemas.errors import Unavailable
from schemas.plan import Plans, PolicyPlan
from schemas.policy import compile_plan, load

TEXT = (Path(next(iter(policies.__path__))) / "demo.yaml").read_text(encoding="utf-8")


def plan(**changes: Any) -> PolicyPlan:
    """The demo's policy, changed."""
    return compile_plan(load(TEXT, where="policy").model_copy(update=changes))


def test_a_dropped_recipient_still_hears_what_it_has_to_erase() -> None:
    """It holds what it was given under the older version; somebody must call it when that ends."""
    kept = {key: value for key, value in load(TEXT, where="policy").processors.items() if key != "partner"}
    later = plan(version=9, processors=kept)
    assert "partner" not in later.processor_numbers
    assert "partner" in {
        each.name for each in subscriptions.recipients(Plans([plan(), later]), Layout(Path("nowhere")))
    }


async def test_a_role_leaves_when_it_has_to_read_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for a version that asks for nothing new, and not because the vault is busy for a moment."""
    monkeypatch.setattr(subscriptions, "RENEW_SECONDS", 0.001)
    more = load(TEXT, where="policy").horizons
    more = {**more, "longest": more["long"]}
    published, left = [plan()], asyncio.Event()
    busy = iter([False, True])

    def now() -> Plans:
        if next(busy, False):
            raise Unavailable("unavailable", "busy", "vault")
        return Plans(published)

    watching = asyncio.create_task(subscriptions.renewed(now, subscriptions.horizons, left.set))
    published.append(plan(version=8))
    await asyncio.sleep(0.05)
    assert not left.is_set()
    published.append(plan(version=9, horizons=more))
    await asyncio.wait_for(watching, 5)
    assert left.is_set()
