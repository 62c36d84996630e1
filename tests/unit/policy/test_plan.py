"""The compiled plan: what it says is what the policy says, for every source and every set of purposes."""

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import policies
from schemas.errors import BadInput, NotFound, Refused
from schemas.ids import Period
from schemas.plan import Plans, PolicyPlan, PurposePlan
from schemas.plan_json import describe
from schemas.policy import Policy, compile_plan, load
from schemas.policy_words import COLLECTED_AT, covers
from schemas.retention import parse_instant
from schemas.times import DAY, SECOND

FOLDER = Path(next(iter(policies.__path__)))
SMALL = Path(__file__).parent / "small.yaml"


def loaded(path: Path, *edits: tuple[str, str]) -> Policy:
    """Load a policy after replacing parts of its text."""
    text = path.read_text(encoding="utf-8")
    for old, new in edits:
        assert old in text
        text = text.replace(old, new, 1)
    return load(text, where=path.name)


POLICIES = {path.stem: loaded(path) for path in (*sorted(FOLDER.glob("*.yaml")), SMALL)}
PLANS = {name: compile_plan(policy) for name, policy in POLICIES.items()}
COMPANY, DEMO = PLANS["company"], PLANS["demo"]

plans = st.sampled_from(sorted(PLANS))
masks = st.integers(0, (1 << 20) - 1)


@pytest.fixture
def demo() -> PolicyPlan:
    """The demo's plan, its memos empty."""
    return compile_plan(POLICIES["demo"])


def test_numbers_are_positions() -> None:
    """Purposes and processors are numbered as they stand in the file, and found by name."""
    for name, plan in PLANS.items():
        assert [purpose.name for purpose in plan.purposes] == list(POLICIES[name].purposes)
        assert [found.name for found in plan.processors] == list(POLICIES[name].processors)
        for number, purpose in enumerate(plan.purposes):
            assert (purpose.number, purpose.bit) == (number, 1 << number)
            assert plan.purpose(purpose.name) is purpose
        for number, processor in enumerate(plan.processors):
            assert processor.number == number
            assert plan.processor(processor.name) is processor
        assert [plan.category_id(category) for category in plan.categories] == list(
            range(len(plan.categories))
        )


@given(plans, st.data(), masks)
def test_a_field_is_sealed_for_exactly_the_purposes_that_justify_it(
    name: str, data: st.DataObject, mask: int
) -> None:
    """A field lies in the one compartment whose purposes are stated, admitted and cover it; else in none."""
    policy, plan = POLICIES[name], PLANS[name]
    source = data.draw(st.sampled_from(sorted(plan.sources)))
    found = plan.sources[source]
    admitted = [purpose for purpose in plan.purposes if mask >> purpose.number & 1]
    where: dict[str, tuple[int, ...]] = {}
    for part in plan.compartments(source, mask):
        assert part.fields[-1] == COLLECTED_AT
        assert part.field_categories[-1] == -1
        assert part.categories == tuple(sorted(set(part.field_categories[:-1])))
        assert tuple(admitted[link].number for link in part.links) == part.purposes
        for field in part.fields[:-1]:
            assert field not in where
            where[field] = part.purposes
    for field, number in found.fields.items():
        justified = tuple(
            purpose.number
            for purpose in admitted
            if purpose.number in found.purposes
            and any(covers(key, plan.categories[number]) for key in policy.purposes[purpose.name].categories)
        )
        assert where.get(field, ()) == justified


def test_sources_state_what_their_fields_need() -> None:
    """Every stated purpose justifies some field, and consent is asked for wherever the policy states it."""
    for plan in PLANS.values():
        for source in plan.sources.values():
            assert source.mask == sum(1 << number for number in source.purposes)
            for number in source.purposes:
                assert plan.purposes[number].categories & set(source.fields.values())
            assert all(plan.purposes[number].basis == "consent" for number in source.asks)
    asked = {DEMO.purposes[number].name for number in DEMO.sources["form/request-demo"].asks}
    assert asked == {"marketing_email", "mail_insight"}


