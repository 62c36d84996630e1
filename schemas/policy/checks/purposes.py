"""Contradictions within purposes: lawfulness, retention, and whether anything can ever be held for them."""

from collections.abc import Iterator

from schemas.policy.checks.upkeep import positive, width
from schemas.policy.compiling import stated
from schemas.policy.faults import Fault, nearest
from schemas.policy.model import Policy, Purpose
from schemas.policy.yamltext import Path
from schemas.policy_words import (
    MAY_OBJECT,
    MOST_PURPOSES,
    OUTLIVES_ERASURE,
    RESERVED,
    SPECIAL,
    SPECIAL_BASES,
    categories,
    covers,
    uses,
)
from schemas.retention import Anchored, Duration, UntilReview, longest, shortest, spans
from schemas.times import DAY


def faults(policy: Policy) -> Iterator[Fault]:
    """Yield what contradicts itself in the purposes and in the horizons that must hold their records."""
    if len(policy.purposes) > MOST_PURPOSES:
        why = f"{len(policy.purposes)} purposes"
        yield Fault(("purposes",), why, f"keep to {MOST_PURPOSES}: decisions keep a mask of them")
    for name, purpose in policy.purposes.items():
        path: Path = ("purposes", name)
        if name == RESERVED:
            yield Fault(
                path,
                f"`{RESERVED}` is a reserved purpose",
                "name it otherwise; `quarantine:` has its settings",
            )
        yield from _words(path, purpose)
        yield from _lawful(path, purpose)
        yield from _retention(policy, path, purpose)
    yield from _fed(policy)
    yield from _horizons(policy)


def _words(path: Path, purpose: Purpose) -> Iterator[Fault]:
    if purpose.use not in uses():
        why = f"`{purpose.use}` is no data use of fideslang"
        yield Fault((*path, "use"), why, nearest(purpose.use, sorted(uses())))
    for index, key in enumerate(purpose.categories):
        where = (*path, "categories", index)
        if key not in categories():
            yield Fault(
                where, f"`{key}` is no data category of fideslang", nearest(key, sorted(categories()))
            )
        elif any(covers(other, key) for other in purpose.categories[:index]):
            yield Fault(where, f"`{key}` is covered already", "list it once: a category covers its children")


def _lawful(path: Path, purpose: Purpose) -> Iterator[Fault]:
    basis = purpose.basis
    if purpose.opt_out and basis not in MAY_OBJECT:
        why = f"an opt-out from what rests on {basis}"
        yield Fault(
            (*path, "opt_out"), why, "leave it out, or rest the purpose on consent or legitimate_interests"
        )
    if purpose.keeps_on_erasure and basis not in OUTLIVES_ERASURE:
        why = f"data held on {basis} cannot outlive an erasure"
        yield Fault(
            (*path, "keeps_on_erasure"), why, "leave it out; only legal_obligation and legal_claims can"
        )
    if purpose.use.split(".")[0] == "marketing" and basis not in MAY_OBJECT:
        why = f"marketing cannot rest on {basis}"
        yield Fault(
            (*path, "basis"), why, "rest it on consent, or on legitimate_interests with the right to object"
        )
    if basis not in SPECIAL_BASES:
        for index, key in enumerate(purpose.categories):
            if any(covers(special, key) for special in SPECIAL):
                why = f"`{key}` is a special category of data and cannot be held on {basis}"
                yield Fault(
                    (*path, "categories", index), why, "ask for consent (GDPR Art. 9), or leave it out"
                )


def _retention(policy: Policy, path: Path, purpose: Purpose) -> Iterator[Fault]:
    retention = purpose.retention
    where = (*path, "retention")
    for key, span in zip(("for", "at_most"), spans(retention), strict=False):
        yield from positive((*where, key), span)
    if isinstance(retention, Anchored) and retention.for_.longest > retention.at_most.shortest:
        why = "`for` is longer than `at_most`, so the anchor would never matter"
        yield Fault((*where, "for"), why, "shorten `for`, or lengthen `at_most`")
    if isinstance(retention, UntilReview) and retention.until_review <= policy.effective:
        why = "the review lies before the policy takes effect, so nothing could be held"
        yield Fault((*where, "until_review"), why, "write a date after `effective`")
        return
    least = shortest(retention, policy.effective)
    if least:
        yield from width((*path, "period"), purpose.period, least)
    yield from _grid((*path, "period"), purpose.period, spans(retention))


def _grid(path: Path, period: Duration, held: tuple[Duration, ...]) -> Iterator[Fault]:
    """Months have unequal lengths: only periods within one day keep "at most one width early" for them."""
    if any(span.months for span in held) and period.micros and DAY % period.micros:
        why = "a retention in calendar months needs periods that fit evenly into a day"
        yield Fault(path, why, "write P1D, PT12H or the like, or write the retention in days")


def _fed(policy: Policy) -> Iterator[Fault]:
    """Consent must be asked somewhere, and every purpose must be stated where data comes in."""
    asked = {name for form in policy.forms.values() for name in form.purposes}
    asked |= {name for category in policy.cookie_categories.values() for name in category.purposes}
    held = {name for names in stated(policy).values() for name in names}
    held |= {name for name in (policy.pixel.last_open, policy.identity.purpose) if name}
    for name, purpose in policy.purposes.items():
        path: Path = ("purposes", name)
        if purpose.basis == "consent" and name not in asked:
            why = "consent to it can be given nowhere"
            yield Fault((*path, "basis"), why, "state it in a form or in a cookie category")
        elif name not in held | asked:
            yield Fault(
                path,
                "no source states it, so nothing is ever held for it",
                "state it in a form, or leave it out",
            )


def _horizons(policy: Policy) -> Iterator[Fault]:
    for name, span in policy.horizons.items():
        yield from positive(("horizons", name), span, most=200 * 366 * DAY, limit="200 years")
    furthest = max(span.shortest for span in policy.horizons.values())
    for name, purpose in policy.purposes.items():
        if longest(purpose.retention, policy.effective) > furthest:
            why = f"the longest horizon is shorter than the retention of purpose `{name}`"
            yield Fault(("horizons",), why, "lengthen a horizon, or shorten the retention")
