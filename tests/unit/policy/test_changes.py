"""A next version: due dates never grow, what widens is announced, and the brake learns what is shortened."""

from pathlib import Path

import pytest

from schemas.policy import Changes, Policy, diff, load

SMALL = (Path(__file__).parent / "small.yaml").read_text(encoding="utf-8")
OLD = load(SMALL, where="small.yaml")
NEXT = ("version: 1", "version: 2")
ANNOUNCED = ("effective: 2026-01-01", "effective: 2026-03-01\nmaterial: true\nannounced: 2026-02-01")


def version(*edits: tuple[str, str]) -> Policy:
    """Return the small policy as version 2, changed."""
    text = SMALL
    for old, new in (NEXT, *edits):
        assert old in text
        text = text.replace(old, new, 1)
    return load(text, where="next.yaml")


def said(changes: Changes) -> list[str]:
    """Return kinds and places."""
    return [f"{change.kind} {change.where}" for change in changes.all]


def test_nothing_changes() -> None:
    """A version that only counts up changes nothing and is lawful."""
    changes = diff(OLD, version())
    assert changes.all == ()
    assert changes.lawful


def test_order_of_versions() -> None:
    """Versions count up and take effect one after the other."""
    earlier = load(SMALL.replace("effective: 2026-01-01", "effective: 2025-01-01"), where="x")
    assert said(diff(OLD, earlier)) == ["refused version", "refused effective"]


HALF = ("{for: P90D}", "{for: P45D}")
DOUBLE = ("{for: P90D}", "{for: P180D}")
NEW_TERMS = ("{for: P90D}", "{for: P180D}\n    terms: 2")


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        ([HALF], ["shortens purposes.opens.retention"]),
        ([DOUBLE], ["refused purposes.opens.retention"]),
        ([DOUBLE, ANNOUNCED], ["refused purposes.opens.retention"]),
        ([NEW_TERMS, ANNOUNCED], ["renews purposes.opens.terms", "widens purposes.opens.retention"]),
        ([("{for: P90D}", "{for: P45D}\n    terms: 2")], ["renews purposes.opens.terms"]),
        ([("{for: P90D}", "{for: P90D}\n    period: PT12H")], ["refused purposes.opens.period"]),
        ([("at_most: P2Y", "at_most: P18M")], ["shortens purposes.news.retention"]),
        ([("after: last_activity", "after: account_closed")], ["refused purposes.news.retention"]),
        (
            [("{until_review: 2026-12-31}", "{until_review: 2027-01-31}")],
            ["refused purposes.security.retention"],
        ),
        ([("horizons:", "quarantine: {keep: P10D}\nhorizons:")], ["shortens quarantine.retention"]),
    ],
)
def test_retention(edits: list[tuple[str, str]], expected: list[str]) -> None:
    """The same terms only become shorter; a longer retention is new terms for newly collected data."""
    assert said(diff(OLD, version(*edits))) == expected


def test_terms_never_go_back() -> None:
    """Terms that were used once are not used again for something else."""
    newer = version(NEW_TERMS, ANNOUNCED)
    text = SMALL.replace("version: 1", "version: 3").replace("effective: 2026-01-01", "effective: 2026-04-01")
    assert said(diff(newer, load(text, where="x"))) == ["refused purposes.opens.terms"]


def test_what_is_shortened_is_named_for_the_brake() -> None:
    """Due dates that come forward are named by purpose, so that they are hidden first and destroyed later."""
    changes = diff(OLD, version(HALF, ("{for: P30D}", "{for: P20D}")))
    assert changes.shortened == ("opens", "trends")
    assert changes.lawful


NEWS = ("use: marketing.communications.email", "use: marketing.communications.sms")
EXTRA = """  extra:
    title: Extra
    use: analytics
    basis: legitimate_interests
    categories: [user.name]
    retention: {for: P30D}
forms:
"""


