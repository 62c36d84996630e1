"""Where a worker can be told to die (see `vault.faults`)."""

from __future__ import annotations

from vault.faults import Crash, never

__all__ = ["POINTS", "STAGES", "STEPS", "Crash", "never"]

STAGES = ("tag", "route", "signals", "control", "receipts")
"""The stages behind the chunk protocol."""
STEPS = ("read", "committed", "produced", "settled", "told")
"""Before commit 1; after it; after the broker has all; after commit 2; once what it owes is on the log."""
DECIDED = "route.decided"
"""Decisions are on the log, the deliveries they allow are not."""
LEASED = "announce.leased"
"""The announcer has its lease and has sent nothing."""
ANNOUNCED = "announce.sent"
"""Messages are acknowledged, and the vault still owes them."""
APPLIED = "expire.applied"
"""A new policy's due dates stand; nothing that they end has ended."""
ENDED = "expire.ended"
"""Keys are destroyed, and nobody was told."""
EXPANDED = "expand.sent"
"""A lapse was told for every delivery, and the job is still to be done."""
CUT = "purge.cut"
"""Intake is cut off; the tick that lets its bytes go is not written."""
OTHERS = (DECIDED, LEASED, ANNOUNCED, APPLIED, ENDED, EXPANDED, CUT)
POINTS = (*(f"{stage}.{step}" for stage in STAGES for step in STEPS), *OTHERS)
"""Every point of the workers."""
