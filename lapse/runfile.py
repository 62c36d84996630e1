"""`DATA/run.json`: every address and file of the running system, for people, scripts and tests."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import schemas
from lapse.broker.principals import processor_group
from lapse.cli.output import moment
from lapse.layout import read_json, write_json
from lapse.main import Installation
from lapse.runtime import Runtime
from schemas.plan import PolicyPlan, ProcessorPlan

VERSION = 1


def write(here: Installation, runtime: Runtime, metrics: dict[str, str]) -> dict[str, Any]:
    """Write it atomically, 0600; called when every role is ready."""
    layout, plan = here.layout, here.plans.latest
    folder = Path(schemas.__file__).parent
    document = {
        "version": VERSION,
        "run_id": runtime.run_id,
        "pid": os.getpid(),
        "ready_at": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "bootstrap": runtime.bootstrap,
        "security": {
            **runtime.security.model_dump(),
            "auditor_file": str(layout.credentials("roles", "auditor")),
            **_superuser(here, runtime),
        },
        "cluster_id": runtime.cluster_id,
        "urls": {
            "collector": f"http://{runtime.host}:{runtime.ports.collector}",
            "keys": f"https://{runtime.host}:{runtime.ports.keys}",
            "admin": f"https://{runtime.host}:{runtime.ports.admin}",
            "metrics": metrics,
        },
        "ca_file": str(layout.ca),
        "admin_token_file": str(layout.admin_token),
        "schemas_dir": str(folder / "avro"),
        "catalogue": str(folder / "catalogue.json"),
        "vault": {"kind": here.vault_address.kind, "url": here.vault_address.url},
        "keys_dir": str(layout.keys),
        "logs_dir": str(layout.logs),
        **_of_policy(here, plan, runtime),
        "broker": {"log_dirs": list(runtime.log_dirs)},
        "clock": {"mode": runtime.clock, "now": moment(here.vault.clock.now())},
    }
    write_json(layout.metrics_file, targets(metrics))
    write_json(layout.run_file, document)
    return document


def _superuser(here: Installation, runtime: Runtime) -> dict[str, str]:
    """Test data alone names the super user's file; an open cluster has no such user."""
    named = runtime.test and here.address.secured
    return {"superuser_file": str(here.layout.credentials("roles", "admin"))} if named else {}


def targets(metrics: dict[str, str]) -> list[dict[str, Any]]:
    """Where the roles' metrics are, in the shape of Prometheus' `file_sd_configs`."""
    return [
        {"targets": [urlsplit(url).netloc], "labels": {"role": role}} for role, url in metrics.items() if url
    ]


def refresh(here: Installation, plan: PolicyPlan) -> None:
    """Bring what hangs on the policy up to date after one was published; nothing where nothing runs."""
    path = here.layout.run_file
    if path.exists():
        write_json(path, read_json(path) | _of_policy(here, plan, here.runtime))


def _of_policy(here: Installation, plan: PolicyPlan, runtime: Runtime) -> dict[str, Any]:
    return {
        "policy": _policy(here, plan),
        "processors": {p.name: _processor(here, p, runtime) for p in plan.processors},
        "sites": {name: _site(here, name) for name in plan.sites},
        "topics": sorted(here.admin().topics()),
    }


def _policy(here: Installation, plan: PolicyPlan) -> dict[str, Any]:
    return {
        "version": plan.version,
        "sha256": plan.sha256.hex(),
        "file": str(here.layout.policy(plan.version)),
    }


def _processor(here: Installation, plan: ProcessorPlan, runtime: Runtime) -> dict[str, Any]:
    return {
        "topic": f"processor.{plan.name}",
        "group": processor_group(plan.name),
        "credentials_file": str(here.layout.credentials("processors", plan.name)),
        **({"fake_url": runtime.fakes[plan.name]} if plan.name in runtime.fakes else {}),
    }


def _site(here: Installation, name: str) -> dict[str, Any]:
    path = here.layout.credentials("sites", name)
    return {"key": read_json(path)["key"], "token_file": str(path)}
