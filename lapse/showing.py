"""All that is known of one recipient: what it may have, where it is, what it undertakes, what it holds."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from lapse.broker.principals import processor_group
from lapse.cli.output import moment
from lapse.main import Installation
from lapse.recipients import listed
from lapse.topics import words
from processors import fitting
from processors.awaiting import Awaiting
from processors.credentials import credentials_file, kafka_login_file, lacking, webhook_secret_file
from processors.registry import kind, vendor
from processors.said import BASE_URL, fields_of, played
from processors.telling import Teller
from schemas.plan import ProcessorPlan
from schemas.policy import Policy, load
from schemas.policy.recipients import Processor, Safeguards
from schemas.times import SECOND
from vault.port import Tx


def shown(here: Installation, name: str) -> dict[str, Any]:
    """Everything, as one JSON object; `NotFound` where the policy in force names no such processor."""
    plan = here.plans.latest.processor(name)
    with here.vault.transaction(write=False) as tx:
        policy = load(tx.policies()[-1].body, where="policy")
        held = _held(tx, name)
    [row] = [row for row in listed(here) if row["processor"] == name]
    row.pop("purposes")
    processor = policy.processors[name]
    return {
        "title": processor.title,
        **row,
        **_undertakes(processor),
        "erase_within": words(plan.erase_within / SECOND),
        "grants": {purpose: list(keys) for purpose, keys in processor.grants.items()},
        **_fields(policy, processor, plan),
        **_reached(here, plan),
        **held,
    }


def _undertakes(processor: Processor) -> dict[str, Any]:
    return {
        "safeguards": _safeguards(processor.safeguards),
        "assures": list(processor.assures),
        "review": moment(processor.review),
        "evidence": processor.evidence,
        "passes_on_to": {
            name: {"region": sub.region, "safeguards": _safeguards(sub.safeguards)}
            for name, sub in processor.sub_processors.items()
        },
    }


def _safeguards(found: Safeguards | None) -> str | None:
    if found is None:
        return None
    return found.mechanism + (f" since {str(moment(found.since))[:10]}" if found.since is not None else "")


def _fields(policy: Policy, processor: Processor, plan: ProcessorPlan) -> dict[str, Any]:
    """Which of our fields it may be sent, under which of its names, and what its interface can do."""
    granted, offered = fitting.granted(policy, processor), vendor(plan.connector)
    if offered is None:
        return {"fields": {name: name for name in sorted(granted)}, "never_sent": [], "interface": None}
    mapped = fields_of(offered.manifest, plan.settings)
    interface = asdict(offered.manifest)
    del interface["fields"]
    return {
        "fields": {name: mapped[name] for name in sorted(granted & mapped.keys())},
        "never_sent": sorted(granted - mapped.keys()),
        "interface": interface | {"required": sorted(offered.manifest.required)},
    }


def _reached(here: Installation, plan: ProcessorPlan) -> dict[str, Any]:
    """Where its deliveries lie, where it is called, and where its secrets have to be."""
    folder = here.layout.keys / "processors"
    secrets = {
        "webhook": webhook_secret_file(folder, plan.name),
        "kafka": kafka_login_file(folder, plan.name) if plan.kafka and plan.kafka.bootstrap else None,
    }.get(plan.connector, credentials_file(folder, plan) if kind(plan.connector).vendor else None)
    said = plan.settings.get(BASE_URL) if plan.webhook is None else plan.webhook.url
    return {
        "lacks": lacking(folder, plan),
        "address": said,
        "played_by_a_stand_in": played(plan),
        "credentials_file": None if secrets is None else str(secrets),
        "topic": f"processor.{plan.name}",
        "group": processor_group(plan.name),
        "topic_retention": words(plan.topic_retention / SECOND),
    }


def _held(tx: Tx, name: str) -> dict[str, Any]:
    """What it holds through us, what has still to be done there, and the lapse that is open longest."""
    objects, holdings = tx.objects_held(name)
    lapses = Teller(processor=name, receipt_partitions=1).open_lapses(tx)
    oldest = lapses[0] if lapses else None
    return {
        "objects": objects,
        "holdings": holdings,
        "waiting": tx.objects_waiting(name),
        "awaited": Awaiting(name).count(tx),
        "open_lapses": len(lapses),
        "oldest_open_lapse": None
        if oldest is None
        else {
            "lapse_id": oldest.lapse_id,
            "since": moment(oldest.effective_at),
            "answer_by": moment(oldest.answer_by),
            "answered": oldest.answered,
            "objects_left": oldest.remaining,
            "awaited": oldest.awaiting,
        },
    }
