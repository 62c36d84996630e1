"""Who may be approved: what carries the transfer must hold on the day, and be written down."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from processors.assurance import check, ends, renew
from schemas.errors import Refused
from schemas.ids import Micros
from schemas.plan import ProcessorPlan
from schemas.policy import compile_plan, load

COMPANY = compile_plan(
    load((Path(__file__).parents[3] / "policies" / "company.yaml").read_text(), where="company")
)
NOW = Micros(1_800_000_000_000_000)


def judge(name: str, **changes: Any) -> ProcessorPlan:
    """Check a recipient of the company's policy under changed terms."""
    plan = replace(COMPANY.processor(name), **changes)
    check(plan, until=plan.assurance_until, evidence=plan.evidence, now=NOW)
    return plan


@pytest.mark.parametrize("name", [p.name for p in COMPANY.processors if p.suspended is None])
def test_the_companys_recipients_may_be_approved(name: str) -> None:
    """Their papers are stated in the policy."""
    assert judge(name).name == name


@pytest.mark.parametrize("mechanism", ["privacy_shield", "safe_harbor"])
def test_a_mechanism_that_no_longer_holds_is_refused_with_the_reason(mechanism: str) -> None:
    """Whatever else is there, and whether or not the policy suspends it."""
    for suspended in (None, "asked back"):
        with pytest.raises(Refused) as refused:
            judge("partner", safeguards=mechanism, suspended=suspended)
        assert (
            "no longer holds: void since" in refused.value.what and "Court of Justice" in refused.value.what
        )


@pytest.mark.parametrize("missing", ["safeguards", "evidence", "review", "assurance_until"])
def test_a_third_country_needs_it_all(missing: str) -> None:
    """The refusal names what is missing and how to state it; in the EEA it is not asked for."""
    with pytest.raises(Refused) as refused:
        judge("jivochat", **{missing: None})
    assert missing in refused.value.where and refused.value.do
    assert judge("jivochat", **{missing: None, "region": "DE"}).region == "DE"


def test_an_assurance_that_has_run_out_approves_nobody() -> None:
    """Nor does a mechanism that holds for another country, nor a recipient the policy suspends."""
    for changes in (
        {"assurance_until": Micros(NOW - 1)},
        {"region": "IN"},
        {"suspended": "a leak"},
    ):
        with pytest.raises(Refused):
            judge("mailchimp", **changes)


def test_of_two_ends_the_earlier_counts() -> None:
    """What the policy states, no approval moves; what it does not state, an approval may."""
    stated, open_ = (
        COMPANY.processor("mailchimp"),
        replace(COMPANY.processor("mailchimp"), assurance_until=None),
    )
    end = stated.assurance_until
    assert end is not None
    assert ends(stated, None) == ends(stated, Micros(end + 1)) == end
    assert ends(stated, Micros(end - 1)) == ends(open_, Micros(end - 1)) == Micros(end - 1)
    assert ends(open_, None) is None
    with pytest.raises(Refused):
        check(stated, until=Micros(end + 10**12), evidence=None, now=Micros(end + 1))
    assert "publish" in renew(stated) and "--until" in renew(open_)
