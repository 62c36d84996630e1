"""Whether a recipient may be approved: what carries the transfer to where it is, on what paper, until when.

The policy's text is judged when it is loaded; here it is judged on the day of the approval, with what the
operator adds: by the command, which says so at once, and by govern, which obeys no other. A mechanism that no
longer holds is refused whatever else is there.
"""

from __future__ import annotations

from schemas.errors import Refused
from schemas.ids import Micros
from schemas.plan import ProcessorPlan
from schemas.policy_words import ADEQUATE, EEA, ONLY_IN, VOID


def ends(plan: ProcessorPlan, approved_until: Micros | None) -> Micros | None:
    """Return when a recipient's assurance ends, by policy or approval, the earlier; None if neither says."""
    return min((end for end in (plan.assurance_until, approved_until) if end is not None), default=None)


def renew(plan: ProcessorPlan) -> str:
    """Return what to do about an assurance that has run out: an end the policy states only a policy moves."""
    order = f"then: lapse processor approve {plan.name}"
    if plan.assurance_until is not None:
        return f"agree on a new one, publish the policy that states it, {order}"
    return f"agree on a new one, {order} --until DATE"


def check(plan: ProcessorPlan, *, until: Micros | None, evidence: str | None, now: Micros) -> None:
    """Raise `Refused` with the reason where the recipient may not be approved under these terms.

    An approval adds `until` and `evidence` to the policy's terms, None where it adds none.

    In the EEA and where an adequacy decision holds, only an assurance that has run out stands against it;
    elsewhere it needs a mechanism that holds for the country, evidence, a date of review and an end.
    """
    where = f"processors.{plan.name}"
    mechanism, until, evidence = plan.safeguards, ends(plan, until), evidence or plan.evidence
    if mechanism is not None and mechanism in VOID:
        what = f"{mechanism} no longer holds: {VOID[mechanism]}"
        do = "agree on standard_contractual_clauses, publish the policy that says so, then approve"
        raise Refused("not_approved", what, f"{where}.safeguards.mechanism", do)
    if plan.suspended:
        what = f"the policy itself suspends it: {plan.suspended}"
        raise Refused("suspended", what, where, "publish a policy that does not")
    if until is not None and until <= now:
        raise Refused("assurance_ended", "its assurance has run out", f"{where}.assurance_until", renew(plan))
    if plan.region in EEA or plan.region in ADEQUATE:
        return
    if mechanism is not None and mechanism in ONLY_IN and plan.region not in ONLY_IN[mechanism]:
        what = f"{mechanism} does not carry transfers to {plan.region}"
        raise Refused("not_approved", what, f"{where}.safeguards.mechanism", "agree on another mechanism")
    needed = {
        "safeguards.mechanism": (mechanism, "publish a policy with the mechanism that carries the transfer"),
        "evidence": (evidence, "approve with --evidence, or state it in the policy"),
        "review": (plan.review, "publish a policy with the date at which the assurance is reviewed"),
        "assurance_until": (until, "approve with --until DATE, or state it in the policy"),
    }
    for name, (stated, do) in needed.items():
        if stated is None:
            what = f"data goes to {plan.region}, and `{name}` is not stated"
            raise Refused("not_approved", what, f"{where}.{name}", do)