def test_compartments_are_remembered_but_not_for_ever(demo: PolicyPlan) -> None:
    """The same question gives the same answer at once; masks strangers vary cannot fill the memory."""
    first = demo.compartments("cookie", 0b111)
    assert demo.compartments("cookie", 0b111) is first
    for mask in range(5000):
        demo.compartments("cookie", mask)
    assert demo.compartments("cookie", 0b111) == first


def test_due_is_remembered_but_not_for_ever(demo: PolicyPlan) -> None:
    """Due dates stay right when more periods were asked for than are remembered."""
    purpose = demo.purpose("answer_request")
    dues = [purpose.due(Period(period)) for period in range(5000)]
    assert dues == [period * purpose.width + 20 * SECOND for period in range(5000)]
    assert purpose.due(Period(0)) == dues[0]


@given(plans, st.data(), st.integers(1_500_000_000, 4_000_000_000))
def test_due_dates(name: str, data: st.DataObject, seconds: int) -> None:
    """No purpose of a shipped policy holds a record past its retention, or lets go a width too soon."""
    policy, plan = POLICIES[name], PLANS[name]
    purpose = plan.purposes[data.draw(st.integers(0, len(plan.purposes) - 1))]
    at = seconds * SECOND
    period = purpose.period(at)
    assert purpose.start(period) <= at < purpose.start(period) + purpose.width
    retention = policy.purposes[purpose.name].retention
    if hasattr(retention, "until_review"):
        assert purpose.due(period) == retention.until_review
        return
    exact = (retention.at_most if hasattr(retention, "at_most") else retention.for_).after(at)
    assert exact - purpose.width < purpose.due(period) <= exact


def test_anchored() -> None:
    """An anchored purpose knows each person's own date; others have none."""
    purpose = COMPANY.purpose("marketing_email")
    period = purpose.period(parse_instant("2026-01-01"))
    assert purpose.due(period) == parse_instant("2031-01-01")
    assert purpose.anchored_due(parse_instant("2026-06-01"), period) == parse_instant("2028-06-01")
    assert purpose.anchored_due(parse_instant("2030-06-01"), period) == parse_instant("2031-01-01")
    assert COMPANY.purpose("payment").anchored_due(0, period) is None


def test_unknown_names() -> None:
    """What the policy does not know is not found, by code and without repeating the name."""
    for ask in (DEMO.purpose, DEMO.processor, DEMO.category_id):
        with pytest.raises(NotFound) as caught:
            ask("mallory@example.com")
        assert "mallory" not in str(caught.value)


def test_horizons() -> None:
    """A record goes to the shortest horizon that outlives it, or to the longest there is."""
    assert [horizon.name for horizon in COMPANY.horizons] == ["season", "years", "decade"]
    assert COMPANY.horizon(DAY) == COMPANY.horizon(200 * DAY) == "season"
    assert COMPANY.horizon(200 * DAY + 1) == "years"
    assert COMPANY.horizon(100 * 366 * DAY) == "decade"
    for plan in PLANS.values():
        assert plan.horizons[-1].retention >= plan.longest


def test_quarantine() -> None:
    """The reserved purpose is there under its name, outside the numbers and masks of the others."""
    found = DEMO.purpose("quarantine")
    assert found.number == -1
    assert found not in DEMO.purposes
    assert found.due(found.period(DAY)) == 2 * DAY


def test_residue_labels() -> None:
    """Cells are made of enumerated values alone; everything else is `other`."""
    label = DEMO.residue.label
    assert (
        label("form/request-demo", {"country": "DE", "email": "a@b.c"})
        == "source=form/request-demo country=DE"
    )
    assert label("cookie", {"country": "Atlantis"}) == label("cookie", {}) == "source=cookie country=other"
    assert label("cookie", {"country": None}) == "source=cookie country=other"


