"""The situations a connector has to come through: an id and one sentence each, as tables show them."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.errors import NotFound


@dataclass(frozen=True, slots=True)
class Situation:
    """One situation: its id and what must hold in it."""

    id: str
    holds: str


SITUATIONS: tuple[Situation, ...] = (
    Situation(
        "only_granted",
        "Nothing outside the grant leaves: no closed or unmapped value, no handle, no other name of theirs.",
    ),
    Situation("redelivery", "The same deliveries again change nothing, and nothing is asked again."),
    Situation(
        "out_of_order", "Old revisions and duplicates, whenever they come, never replace what is newer."
    ),
    Situation("lapse_before", "A lapse that comes before its delivery keeps it from ever leaving."),
    Situation("lapse_between", "A lapse between deliveries ends what was before it, and nothing after it."),
    Situation(
        "lapse_after", "A lapse of one purpose leaves what another still justifies, the last leaves nothing."
    ),
    Situation("periods", "January's lapse leaves June's data."),
    Situation("slow_withdrawal", "A withdrawal holds in every interleaving with a slow write."),
    Situation("slow_erasure", "An erasure holds in every interleaving with a slow write."),
    Situation("slow_recall", "A recall holds in every interleaving with a slow write."),
    Situation(
        "lost_answer", "An answer lost after the work was done makes no second object and leaves none behind."
    ),
    Situation("storm", "Answers 429 without Retry-After are waited out; nothing is lost or refused."),
    Situation(
        "storm_told", "Answers 429 with Retry-After are waited out, never asking sooner than they say."
    ),
    Situation("quota", "A used-up quota is left alone until it is there again, then everything arrives."),
    Situation(
        "login_expired", "Credentials that expire mid-batch are renewed or waited for; nothing is refused."
    ),
    Situation("partial", "A call of several requests that fails at any of them is finished later, once."),
    Situation("malformed", "Pages of HTML and broken answers are never taken for success."),
    Situation("claims_deletion", "A vendor that claims a deletion and still returns the object is caught."),
    Situation(
        "suspended",
        "A suspension keeps back what is on its way, lets ends be carried out, and loses nothing.",
    ),
    Situation(
        "ends_later", "What is only accepted is told so, then that it is late, and as done once it has ended."
    ),
    Situation("forgotten", "An address the vendor never takes back is told so once, and not asked for ever."),
    Situation("restart", "A connector that dies at any step, and is made anew, loses and doubles nothing."),
    Situation("receipts", "Receipts say no more than is known, by what the manifest says is possible."),
    Situation("silent", "No personal value stands in logs, metrics, exceptions or receipts."),
)
"""All, in the order tables list them."""

IDS = tuple(situation.id for situation in SITUATIONS)
"""Their ids."""


def situation(name: str) -> Situation:
    """Return the situation of this id; `NotFound` where there is none."""
    for each in SITUATIONS:
        if each.id == name:
            return each
    raise NotFound(
        "not_found", f"there is no situation {name!r}", "situation", f"use one of {', '.join(IDS)}"
    )
