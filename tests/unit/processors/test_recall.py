"""A recall follows each object to its answer, goes on where a worker died, and is told as it is."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from lapse.recall_page import page
from lapse.recalls import Recall, read
from schemas.errors import NotFound
from schemas.plan import ProcessorPlan
from schemas.policy import compile_plan, load
from tests.unit.processors.kit import NAME, new_vault
from tests.unit.processors.recalling import LIMITS, Killed, Recalling, as_text
from vault.port import Vault

COUNT = 400
POLICY = Path(__file__).parents[3] / "policies" / "demo.yaml"


@pytest.fixture
def plan() -> ProcessorPlan:
    """The partner of the demo's policy."""
    return compile_plan(load(POLICY.read_text(), where="demo")).processor(NAME)


def told(vault: Vault, plan: ProcessorPlan) -> Recall:
    """The recall as it stands."""
    with vault.transaction(write=False) as tx:
        return read(tx, plan, {"p": "Offers <b>&</b>"})


async def test_a_recall_that_was_interrupted_repeats_at_most_a_page(plan: ProcessorPlan) -> None:
    """Every object is asked for, none twice but what was under way; the report says how far it is."""
    setting = Recalling(new_vault())
    await setting.fill(COUNT)
    assert len(setting.shelf.there) == COUNT
    recall, setting.shelf.dies_at = setting.order(), COUNT // 10
    before = told(setting.vault, plan)
    assert (before.progress, before.open, before.task.objects) == (0.0, COUNT, COUNT)
    with pytest.raises(Killed):
        await setting.connector().handle(recall)
    assert await setting.connector().handle(recall) is None
    halfway = told(setting.vault, plan)
    assert 0 < halfway.progress < 1 and halfway.ended + halfway.open == COUNT
    await setting.go_on()
    assert not setting.shelf.there
    assert COUNT <= setting.shelf.erasures <= COUNT + LIMITS.batch
    setting.fold()
    after = told(setting.vault, plan)
    assert after.whole and after.open == 0 and after.progress == 1.0
    assert after.outcomes == {"completed": COUNT}


async def test_the_report_says_what_was_held_answered_and_open(plan: ProcessorPlan) -> None:
    """As JSON and as a page that loads nothing and takes no word of the data for markup."""
    setting = Recalling(new_vault())
    await setting.fill(20)
    await setting.connector().handle(setting.order())
    for _ in range(2):
        recall = told(setting.vault, plan)
        document = json.loads(as_text(recall.as_json()))
        assert document["held"]["purposes"][0]["deliveries"] == 20 and document["reason"] == "a leak"
        assert document["answered"] == {"completed": 20}
        html = page(recall)
        assert not re.search(r"(src|href)=|url\(|@import|<script", html), "nothing is loaded"
        assert "Offers &lt;b&gt;" in html and "<b>&</b>" not in html
        _balanced(html)
        setting.fold()
    assert document["state"] == "complete" and document["receipts"]["given"][0]["outcome"] == "completed"


def test_what_was_never_asked_back_has_no_report(plan: ProcessorPlan) -> None:
    """It says how to ask."""
    with pytest.raises(NotFound) as missing:
        told(new_vault(), plan)
    assert "recall" in missing.value.do


def _balanced(html: str) -> None:
    """Every element that is opened is closed, in order."""
    stack: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag not in ("meta", "br"):
                stack.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert stack.pop() == tag

    Reader().feed(html)
    assert stack == []
