"""The company's public policy: each of its seven promises has a rule, and the rule does what was promised."""

import re
from pathlib import Path

import pytest

import policies
from schemas.errors import NotFound
from schemas.plan import PolicyPlan, ProcessorPlan
from schemas.policy import Policy, compile_plan, load
from schemas.policy.yamltext import read
from schemas.policy_words import ALWAYS_ASSURED, EEA, OUTLIVES_ERASURE, VOID
from schemas.retention import YEAR, longest, parse_instant
from schemas.times import DAY

FILE = Path(next(iter(policies.__path__))) / "company.yaml"
TEXT = FILE.read_text(encoding="utf-8")
VENDORS = {"stripe", "jivochat", "salesforce", "mailchimp", "kickbox"}


@pytest.fixture(scope="module")
def policy() -> Policy:
    """The company's policy."""
    return load(TEXT, where=FILE.name)


@pytest.fixture(scope="module")
def plan(policy: Policy) -> PolicyPlan:
    """Its plan."""
    return compile_plan(policy)


def may_have(plan: PolicyPlan, processor: ProcessorPlan, source: str) -> set[str]:
    """Return the fields of a source a processor could ever get, all consents given."""
    found = plan.sources[source]
    every = (1 << len(plan.purposes)) - 1
    return {
        name
        for part in plan.compartments(source, every)
        for name, category in zip(part.fields, part.field_categories, strict=True)
        for purpose in part.purposes
        if purpose in found.purposes and category in processor.grants.get(purpose, ())
    }


@pytest.mark.parametrize("promise", range(1, 8))
def test_every_promise_is_named_beside_a_rule(promise: int) -> None:
    """A reader finds each promise by its number, on the line of a rule or right above it."""
    _, lines = read(TEXT, where=FILE.name)
    rules = set(lines.values())
    text = TEXT.splitlines()
    named = [number for number, line in enumerate(text, 1) if re.search(rf"#.*\bPromise {promise}\b", line)]
    beside = 0
    for number in named[1:]:
        below = number
        while text[below - 1].lstrip().startswith("#") or not text[below - 1].strip():
            below += 1
        beside += below in rules
    assert beside >= 1


def test_promise_1_sources(plan: PolicyPlan) -> None:
    """Promise 1: forms, a record of correspondence, clear gifs and cookies; nothing else comes in."""
    kinds = {source.kind for source in plan.sources.values()}
    assert kinds == {"form", "email-open", "cookie"}
    titles = {source.title for source in plan.sources.values()}
    assert {"Request a Demo", "Get in Touch"} <= titles
    assert plan.sources["form/correspondence"].servers_only
    assert plan.sources["cookie"].identifiers == {"cookie_id": "cookie"}
    assert plan.sources["email-open"].identifiers == {"token": "token"}
    assert all(category.says for category in plan.cookie_categories.values())
    assert set(plan.cookie_categories) == {"necessary", "performance", "functional", "targeting"}


def test_promise_2_uses(plan: PolicyPlan) -> None:
    """Promise 2: only the uses that were made clear; none of them leaks into another source."""
    heads = {purpose.use.split(".")[0] for purpose in plan.purposes}
    assert heads == {"essential", "analytics", "marketing", "functional", "third_party_sharing"}
    said = [purpose for purpose in plan.purposes if purpose.says]
    assert len(said) == len(plan.purposes)
    opened = {plan.purposes[number].name for number in plan.sources["email-open"].purposes}
    assert opened == {"mail_insight"}
    assert plan.purpose("site_security").use == "essential.service.security"
    demo = {plan.purposes[number].name for number in plan.sources["form/request-demo"].purposes}
    assert "answer_request" in demo
    assert not demo & {"payment", "legal_records", "advertising"}


def test_promise_2_an_opening_is_never_justified_for_payment(plan: PolicyPlan) -> None:
    """Promise 2: with every purpose admitted, no field of an e-mail open or cookie is held for payment."""
    every = (1 << len(plan.purposes)) - 1
    payment = plan.purpose("payment").number
    for source in ("email-open", "cookie", "form/request-demo", "form/newsletter"):
        parts = plan.compartments(source, every)
        assert parts
        assert all(payment not in part.purposes for part in parts)
    assert any(payment in part.purposes for part in plan.compartments("form/order", every))


