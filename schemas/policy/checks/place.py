"""Contradictions of place: recipients outside the EEA, and what carries a transfer there."""

from collections.abc import Iterator

from schemas.policy.faults import Fault
from schemas.policy.model import Policy
from schemas.policy.recipients import Processor, Safeguards
from schemas.policy.yamltext import Path
from schemas.policy_words import ADEQUATE, ALWAYS_ASSURED, EEA, ONLY_IN, VOID


def faults(policy: Policy) -> Iterator[Fault]:
    """Yield what stands against passing data to a recipient where it is."""
    for name, processor in policy.processors.items():
        if processor.suspended:
            continue
        path: Path = ("processors", name)
        yield from _transfer(path, processor.region, processor.safeguards)
        yield from _assured(path, processor)
        yield from _dates(policy, path, processor)
        for sub, found in processor.sub_processors.items():
            yield from _transfer((*path, "sub_processors", sub), found.region, found.safeguards)


def third(region: str) -> bool:
    """Tell whether data needs safeguards to go there."""
    return region not in EEA and region not in ADEQUATE


def _transfer(path: Path, region: str, safeguards: Safeguards | None) -> Iterator[Fault]:
    if safeguards is None:
        if third(region):
            why = f"data goes to {region} without anything that carries the transfer"
            yield Fault((*path, "region"), why, "add `safeguards`, or suspend the processor")
        return
    mechanism = safeguards.mechanism
    where = (*path, "safeguards", "mechanism")
    if mechanism in VOID:
        mend = "agree on standard_contractual_clauses, or suspend the processor"
        yield Fault(where, f"{mechanism} no longer holds: {VOID[mechanism]}", mend)
    if mechanism in ONLY_IN and region not in ONLY_IN[mechanism]:
        why = f"{mechanism} does not carry transfers to {region}"
        yield Fault(where, why, "agree on standard_contractual_clauses, or suspend the processor")


def _assured(path: Path, processor: Processor) -> Iterator[Fault]:
    for assurance in ALWAYS_ASSURED:
        if assurance not in processor.assures:
            why = f"the processor does not assure `{assurance}`"
            yield Fault(
                (*path, "assures"), why, "have it undertaken in the contract, or suspend the processor"
            )
    if third(processor.region) and "notice_if_failing" not in processor.assures:
        why = "a recipient in a third country that does not assure `notice_if_failing`"
        yield Fault(
            (*path, "assures"), why, "have it undertake to say when it can no longer protect the data"
        )


def _dates(policy: Policy, path: Path, processor: Processor) -> Iterator[Fault]:
    until = processor.assurance_until
    if until is None:
        if third(processor.region):
            why = "an assurance from a third country without an end"
            yield Fault((*path, "region"), why, "add `assurance_until`, the date to which it was given")
        return
    if until <= policy.effective:
        why = "the assurance has ended before the policy takes effect"
        yield Fault((*path, "assurance_until"), why, "renew it, or suspend the processor")
    if processor.review is not None and processor.review > until:
        why = "reviewed only after the assurance has ended"
        yield Fault((*path, "review"), why, "review it before `assurance_until`")
