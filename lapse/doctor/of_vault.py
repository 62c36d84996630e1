"""What the vault knows: whether it opens, what is owed, what is overdue, its clock, who is approved."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import get_args

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from lapse.cli.output import moment
from lapse.doctor import judging
from lapse.doctor.finding import Finding, bad, well
from lapse.doctor.of_roles import page_of
from lapse.layout import read_json
from lapse.main import Installation
from lapse.reading import read
from processors import assurance
from schemas.errors import LapseError
from schemas.models import CheckpointSigned
from schemas.times import SECOND
from streams.clockrules import Reading
from streams.expiring import READING
from streams.requests import counted, waiting
from streams.tasking import LETTERS
from vault.tasks import TaskKind

TICKED = "lapse_expiry_last_tick_timestamp_seconds"


def vault(here: Installation) -> Iterator[Finding]:
    """Whether it opens, and what it owes the log."""
    with here.vault.transaction(write=False) as tx:
        owed, oldest, now = tx.outbox_count(), tx.outbox(1), tx.now
        buckets = tx.all_buckets(state="open")
    yield well("vault", f"{here.vault_address.kind}, opens; {len(buckets)} living keys of periods")
    yield judging.server(here.vault.weaknesses())
    yield judging.outbox(owed, (now - oldest[0].written_at) / SECOND if oldest else 0.0)


def expiry(here: Installation) -> Iterator[Finding]:
    """Keys past their due date, the dead man's handle, and the brake."""
    with here.vault.transaction(write=False) as tx:
        state, now = tx.clock_state(), tx.now
        late = [row for row in tx.all_buckets(state="open") if row.due < now]
    worst = max((now - row.due for row in late), default=0) / SECOND
    log = str(here.layout.logs / "expire.log")
    yield judging.expiry(len(late), worst, _since_tick(here), log)
    if state.brake is None:
        yield well("brake", "off")
    else:
        do = "lapse clock show says since when; if what is due is meant: lapse clock confirm"
        yield bad("brake", f"{state.brake}: nothing expires", where="the vault's clock", do=do)


def _since_tick(here: Installation) -> float | None:
    """Seconds since expiry last looked at the clock, by its own word; None where it does not answer."""
    path = here.layout.role_state("expire")
    page = page_of(str(read_json(path).get("metrics_url", ""))) if path.exists() else None
    for family in text_string_to_metric_families(page or ""):
        for sample in family.samples:
            if sample.name == TICKED and sample.value > 0:
                return max(0.0, time.time() - sample.value)
    return None


def clock(here: Installation) -> Iterator[Finding]:
    """The host's clock against the vault's, what expiry noted, and the broker's."""
    with here.vault.transaction(write=False) as tx:
        kept, now, host = tx.meta(READING), tx.now, time.time()
    if here.vault.clock.mode == "manual":
        figure = f"manual, stands at {moment(now)}: test data, no certificate of it counts"
        yield well("clock", figure)
        return
    appended, ahead = _of_broker(here)
    yield judging.clock(
        judging.Clocks(
            host=host,
            vault=now / SECOND,
            kept=msgspec.msgpack.decode(kept, type=Reading).wall / SECOND if kept else None,
            appended=appended,
            ahead=ahead,
        )
    )


def _of_broker(here: Installation) -> tuple[float | None, float | None]:
    """The broker's time of its newest public record; by how much the newest checkpoint was ahead of it."""
    appended, ahead = None, None
    try:
        ends = here.admin("admin").offsets(["lifecycle"])
        start = {place: max(0, end - NEWEST) for place, end in ends.items()}
        for where, record in read(here, ["lifecycle"], start=start):
            appended = where.appended_ms / 1000
            if isinstance(record, CheckpointSigned):
                ahead = record.at / SECOND - appended
    except LapseError:
        return None, None  # a broker that is away has a finding of its own
    return appended, ahead


NEWEST = 20
"""Records of `lifecycle` that are looked at; a checkpoint is among them."""


def policy(here: Installation) -> Iterator[Finding]:
    """What is in force, and which recipients it no longer holds for."""
    plan, now = here.plans.latest, here.vault.clock.now()
    yield well("policy", f"version {plan.version}, {len(plan.purposes)} purposes")
    with here.vault.transaction(write=False) as tx:
        known = {state.name: state for state in tx.processors()}
    for processor in plan.processors:
        name, state = f"processor {processor.name}", known.get(processor.name)
        until = assurance.ends(processor, state.assurance_until if state else None)
        where = f"policy {plan.version}"
        if processor.suspended is None and until is not None and until <= now:
            yield bad(name, f"assurance ended {moment(until)}", where=where, do=assurance.renew(processor))


def tasks(here: Installation) -> Iterator[Finding]:
    """What recipients left undone, and whether anybody would be told of it."""
    with here.vault.transaction(write=False) as tx:
        names = dict.fromkeys(p.name for plan in here.plans for p in plan.processors)
        counts = {n: {k: tx.count_tasks("open", n, k) for k in get_args(TaskKind)} for n in names}
        letters = len(tx.metas(LETTERS))
    yield from judging.tasks(counts, letters=letters, told=here.settings.officer is not None)


def requests(here: Installation) -> Iterator[Finding]:
    """What people asked for, and whether it is answered in time."""
    with here.vault.transaction(write=False) as tx:
        plan = here.plans.today(tx.now)
        counts = counted(waiting(tx), plan, tx.now)
    yield from judging.requests(counts)