def test_promise_3_recipients_get_what_their_task_needs(plan: PolicyPlan) -> None:
    """Promise 3: the recipients named, each only the fields its task needs, and nothing from elsewhere."""
    assert {processor.name for processor in plan.processors} == VENDORS | {"partner", "former-partner"}
    kickbox, stripe = plan.processor("kickbox"), plan.processor("stripe")
    assert {may for source in plan.sources for may in may_have(plan, kickbox, source)} == {"email"}
    assert "order" in may_have(plan, stripe, "form/order")
    assert not any(may_have(plan, stripe, source) for source in plan.sources if source != "form/order")
    for processor in plan.processors:
        assert not may_have(plan, processor, "email-open")
        assert not may_have(plan, processor, "cookie")
        for number, categories in processor.grants.items():
            assert categories <= plan.purposes[number].categories


def test_promise_3_security_as_strict(policy: Policy) -> None:
    """Promise 3: every recipient assures equal security, its task alone, and no disclosure."""
    for processor in policy.processors.values():
        assert set(ALWAYS_ASSURED) <= set(processor.assures)


def test_promise_3_contact(plan: PolicyPlan) -> None:
    """Promise 3: contact through e-mail, post or phone, each a purpose that can be refused alone."""
    marketing = [purpose for purpose in plan.purposes if purpose.use.startswith("marketing.communications")]
    assert {purpose.channel for purpose in marketing} == {"email", "post", "phone"}


def test_promise_4_time(plan: PolicyPlan) -> None:
    """Promise 4: every purpose has an end; only what law or disputes need outlasts five years."""
    for purpose in plan.purposes:
        span = longest(purpose.retention, plan.effective)
        assert 0 < span <= 11 * YEAR
        assert purpose.keeps_on_erasure == (purpose.basis in OUTLIVES_ERASURE)
        if span > 5 * YEAR + 2 * DAY:
            assert purpose.basis in OUTLIVES_ERASURE
    assert {purpose.name for purpose in plan.purposes if purpose.keeps_on_erasure} == {
        "legal_records",
        "legal_claims",
    }
    assert plan.residue.k >= 10
    assert all(processor.erase_within <= 30 * DAY for processor in plan.processors)


def test_promise_4_short_lived_data_does_not_lie_beside_invoices(plan: PolicyPlan) -> None:
    """Promise 4: records are kept on a topic that goes soon after their longest purpose."""
    assert plan.horizon(plan.purpose("mail_insight").due(plan.purpose("mail_insight").period(0))) == "season"
    assert plan.horizon(longest(plan.purpose("legal_records").retention, 0)) == "decade"


def test_promise_5_choices(plan: PolicyPlan) -> None:
    """Promise 5: marketing can be refused, cookies rejected, and every right is answered within 30 days."""
    for purpose in plan.purposes:
        if purpose.use.startswith("marketing") or purpose.use == "third_party_sharing":
            assert purpose.basis in {"consent", "legitimate_interests"}
            assert "gpc" in purpose.opt_out
    for name, category in plan.cookie_categories.items():
        bases = {plan.purposes[number].basis for number in category.purposes}
        assert bases == ({"legitimate_interests"} if name == "necessary" else {"consent"})
    assert plan.purpose("marketing_email").channel == "email"
    rights = {"access", "rectification", "erasure", "objection", "restriction", "portability"}
    assert set(plan.rights) == rights
    assert all(right.answer_days <= 30 and "subject" in right.may_ask for right in plan.rights.values())


def test_promise_6_transfers(policy: Policy) -> None:
    """Promise 6: agents in the United States under a mechanism that holds; the Shield's are stopped."""
    american = {name: found for name, found in policy.processors.items() if found.region == "US"}
    assert {"jivochat", "salesforce", "mailchimp", "kickbox", "partner"} <= set(american)
    for processor in american.values():
        assert processor.safeguards is not None
        assert {"task_only", "notice_if_failing"} <= set(processor.assures)
        assert bool(processor.suspended) == (processor.safeguards.mechanism in VOID)
    assert policy.processors["former-partner"].suspended
    for processor in policy.processors.values():
        for onward in processor.sub_processors.values():
            assert onward.region in EEA or onward.safeguards is not None


def test_promise_7_changes(policy: Policy) -> None:
    """Promise 7: the version is dated, and was announced before it took effect."""
    assert policy.effective == parse_instant("2018-05-24")
    assert policy.material
    assert policy.announced is not None
    assert policy.announced < policy.effective


def test_vendors_without_connector(plan: PolicyPlan) -> None:
    """The vendors name their connectors, so that the registry can say which of them is there."""
    assert {plan.processor(name).connector for name in VENDORS} == VENDORS
    with pytest.raises(NotFound):
        plan.processor("unheard-of")
