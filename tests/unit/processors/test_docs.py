"""The pages about recipients name everything that exists, and nothing that does not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import pytest

from lapse.keyservice.openapi import document
from processors.fakes.faults import FaultKind
from processors.metrics import ALL
from processors.registry import KINDS
from schemas.codes import CODES
from schemas.models import ReceiptOutcome

ROOT = Path(__file__).parents[3]
PROCESSING = (ROOT / "docs" / "processing.md").read_text()
PROCESSORS = (ROOT / "docs" / "processors.md").read_text()


@pytest.mark.parametrize("outcome", get_args(ReceiptOutcome))
def test_every_outcome_is_explained(outcome: str) -> None:
    """A consumer's team finds each in the table."""
    assert f"| `{outcome}` |" in PROCESSING


@pytest.mark.parametrize("name", [k.name for k in KINDS])
def test_every_connector_is_listed(name: str) -> None:
    """With what it does."""
    assert f"`{name}`" in PROCESSORS


@pytest.mark.parametrize("name", [c.name for c in CODES.values() if c.name.startswith("vendor_")])
def test_every_code_of_a_recipients_answer_is_explained(name: str) -> None:
    """In the table of answers."""
    assert f"`{name}`" in PROCESSORS


@pytest.mark.parametrize("name", [c.name for c in CODES.values() if c.kinds == ("closed",)])
def test_every_code_of_a_closed_key_is_explained(name: str) -> None:
    """Those that stand nowhere else."""
    assert f"`{name}`" in PROCESSING


@pytest.mark.parametrize("kind", get_args(FaultKind))
def test_every_fault_is_listed(kind: str) -> None:
    """In the section on fakes."""
    assert f"`{kind}`" in PROCESSORS


def test_every_metric_is_listed() -> None:
    """By the name it is scraped under."""
    for metric in ALL:
        [family] = metric.collect()
        assert family.name in PROCESSORS


@pytest.mark.parametrize("path", [p for p in document()["paths"] if p.startswith("/v1/")])
def test_every_route_is_named(path: str) -> None:
    """On one of the two pages; callbacks by what they are for."""
    assert path.split("{")[0].rstrip("/") in PROCESSING + PROCESSORS or "callback" in path


@pytest.mark.parametrize("page", [PROCESSING, PROCESSORS], ids=["processing", "processors"])
def test_what_a_page_links_to_exists(page: str) -> None:
    """Relative links lead to files of the repository."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page):
        assert (ROOT / "docs" / target).exists(), target


@pytest.mark.parametrize("page", [PROCESSING, PROCESSORS], ids=["processing", "processors"])
def test_every_json_block_is_json(page: str) -> None:
    """A reader can paste it."""
    blocks = re.findall(r"```json\n(.*?)```", page, re.S)
    assert blocks
    for block in blocks:
        json.loads(block)
