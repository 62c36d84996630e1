"""Policies as operators meet them: checked before publication, shown, published by a signed command."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from lapse import faults, runfile
from lapse.broker.connection import Credentials
from lapse.broker.principals import everyone
from lapse.cli.output import moment
from lapse.commands import command, order
from lapse.initialise import make_credentials, read_policy
from lapse.layout import read_json, write_atomically
from lapse.main import Installation, installation, login
from lapse.topics import words
from processors import fitting
from processors.tokens import register_token
from schemas.errors import Refused
from schemas.models import PolicyPublished
from schemas.plan import PolicyPlan
from schemas.policy import Policy, compile_plan, load
from schemas.policy.changes import diff
from schemas.retention import Anchored, Fixed, Retention, UntilReview
from schemas.topics import TopicPlan, topic_plan


def check(file: Path, data: Path | None) -> dict[str, Any]:
    """Load a policy and, beside a data folder, compare it with the latest published one."""
    text, policy = read_policy(file)
    report: dict[str, Any] = {
        "file": str(file),
        "version": policy.version,
        "sha256": hashlib.sha256(text).hexdigest(),
        "purposes": len(policy.purposes),
        "processors": len(policy.processors),
        "publishable": True,
        "changes": [],
        "refused": [],
        "remarks": list(fitting.remarks(policy)),
    }
    if data is not None:
        with installation(data) as here:
            changes, refused = compare(here, policy)
        report |= {"changes": changes, "refused": refused, "publishable": not refused}
    return report


def compare(here: Installation, policy: Policy) -> tuple[list[str], list[str]]:
    """What a publication would change, and what forbids it."""
    with here.vault.transaction(write=False) as tx:
        latest = tx.policies()[-1]
    found = diff(load(latest.body, where=f"policy {latest.version}"), policy)
    said = [f"{change.where}: {change.what}" for change in found.all if change.kind != "refused"]
    return said, [f"{change.where}: {change.what}; {change.do}" for change in found.of("refused")]


def show(here: Installation, version: int | None) -> tuple[list[dict[str, object]], dict[str, object]]:
    """The purposes of one version, and what it is."""
    plan = here.plans.latest if version is None else here.plans.version(version)
    rows = [
        {
            "purpose": purpose.name,
            "basis": purpose.basis,
            "retention": spoken(purpose.retention),
            "width": words(purpose.width / 1_000_000),
            "terms": purpose.terms,
            "categories": [plan.categories[number] for number in sorted(purpose.categories)],
            "recipients": [p.name for p in plan.processors if purpose.number in p.grants],
        }
        for purpose in plan.purposes
    ]
    return rows, {"version": plan.version, "name": plan.name, "sha256": plan.sha256.hex()}


def spoken(retention: Retention) -> str:
    """A retention as the policy writes it."""
    match retention:
        case Fixed():
            return f"{retention.for_} from collection"
        case Anchored():
            return f"{retention.for_} after {retention.after}, at most {retention.at_most}"
        case UntilReview():
            return f"until the review of {moment(retention.until_review)}"


def publish(here: Installation, file: Path, *, confirmed: bool, timeout: float) -> dict[str, Any]:
    """Make the users, rights and topics a new version needs, then put it into force."""
    text, policy = read_policy(file)
    if _unfinished(here, policy.version, text):
        _keep(here, compile_plan(policy), text)
        return {"version": policy.version, "changes": []}
    changes, refused = compare(here, policy)
    if refused:
        raise Refused(
            "policy_refused",
            "; ".join(refused),
            str(file),
            "publish what may change; longer retention needs new terms",
        )
    if changes and not confirmed:
        raise Refused("not_confirmed", "this would change: " + "; ".join(changes), str(file), "say --yes")
    plan = compile_plan(policy)
    prepare(here, plan)
    ordered = command(
        PolicyPublished,
        here,
        version=policy.version,
        sha256=hashlib.sha256(text).digest(),
        body=text.decode(),
    )
    detail = order(here, ordered, timeout)
    here.crash(faults.PUBLISHED)
    _keep(here, plan, text)
    return {"version": policy.version, "changes": changes, **detail}


def topic_plan_of(here: Installation, plan: PolicyPlan) -> tuple[TopicPlan, ...]:
    """The topics of one policy, as this installation lays them out."""
    return topic_plan(plan, partitions=here.runtime.partitions, replication=here.runtime.replication)


def _keep(here: Installation, plan: PolicyPlan, text: bytes) -> None:
    write_atomically(here.layout.policy(plan.version), text)
    here.crash(faults.COPIED)
    here.admin("admin").align(topic_plan_of(here, plan))
    runfile.refresh(here, plan)  # last: what it names is wholly published


def _unfinished(here: Installation, version: int, text: bytes) -> bool:
    """Whether exactly this text is in force, by a command that died before the data folder had its copy."""
    with here.vault.transaction(write=False) as tx:
        latest = tx.policies()[-1]
    if latest.version != version or latest.sha256 != hashlib.sha256(text).digest():
        return False
    run = here.layout.run_file
    shown = read_json(run)["policy"]["version"] if run.exists() else version
    return not here.layout.policy(version).exists() or shown != version


def prepare(here: Installation, plan: PolicyPlan) -> None:
    """Kafka users, rights, topics and tokens of a policy; idempotent."""
    make_credentials(here.layout, plan)
    register_tokens(here, plan)
    admin = here.admin("admin")
    admin.create_topics(topic_plan_of(here, plan))
    if here.address.secured:
        names = tuple(p.name for p in plan.processors)
        users = [
            login(here.layout, "roles", path.stem)
            for path in sorted((here.layout.keys / "roles").glob("*.json"))
        ]
        users += [login(here.layout, "processors", name) for name in names]
        # All of them, known or not: a password that was changed on the cluster keeps its user out until then.
        admin.put_users(Credentials(username=u.username, password=u.password) for u in users)
        admin.apply_rights(everyone(names))


def register_tokens(here: Installation, plan: PolicyPlan) -> None:
    """Let every processor of a policy in at the key endpoint, by the token in its credentials file.

    Its secret is made here as well, so that every later backup knows the names people have there.
    """
    for processor in plan.processors:
        here.vault.secrets.processor(processor.name)
    with here.vault.transaction() as tx:
        for processor in plan.processors:
            document = read_json(here.layout.credentials("processors", processor.name))
            register_token(tx, processor.name, document["token"])
