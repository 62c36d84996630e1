"""What makes a policy contradict itself or the law it states: one generator per part, all run at once."""

from collections.abc import Iterator

from schemas.policy.checks import place, purposes, recipients, sources, upkeep
from schemas.policy.faults import Fault
from schemas.policy.model import Policy


def contradictions(policy: Policy) -> Iterator[Fault]:
    """Yield every contradiction in a policy whose shape is right."""
    for part in (upkeep, place, purposes, sources, recipients):
        yield from part.faults(policy)
