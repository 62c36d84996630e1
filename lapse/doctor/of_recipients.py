"""Which recipients may receive and cannot be called yet, and whether anything suffers from that."""

from __future__ import annotations

import time
from collections.abc import Iterator

from lapse import backlog
from lapse.doctor import judging
from lapse.doctor.finding import Finding, well
from lapse.main import Installation
from lapse.recipients import NOT_CONFIGURED, calls
from processors.credentials import credentials_file, lacking
from schemas.plan import ProcessorPlan

MOST_HELD = 1000
"""Objects counted of a recipient that cannot be called."""


def recipients(here: Installation) -> Iterator[Finding]:
    """Whether everybody we should call can be called."""
    plan = here.plans.latest
    with here.vault.transaction(write=False) as tx:
        known = {state.name: state for state in tx.processors()}
        held = {p.name: len(tx.objects_of_processor(p.name, limit=MOST_HELD)) for p in plan.processors}
    may = [
        p
        for p in plan.processors
        if p.suspended is None and p.name in known and known[p.name].approved and not known[p.name].suspended
    ]
    lacks = [p for p in may if calls(p, here.layout) == NOT_CONFIGURED]
    names = [p.name for p in lacks]
    waits = backlog.unset(plan, names, here.admin("admin"), time.time(), judging.DAY) if lacks else {}
    for processor in lacks:
        yield judging.unset(_unset(here, processor, waits[processor.name], held[processor.name]))
    if not lacks:
        yield well("recipients", f"{len(may)} may receive, all of ours can be called")


def _unset(here: Installation, processor: ProcessorPlan, waits: backlog.Backlog, held: int) -> judging.Unset:
    folder, name = here.layout.keys / "processors", processor.name
    path = credentials_file(folder, processor)
    partner = processor.connector == "webhook"
    do = "name its address in the policy: webhook: {url: https://...}"
    if not partner:
        do = f"put its credentials into {path} (docs/processors.md says which)"
    return judging.Unset(
        name=name,
        lacks=lacking(folder, processor) or NOT_CONFIGURED,
        tried=not partner and path.exists(),
        waiting=waits.unread,
        old=waits.old,
        held=held,
        where=f"policy {here.plans.latest.version}",
        do=f"{do}, then: lapse processor check {name}",
    )