def test_client_family_can_be_counted() -> None:
    """Residue may count client families, which no source has as a field."""
    dimension = "{field: client_family, values: [Firefox]}"
    by = f"residue: {{by: [source, client], dimensions: {{client: {dimension}}}}}\nhorizons:"
    residue = compile_plan(loaded(SMALL, ("horizons:", by))).residue
    assert residue.label("cookie", {"client_family": "Firefox"}) == "source=cookie client=Firefox"


@pytest.mark.parametrize("mode", ["date_only", "aggregate"])
def test_openings_are_records_in_mode_individual_alone(mode: str) -> None:
    """In the other modes no purpose justifies recording one opening, so none can be."""
    mend = f"pixel: {{mode: {mode}{', last_open: security' if mode == 'date_only' else ''}}}"
    plan = compile_plan(loaded(SMALL, ("pixel: {mode: individual}", mend)))
    assert plan.pixel_mode == mode
    assert plan.sources["email-open"].mask == 0
    assert plan.compartments("email-open", 0xFFFF) == ()
    assert (plan.last_open is not None) is (mode == "date_only")


def test_a_policy_of_forms_alone() -> None:
    """Cookies and mail can be left out altogether."""
    text = SMALL.read_text(encoding="utf-8")
    start, end = text.index("  email-open:\n"), text.index("purposes:\n  answer")
    edits = [(text[start:end], ""), ("[answer, news, opens]", "[answer, news, opens, trends]")]
    edits.append((text[text.index("  security:\n") : text.index("  trends:\n")], ""))
    edits.append((text[text.index("cookie_categories:") : text.index("processors:")], ""))
    assert list(compile_plan(loaded(SMALL, *edits)).sources) == ["form/contact"]


def test_recipients() -> None:
    """Where recipients are reached is in the plan, with defaults spelled out."""
    partner, warehouse = DEMO.processor("partner"), DEMO.processor("warehouse")
    assert partner.webhook is not None
    assert (partner.webhook.url, partner.webhook.erasure_url) == (
        "fake:partner",
        "fake:partner/requests",
    )
    assert partner.kafka is None
    assert warehouse.kafka is not None
    assert (warehouse.kafka.topic, warehouse.kafka.format) == ("plain.warehouse", "json")
    hook = COMPANY.processor("partner").webhook
    assert hook is not None
    assert hook.erasure_url == "https://partner.example.com/lapse/requests"
    assert DEMO.processor("crm").safeguards == "standard_contractual_clauses"
    assert COMPANY.processor("former-partner").suspended


def test_recipients_default_sections() -> None:
    """A webhook or kafka recipient without settings gets the defaults."""
    for connector in ("webhook", "kafka"):
        found = compile_plan(loaded(SMALL, ("topic_retention: P7D", f"connector: {connector}"))).processor(
            "desk"
        )
        assert (found.webhook is None) is (connector == "kafka")
        assert (found.kafka is None) is (connector == "webhook")


def test_operators_are_bytes() -> None:
    """Operators' keys come out as the 32 bytes that verify signatures."""
    key = bytes(range(32))
    plan = compile_plan(
        loaded(SMALL, ("sites:", f"operators: {{anna: {base64.b64encode(key).decode()}}}\nsites:"))
    )
    assert plan.operators == {"anna": key}


def test_links_between_identifiers() -> None:
    """The purpose under which identifiers are linked is a number like the others."""
    plan = compile_plan(loaded(SMALL, ("horizons:", "identity: {purpose: answer}\nhorizons:")))
    assert plan.link_purpose == plan.purpose("answer").number
    assert DEMO.link_purpose is None


def test_plain_opt_out_and_list() -> None:
    """An opt-out may name one signal or several."""
    assert DEMO.purpose("analytics").opt_out == {"gpc"}
    plan = compile_plan(loaded(SMALL, ("opt_out: gpc", "opt_out: [gpc, dnt]")))
    assert plan.purpose("news").opt_out == {"gpc", "dnt"}
    assert plan.purpose("answer").opt_out == frozenset()


