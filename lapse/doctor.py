"""`lapse doctor`: everything that must be well, looked at one by one; each finding says what to do."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from lapse import crew, topics, waiting
from lapse.cli.output import moment
from lapse.layout import ROLES, read_json
from lapse.main import Installation
from lapse.recipients import opened_here
from schemas.errors import LapseError

DISK_FREE = 0.1
"""Below a tenth free, a broker that cannot write is near."""
LATE_SECONDS = 60
"""A bucket this much past its due date means that expiry has stopped."""
CLOCK_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at: is it well, its figure, and what to do if not."""

    check: str
    ok: bool
    figure: str
    do: str | None = None

    def as_row(self) -> dict[str, Any]:
        """As a row of the answer."""
        return {
            "check": self.check,
            "state": "ok" if self.ok else "BAD",
            "figure": self.figure,
            "do": self.do,
        }


Check = Callable[[Installation], Iterator[Finding]]


def examine(here: Installation) -> list[Finding]:
    """Run every check; one that cannot look is itself a finding, and the others still run."""
    found: list[Finding] = []
    for name, check in CHECKS.items():
        try:
            found += check(here)
        except LapseError as error:
            found.append(
                Finding(
                    check=name, ok=False, figure=f"{error.code}: {error.what}", do=error.do or error.where
                )
            )
    return found


def _roles(here: Installation) -> Iterator[Finding]:
    if not here.layout.roles_file.exists():
        yield Finding(check="roles", ok=False, figure="not up", do="lapse up --data DIR")
        return
    wanted = [role for role in ROLES if role != "broker"]
    counts = crew.wished(here.layout)
    wanted += [crew.named(role, n) for role, count in counts.items() for n in range(2, count + 1)]
    for role in wanted:
        path = here.layout.role_state(role)
        word = read_json(path) if path.exists() else {}
        if not word.get("ready"):
            waiting_for = word.get("waiting_for") or "it has said nothing yet"
            yield Finding(
                check=f"role {role}",
                ok=False,
                figure=f"waits for {waiting_for}",
                do=f"{here.layout.logs / role}.log",
            )
    yield Finding(check="roles", ok=True, figure=f"{len(wanted)} roles watched")


def _broker(here: Installation) -> Iterator[Finding]:
    cluster = here.admin("admin").cluster_id()
    yield Finding(check="broker", ok=True, figure=f"{here.runtime.bootstrap}, cluster {cluster}")
    secured = here.address.secured
    do = (
        None
        if secured
        else "use a cluster with SCRAM and ACLs: here nothing but the network keeps anybody out"
    )
    yield Finding(check="broker closed", ok=secured, figure=here.runtime.security.protocol, do=do)


def _topics(here: Installation) -> Iterator[Finding]:
    rows = topics.compare(here)
    bad = [row for row in rows if row["differs"]]
    for row in bad:
        yield Finding(
            check=f"topic {row['topic']}",
            ok=False,
            figure=str(row["differs"]),
            do="set it as planned: lapse topics",
        )
    intake = max(
        (row["minutes_to_removal"] or 0.0 for row in rows if row["topic"].startswith("intake.")), default=0.0
    )
    yield Finding(
        check="topics", ok=not bad, figure=f"{len(rows)} as planned" if not bad else f"{len(bad)} differ"
    )
    yield Finding(
        check="clear bytes gone", ok=True, figure=f"at most {intake:g} min after the commit (intake)"
    )


def _replicas(here: Installation) -> Iterator[Finding]:
    admin = here.admin("admin")
    brokers, copies = admin.brokers(), admin.copies()
    behind = sorted(
        (insync - replicas, name) for name, (replicas, insync) in copies.items() if insync < replicas
    )
    figure, do = f"{brokers} broker{'s' * (brokers > 1)}, every replica in sync", None
    if behind:
        replicas, insync = copies[behind[0][1]]
        figure = f"{len(behind)} topics are behind, {behind[0][1]} has {insync} of {replicas} in sync"
        do = "is a broker away? with fewer in sync than min.insync.replicas nothing is taken any more"
    yield Finding(check="replicas", ok=not behind, figure=figure, do=do)
    for name in sorted(name for name in copies if name.startswith("__")):
        if brokers > 1 and copies[name][0] == 1:
            figure = f"1 replica on {brokers} brokers: when that one goes, every group stands still"
            do = "set offsets.topic.replication.factor and its like; kafka-reassign-partitions.sh moves it"
            yield Finding(check=f"topic {name}", ok=False, figure=figure, do=do)