OWN = """processors:
  own:
    title: Own
    grants: {answer: [user.name]}
    region: DE
    assures: [equal_security, task_only, no_disclosure]
"""


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        (
            [("pixel: {mode: individual}", "pixel: {mode: aggregate}")],
            ["narrows sources.email-open.purposes", "narrows pixel.mode"],
        ),
        (
            [("fields: [email, phone, name, message]", "fields: [email, name, message]")],
            ["narrows sources.form/contact.fields"],
        ),
        ([("      news: [user.contact.email]\n", "")], ["narrows processors.desk.grants"]),
        (
            [("    region: US\n", "    region: US\n    suspended: Under review\n")],
            ["narrows processors.desk.suspended"],
        ),
        ([("horizons:", "residue: {k: 20}\nhorizons:")], ["narrows residue.k"]),
        (
            [
                ("basis: legitimate_interests", "basis: consent"),
                ("necessary: {title: Necessary", "functional: {title: Necessary"),
            ],
            ["narrows purposes.security.basis"],
        ),
        ([("    basis: contract\n", "    basis: contract\n    keeps_on_erasure: false\n")], []),
    ],
)
def test_narrowing_needs_no_announcement(edits: list[tuple[str, str]], expected: list[str]) -> None:
    """Doing less is lawful at once, and listed."""
    changes = diff(OLD, version(*edits))
    assert said(changes) == expected
    assert changes.lawful


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        (
            [("forms:\n", EXTRA), ("[answer, news, opens]", "[answer, news, opens, extra]")],
            ["widens purposes", "widens sources.form/contact.purposes"],
        ),
        ([("    opt_out: gpc\n", "")], ["widens purposes.news.opt_out"]),
        (
            [("      news: [user.contact.email]\n", "      news: [user.contact.email, user.name]\n")],
            ["widens processors.desk.grants"],
        ),
        ([("    region: US\n", "    region: GB\n")], ["widens processors.desk.region"]),
        (
            [("standard_contractual_clauses", "binding_corporate_rules")],
            ["widens processors.desk.safeguards"],
        ),
        (
            [("    region: US\n", "    region: US\n    connector: kafka\n")],
            ["widens processors.desk.connector"],
        ),
        (
            [("    region: US\n", "    region: US\n    sub_processors: {cloud: {region: DE}}\n")],
            ["widens processors.desk.sub_processors"],
        ),
        ([("processors:\n", OWN)], ["widens processors"]),
        (
            [
                ("use: analytics\n", "use: analytics\n"),
                ("essential.service.security", "essential.fraud_detection"),
            ],
            ["widens purposes.security.use"],
        ),
        (
            [("basis: contract", "basis: legal_obligation")],
            ["widens purposes.answer.basis", "widens purposes.answer.keeps_on_erasure"],
        ),
        (
            [("      phone: user.contact.phone_number", "      phone: user.contact.fax_number")],
            ["widens sources.form/contact.fields", "narrows sources.form/contact.fields"],
        ),
    ],
)
def test_widening_is_announced(edits: list[tuple[str, str]], expected: list[str]) -> None:
    """Doing more is refused unless it was announced as material before it takes effect."""
    assert said(diff(OLD, version(*edits))) == ["refused announced", *expected]
    changes = diff(OLD, version(*edits, ANNOUNCED))
    assert said(changes) == expected
    assert changes.lawful


def test_consent_is_not_turned_to_another_use() -> None:
    """What people consented to stays what it was: another use or basis needs another purpose."""
    assert said(diff(OLD, version(NEWS))) == ["refused purposes.news.use"]
    swapped = version(
        (
            "basis: consent\n    categories: [user.contact.email",
            "basis: legitimate_interests\n    categories: [user.contact.email",
        )
    )
    changes = diff(OLD, swapped)
    assert said(changes) == ["refused purposes.news.basis"]
    assert all(change.do for change in changes.of("refused"))


def test_back_again() -> None:
    """What one version narrowed, the next may only widen with an announcement."""
    narrow = [
        ("pixel: {mode: individual}", "pixel: {mode: aggregate}"),
        ("    region: US\n", "    region: US\n    suspended: Under review\n"),
        ("horizons:", "residue: {k: 20}\nhorizons:"),
    ]
    older = version(*narrow)
    text = SMALL.replace("version: 1", "version: 3")
    changes = diff(older, load(text, where="x"))
    assert said(changes) == [
        "refused announced",
        "widens sources.email-open.purposes",
        "widens pixel.mode",
        "widens processors.desk.suspended",
        "widens residue.k",
    ]


def test_the_law_ends() -> None:
    """A purpose that no longer outlives erasure narrows."""
    legal = version(("basis: contract", "basis: legal_obligation"), ANNOUNCED)
    text = SMALL.replace("version: 1", "version: 3").replace("effective: 2026-01-01", "effective: 2026-04-01")
    text = text.replace("basis: contract", "basis: legal_obligation\n    keeps_on_erasure: false")
    changes = diff(legal, load(text, where="x"))
    assert said(changes) == ["narrows purposes.answer.keeps_on_erasure"]
