"""What the expire role measures beside its work, for alerts: free disk, and what recipients leave unread."""

from __future__ import annotations

import shutil
import time

from lapse import backlog
from lapse.main import Installation
from schemas.plan import PolicyPlan
from streams import metrics


def measure(here: Installation, plan: PolicyPlan) -> None:
    """Measure once, under today's policy; `Unavailable` where broker or vault is away."""
    for name, path in here.layout.folders.items():
        usage = shutil.disk_usage(path)
        metrics.DISK_FREE.labels(name).set(usage.free / usage.total if usage.total else 0.0)
    for each in backlog.look(plan, here.layout, here.admin("expire"), time.time()):
        if each.topic.startswith("processor."):
            name = each.topic.removeprefix("processor.")
            metrics.OLD_BACKLOG.labels(name).set(each.old + each.lost)