def _vault(here: Installation) -> Iterator[Finding]:
    with here.vault.transaction(write=False) as tx:
        owed, oldest = tx.outbox_count(), tx.outbox(1)
        buckets = tx.all_buckets(state="open")
        now, late = tx.now, [row for row in buckets if tx.now - row.due > LATE_SECONDS * 1_000_000]
    yield Finding(check="vault", ok=True, figure=f"{here.vault_address.kind}, {len(buckets)} open buckets")
    stuck = bool(oldest) and (now - oldest[0].written_at) > LATE_SECONDS * 1_000_000
    yield Finding(
        check="outbox",
        ok=not stuck,
        figure=f"{owed} owed to the log",
        do="is the broker reachable by expire?" if stuck else None,
    )
    do = "expiry has stopped: look at the clock and at the log of expire" if late else None
    yield Finding(check="expiry", ok=not late, figure=f"{len(late)} buckets overdue", do=do)


def _clock(here: Installation) -> Iterator[Finding]:
    with here.vault.transaction(write=False) as tx:
        state, now = tx.clock_state(), tx.now
    do = "look at the clock, then: lapse clock confirm" if state.brake else None
    yield Finding(check="brake", ok=state.brake is None, figure=state.brake or "off", do=do)
    if here.vault.clock.mode == "manual":
        yield Finding(
            check="clock",
            ok=True,
            figure=f"manual, stands at {moment(now)}: test data, no certificate of it counts",
        )
    else:
        off = abs(now / 1e6 - time.time())
        yield Finding(
            check="clock",
            ok=off < CLOCK_SECONDS,
            figure=f"{off:.3f} s from the host's",
            do=None if off < CLOCK_SECONDS else "set the host's clock by NTP",
        )


def _policy(here: Installation) -> Iterator[Finding]:
    plan, now = here.plans.latest, here.vault.clock.now()
    yield Finding(check="policy", ok=True, figure=f"version {plan.version}, {len(plan.purposes)} purposes")
    with here.vault.transaction(write=False) as tx:
        known = {state.name: state for state in tx.processors()}
    for processor in plan.processors:
        state = known.get(processor.name)
        until = state.assurance_until if state and state.assurance_until else processor.assurance_until
        if processor.connector == "webhook" and not opened_here(processor):
            name, do = (
                f"processor {processor.name}",
                "name its address in the policy: webhook: {url: https://...}",
            )
            yield Finding(check=name, ok=False, figure="no address to call", do=do)
        if processor.suspended is None and until is not None and until <= now:
            figure = f"assurance ended {moment(until)}"
            yield Finding(
                check=f"processor {processor.name}",
                ok=False,
                figure=figure,
                do="lapse processor approve NAME --until DATE",
            )


def _disk(here: Installation) -> Iterator[Finding]:
    usage = shutil.disk_usage(here.layout.root)
    free = usage.free / usage.total
    yield Finding(
        check="disk",
        ok=free > DISK_FREE,
        figure=f"{free:.0%} free",
        do="make room" if free <= DISK_FREE else None,
    )
    yield Finding(
        check="spool", ok=here.spooled() == 0, figure=f"{here.spooled()} bytes wait for Kafka", do=None
    )


def _lag(here: Installation) -> Iterator[Finding]:
    found = waiting.lag(here)
    for name, counts in found.groups.items():
        total = sum(counts.values())
        yield Finding(
            check=f"lag {name}",
            ok=total < LAG_WARNS,
            figure=f"{total} records behind",
            do="is that role running?",
        )
    if not found.groups:
        yield Finding(check="lag", ok=True, figure="nothing behind")


LAG_WARNS = 100_000

CHECKS: dict[str, Check] = {
    "roles": _roles,
    "broker": _broker,
    "topics": _topics,
    "replicas": _replicas,
    "vault": _vault,
    "clock": _clock,
    "policy": _policy,
    "disk": _disk,
    "lag": _lag,
}
