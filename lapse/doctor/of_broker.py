"""What the cluster shows: who gets in, who may what, topics against the plan, what waits unread."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from lapse import backlog, waiting
from lapse import topics as planned
from lapse.broker.connection import Credentials
from lapse.broker.principals import everyone
from lapse.broker.probe import probe
from lapse.doctor import judging
from lapse.doctor.finding import Finding, bad, well
from lapse.main import Installation, login
from schemas.errors import LapseError

LOGIN_SECONDS, AT_ONCE = 5.0, 8
HOUR = 3600.0


def broker(here: Installation) -> Iterator[Finding]:
    """Whether it answers the super user, and keeps strangers out."""
    cluster = here.admin("admin").cluster_id()
    yield well("broker", f"{here.runtime.bootstrap}, cluster {cluster}")
    if here.address.secured:
        yield well("broker closed", here.runtime.security.protocol)
        return
    do = "use a cluster with SCRAM and ACLs: here nothing but the network keeps anybody out"
    yield bad("broker closed", here.runtime.security.protocol, where=here.runtime.bootstrap, do=do)


def users(here: Installation) -> dict[str, Credentials]:
    """Every Kafka user of this installation, by name: roles and the latest policy's recipients."""
    roles = [path.stem for path in sorted((here.layout.keys / "roles").glob("*.json"))]
    found = [login(here.layout, "roles", name) for name in roles]
    found += [login(here.layout, "processors", p.name) for p in here.plans.latest.processors]
    return {user.username: user for user in found}


def logins(here: Installation) -> Iterator[Finding]:
    """Whether each user gets in with the password of its file: librdkafka says so at once, Faust never."""
    if not here.address.secured:
        return

    def refusal(user: Credentials) -> str | None:
        try:
            probe(here.address, user, timeout=LOGIN_SECONDS)
        except LapseError as error:
            return error.what
        return None

    known = users(here)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = dict(zip(known, pool.map(refusal, known.values()), strict=True))
    refused = {name: why for name, why in answers.items() if why}
    yield from judging.logins(refused, len(known), here.runtime.bootstrap)


def rights(here: Installation) -> Iterator[Finding]:
    """The cluster's rights against the table: a role that lacks one waits for ever and says little."""
    if not here.address.secured:
        return
    table = everyone(tuple(p.name for p in here.plans.latest.processors))
    missing, surplus = here.admin("admin").compare_rights(table)
    yield from judging.rights(missing, surplus)


def topics(here: Installation) -> Iterator[Finding]:
    """The live topics against the plan."""
    rows = planned.compare(here)
    for row in rows:
        if row["differs"]:
            name, do = f"topic {row['topic']}", "set it as planned; lapse topics shows both"
            yield bad(name, str(row["differs"]), where=str(row["topic"]), do=do)
    if not any(row["differs"] for row in rows):
        yield well("topics", f"{len(rows)} as planned")
    gone = [row["minutes_to_removal"] or 0.0 for row in rows if row["topic"].startswith("intake.")]
    yield well("clear bytes gone", f"at most {max(gone, default=0.0):g} min after the commit (intake)")


def replicas(here: Installation) -> Iterator[Finding]:
    """Whether every replica is in sync, and Kafka's own topics are kept more than once."""
    admin = here.admin("admin")
    yield from judging.replicas(admin.brokers(), admin.copies())


def backlogs(here: Installation) -> Iterator[Finding]:
    """What groups have left unread for so long that the topic will take it."""
    yield from judging.backlogs(
        backlog.look(here.plans.latest, here.layout, here.admin("admin"), time.time())
    )


def quarantine(here: Installation) -> Iterator[Finding]:
    """How much came into quarantine in the last hour, beside the day before."""
    admin, now, names = here.admin("admin"), time.time(), ["quarantine"]
    end = sum(admin.offsets(names).values())
    hour = sum(admin.offsets_at(names, now - HOUR).values())
    day = sum(admin.offsets_at(names, now - judging.DAY).values())
    yield judging.quarantine(end - hour, hour - day)


def lag(here: Installation) -> Iterator[Finding]:
    """How far our own groups are behind."""
    found = waiting.lag(here)
    yield from judging.lags({name: sum(counts.values()) for name, counts in found.groups.items()})
