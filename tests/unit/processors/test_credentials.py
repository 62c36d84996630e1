"""Whether a recipient can be called: its address, its credentials, or a stand-in that plays it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from processors.credentials import (
    changed_at,
    configured,
    credentials_file,
    read_credentials,
    stand_in_file,
)
from processors.registry import KINDS, vendor
from schemas.errors import BadInput
from schemas.plan import ProcessorPlan
from tests.unit.processors.world import World

VENDORS = [kind.name for kind in KINDS if kind.vendor and vendor(kind.name) is not None]


def plan(connector: str, **settings: str) -> ProcessorPlan:
    """A recipient of the demo's policy, served so."""
    return replace(World().plan.processor("crm"), connector=connector, settings=settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("connector", VENDORS)
def test_a_vendor_without_credentials_is_not_configured(connector: str, tmp_path: Path) -> None:
    """Nobody opens anything for it, until the file is there or a stand-in plays it."""
    told = plan(connector)
    assert not configured(tmp_path, told)
    assert configured(tmp_path, plan(connector, base_url="fake:"))
    credentials_file(tmp_path, told).write_text("{}")
    assert configured(tmp_path, told)
    assert changed_at(tmp_path, told) is not None


def test_a_webhook_without_an_address_is_not_configured(tmp_path: Path) -> None:
    """The demo's has a stand-in; without any it has nobody to call."""
    partner = World().plan.processor("partner")
    assert configured(tmp_path, partner)
    assert not configured(tmp_path, replace(partner, webhook=None))


def test_a_stand_in_has_a_file_of_its_own(tmp_path: Path) -> None:
    """What a real vendor takes is never shown to a stand-in, nor the other way round."""
    told = plan("stripe")
    assert stand_in_file(tmp_path, told) != credentials_file(tmp_path, told)


@pytest.mark.parametrize("text", ["", "[]", '{"key": 1}', "nonsense"])
def test_credentials_are_an_object_of_texts(text: str, tmp_path: Path) -> None:
    """Whatever else stands there is named by its file alone."""
    path = tmp_path / "crm.stripe"
    path.write_text(text)
    with pytest.raises(BadInput) as caught:
        read_credentials(path)
    assert caught.value.where == str(path)
    assert text == "" or text not in str(caught.value)
