"""Whether a recipient may be approved: what carries the transfer to where it is, on what paper, until when.

The policy's text is judged when it is loaded; here it is judged on the day of the approval, with what the
operator adds. A mechanism that no longer holds is refused whatever else is there.
"""

from __future__ import annotations

from schemas.errors import Refused
from schemas.ids import Micros
from schemas.plan import ProcessorPlan
from schemas.policy_words import ADEQUATE, EEA, ONLY_IN, VOID


def check(plan: ProcessorPlan, *, until: Micros | None, evidence: str | None, now: Micros) -> None:
    """Raise `Refused` with the reason where the recipient may not be approved under these terms.

    In the EEA and where an adequacy decision holds, only an assurance that has run out stands against it;
    elsewhere it needs a mechanism that holds for the country, evidence, a date of review and an end.
    """
    where = f"processors.{plan.name}"
    mechanism = plan.safeguards
    if mechanism is not None and mechanism in VOID:
        what = f"{mechanism} no longer holds: {VOID[mechanism]}"
        do = "agree on standard_contractual_clauses, publish the policy that says so, then approve"
        raise Refused("not_approved", what, f"{where}.safeguards.mechanism", do)
    if plan.suspended:
        what = f"the policy itself suspends it: {plan.suspended}"
        raise Refused("suspended", what, where, "publish a policy that does not")
    if until is not None and until <= now:
        do = "agree on a new one, then approve with --until DATE"
        raise Refused("assurance_ended", "its assurance has run out", f"{where}.assurance_until", do)
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
