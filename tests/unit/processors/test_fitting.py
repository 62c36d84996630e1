"""Whether recipients fit their connectors: what `lapse policy check` refuses, and what it remarks on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from processors import fitting
from processors.manifest import Manifest
from processors.registry import Make, Vendor
from processors.said import fields_of, own
from schemas.errors import BadInput
from schemas.policy import load

MANIFEST = Manifest(
    object="customer",
    fields={"email": "email", "name": "name", "company": "description"},
    required=frozenset({"email"}),
    deletion="gone",
    quota="100 a second",
    evidence="the answer",
    source="https://vendor.example/docs",
)


class Shop:
    """A vendor's class as far as a policy is judged by it."""

    @classmethod
    def settings(cls, said: Mapping[str, str | int | bool], secrets: Mapping[str, str]) -> None:
        """Insist on a region, and on its form where one is stated."""
        if not str(said.get("region", "")).isalpha():
            raise BadInput("bad_argument", "this text is not of its form", "settings.region", "see the docs")


OFFERED = Vendor(
    manifest=MANIFEST,
    make=cast(Make, Shop),
    said=frozenset({"base_url", "api", "region"}),
    secrets=frozenset({"key"}),
)
DEMO = (Path(__file__).parents[3] / "policies" / "demo.yaml").read_text()
TEXT = DEMO.partition("  # Five vendors")[0] + "  warehouse:\n" + DEMO.partition("  warehouse:\n")[2]
"""The demo's policy without the vendors it has of its own."""
CRM = "    connector: pull\n    grants:\n      answer_request: [user.contact, user.name, user.content]\n"


def offers(connector: str) -> Vendor | None:
    """Only this vendor has a module."""
    return OFFERED if connector == "stripe" else None


def policy(settings: str = "", *, grants: str = "[user.contact, user.name, user.content]") -> Any:
    """The demo's policy, its CRM served by that vendor."""
    crm = CRM.replace("pull", "stripe" + (f"\n    settings: {settings}" if settings else ""))
    text = TEXT.replace(CRM, crm.replace("[user.contact, user.name, user.content]", grants))
    assert text != TEXT
    return text


def refused(settings: str = "", **more: Any) -> list[str]:
    """What is wrong with it, each with its line."""
    with pytest.raises(BadInput) as caught:
        load(policy(settings, **more), where="p.yaml", also=lambda p: fitting.faults(p, offers))
    return [f"{f.where}: {f.what}; {f.do}" for f in caught.value.findings]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("{apj: v1}", "`apj` is no setting of connector stripe; did you mean `api`?"),
        ("{field.emial: email}", "no source has a field `emial`; did you mean `email`?"),
        ("{field.email: true}", "this is no name of a field"),
        ("{region: e1}", "region: this text is not of its form; see the docs"),
        ("{unmapped: perhaps}", "write leave_out or refuse"),
        ('{base_url: "ftp://x.example"}', "this is not an https address"),
        ('{base_url: "http://x.example"}', "this is not an https address"),
        ('{base_url: "fake:mailchimp"}', "this is not an https address"),
        ("{unmapped: refuse}", "stripe has no place for `country`: it is never sent"),
        ("{field.email: false}", "makes no customer without `email`, and no field that is granted fills it"),
    ],
)
def test_a_policy_whose_recipient_cannot_be_served_so_does_not_load(settings: str, said: str) -> None:
    """Each fault names the line, the reason and what would mend it."""
    found = refused(settings)
    assert any(said in line for line in found), found
    assert all(line.startswith("p.yaml:") and "processors.crm" in line for line in found)


@pytest.mark.parametrize(
    "settings",
    ["", "{api: v2}", '{base_url: "fake:"}', '{base_url: "fake:stripe"}', '{base_url: "http://127.0.0.1:9"}'],
)
def test_a_policy_that_says_what_there_is_loads(settings: str) -> None:
    """A stand-in and this machine's own addresses among it."""
    load(policy(settings), where="p.yaml", also=lambda p: fitting.faults(p, offers))


def test_what_a_vendor_has_no_place_for_is_remarked_on() -> None:
    """Unless the policy itself says that it stays, or maps it."""
    said = "{field.message: notes, field.country: false}"
    [phone] = fitting.remarks(load(policy(said), where="p"), offers)
    assert phone == "processors.crm.grants: stripe has no place for `phone`: it is never sent"
    assert fitting.remarks(load(TEXT, where="p"), offers) == ()


def test_a_required_field_that_no_grant_brings_is_a_fault() -> None:
    """Without an address this vendor makes no object, so nothing would ever arrive."""
    more = "      marketing_email: [user.contact.email, user.name]\n"
    text = policy(grants="[user.content]").replace(more, "", 1)
    with pytest.raises(BadInput, match="no field that is granted fills it"):
        load(text, where="p", also=lambda p: fitting.faults(p, offers))


def test_fields_go_where_manifest_and_policy_say() -> None:
    """The policy's word counts; what it takes away goes nowhere; the connector's own settings stay."""
    said: dict[str, str | int | bool] = {
        "field.message": "notes",
        "field.name": "full_name",
        "field.company": False,
        "unmapped": "refuse",
        "api": "v2",
    }
    assert fields_of(MANIFEST, said) == {"email": "email", "name": "full_name", "message": "notes"}
    assert own(said) == {"api": "v2"}