@pytest.mark.parametrize("kept", ["true", "false"])
def test_what_the_law_keeps_may_be_given_up(kept: str) -> None:
    """A purpose of legal obligation outlives an erasure unless the policy says otherwise."""
    edit = ("basis: contract", f"basis: legal_obligation\n    keeps_on_erasure: {kept}")
    assert compile_plan(loaded(SMALL, edit)).purpose("answer").keeps_on_erasure is (kept == "true")
    assert DEMO.purpose("tax_records").keeps_on_erasure


def version(number: int, effective: str) -> PolicyPlan:
    """Return a plan of the small policy with this version and date."""
    edits = (("version: 1", f"version: {number}"), ("2026-01-01", effective))
    return compile_plan(loaded(SMALL, *edits))


def test_plans_by_time() -> None:
    """In force is the highest version that is effective; before the first there is none."""
    first, second, third = version(1, "2026-01-01"), version(2, "2026-02-01"), version(3, "2026-02-01")
    plans = Plans([third, first, second])
    assert [plan.version for plan in plans] == [1, 2, 3]
    assert len(plans) == 3
    assert plans.latest is third
    assert plans.version(2) is second
    assert plans.in_force(parse_instant("2025-12-31T23:59:59.999999Z")) is None
    assert plans.in_force(parse_instant("2026-01-01")) is first
    assert plans.in_force(parse_instant("2026-02-01")) is third


def test_no_plans() -> None:
    """Without any policy nothing is in force, and asking for one says so."""
    plans = Plans([])
    assert plans.in_force(0) is None
    with pytest.raises(NotFound):
        _ = plans.latest
    with pytest.raises(NotFound):
        plans.version(1)


def test_a_retention_order_shortens(demo: PolicyPlan) -> None:
    """An order brings the due dates of its terms forward, and nothing else."""
    purpose = demo.purpose("answer_request")
    before = purpose.due(Period(10))
    after = demo.shortened("answer_request", 1, "PT5S")
    assert after.purpose("answer_request").due(Period(10)) == before - 15 * SECOND
    assert demo.purpose("answer_request").due(Period(10)) == before
    assert after.purpose("analytics") is demo.purpose("analytics")
    assert demo.shortened("answer_request", 2, "PT5S") is demo
    assert demo.shortened("quarantine", 1, "PT1H").quarantine.due(Period(0)) == 3600 * SECOND


@pytest.mark.parametrize(
    ("retention", "error"),
    [("PT21S", Refused), ("P1M", Refused), ("PT0S", Refused), ("soon", BadInput), ("", BadInput)],
)
def test_a_retention_order_never_lengthens(retention: str, error: type[Exception], demo: PolicyPlan) -> None:
    """What would hold data longer, or not at all, is refused."""
    with pytest.raises(error):
        demo.shortened("answer_request", 1, retention)


def test_described() -> None:
    """As JSON a plan resolves every number it uses."""
    for plan in PLANS.values():
        found = describe(plan)
        assert found["version"] == plan.version
        assert found["sha256"] == plan.sha256.hex()
        listed = found["purposes"]
        assert isinstance(listed, list)
        assert [entry["name"] for entry in listed] == [purpose.name for purpose in plan.purposes]
    retentions = [entry["retention"] for entry in described_purposes(COMPANY)]
    assert {"after": "request_fulfilled", "for": "P6M", "at_most": "P18M"} in retentions
    small = [entry["retention"] for entry in described_purposes(PLANS["small"])]
    assert {"until_review": parse_instant("2026-12-31")} in small


def described_purposes(plan: PolicyPlan) -> list[dict[str, object]]:
    """Return the purposes of a described plan."""
    found = describe(plan)["purposes"]
    assert isinstance(found, list)
    return found


def test_a_plan_of_numbers(demo: PolicyPlan) -> None:
    """A purpose's plan compares by what it says, not by what it remembers."""
    purpose: PurposePlan = demo.purpose("analytics")
    purpose.due(Period(3))
    assert purpose == DEMO.purpose("analytics")
