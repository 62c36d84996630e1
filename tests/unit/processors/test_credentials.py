"""Whether a recipient can be called: its address, its credentials, or a stand-in that plays it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from processors import fakes
from processors.credentials import (
    changed_at,
    credentials_file,
    lacking,
    read_credentials,
    stand_in_file,
)
from processors.registry import KINDS
from schemas.errors import BadInput
from schemas.plan import ProcessorPlan
from tests.unit.processors.world import World

VENDORS = [kind.name for kind in KINDS if kind.vendor]


def plan(connector: str, **settings: str) -> ProcessorPlan:
    """A recipient of the demo's policy, served so."""
    return replace(World().plan.processor("crm"), connector=connector, settings=settings)  # type: ignore[arg-type]


SAID = {"mailchimp": {"audience": "0123456789"}}
"""Settings without which a vendor's connector cannot be made."""


@pytest.mark.parametrize("connector", VENDORS)
def test_a_vendor_without_credentials_is_not_configured(connector: str, tmp_path: Path) -> None:
    """Nobody opens anything for it, until the file is there."""
    told = plan(connector, base_url="https://vendor.example", **SAID.get(connector, {}))
    assert lacking(tmp_path, told) == "no credentials"
    file = credentials_file(tmp_path, told)
    file.write_text("{}")
    assert lacking(tmp_path, told) not in (None, "no credentials")
    file.write_text(json.dumps(fakes.credentials(connector)))
    assert lacking(tmp_path, told) is None
    assert changed_at(tmp_path, told) is not None


def test_a_vendor_without_a_setting_it_needs_is_not_configured(tmp_path: Path) -> None:
    """What is missing is named, in the policy as in the file."""
    told = plan("mailchimp", base_url="https://vendor.example")
    credentials_file(tmp_path, told).write_text(json.dumps(fakes.credentials("mailchimp")))
    assert "settings.audience" in str(lacking(tmp_path, told))


@pytest.mark.parametrize("connector", VENDORS)
def test_a_vendor_that_is_played_needs_the_stand_ins_credentials(connector: str, tmp_path: Path) -> None:
    """The vendor's own are of no use to a stand-in, nor needed."""
    told = plan(connector, base_url="fake:", **SAID.get(connector, {}))
    credentials_file(tmp_path, told).write_text(json.dumps(fakes.credentials(connector)))
    assert lacking(tmp_path, told) == "no credentials"
    stand_in_file(tmp_path, told).write_text(json.dumps(fakes.credentials(connector)))
    assert lacking(tmp_path, told) is None


def test_a_webhook_without_an_address_is_not_configured(tmp_path: Path) -> None:
    """The demo's has a stand-in; without any it has nobody to call."""
    partner = World().plan.processor("partner")
    assert lacking(tmp_path, partner) is None
    assert lacking(tmp_path, replace(partner, webhook=None)) == "no address to call"


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
