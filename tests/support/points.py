"""Which test visits which crash point; a guard in tests/unit/faults fails where a point has no visit."""

from __future__ import annotations

import lapse.collector_faults
import lapse.faults
import processors.faults
import streams.faults
import vault.faults
from processors.faults import ANSWERED, CALLED, CLAIMED, DONE, ENTERED, FINISHED, MARKED

FLOW = tuple(point for point in streams.faults.POINTS if point != streams.faults.CUT)
"""tests/unit/faults/test_flow.py: the whole flow in memory."""
PURGE = (streams.faults.CUT,)
"""The same file: what is cut off in intake."""
CONNECTOR = (ENTERED, MARKED, CLAIMED, CALLED, ANSWERED, FINISHED, DONE)
"""tests/unit/faults/test_connector.py: a connector and its recipient in memory."""
EPOCH = tuple(point for point in vault.faults.POINTS if point != vault.faults.FORGOTTEN)
"""tests/unit/faults/test_files.py: the turn of an epoch, on files."""
BYTES = (vault.faults.FORGOTTEN,)
"""The same file: the bytes of ended keys."""
SPOOL = lapse.collector_faults.POINTS
"""The same file: the collector's spool, in a process that is really killed."""
INIT = (lapse.faults.MADE, lapse.faults.KEPT)
"""The same file: the making of a data folder, likewise."""
START = (lapse.faults.FIRST, lapse.faults.PREPARED, lapse.faults.ORDERED)
"""tests/e2e/live/test_points.py: one start of `lapse up` after the other, before there are roles."""
STARTED = (lapse.faults.STARTED, lapse.faults.READY)
"""tests/soak/test_points_soak.py: the same with its roles."""
RUNNING = (
    *("tag.produced", "route.decided", "signals.committed", "control.told", "receipts.settled"),
    *("announce.sent", "expire.ended", "purge.cut", "expand.sent"),
    *(CALLED, ANSWERED),
    *(processors.faults.FENCED, processors.faults.SENT, processors.faults.WRITTEN, processors.faults.TOLD),
    lapse.collector_faults.SENT,
)
"""tests/e2e/live/test_points.py: every stage on the live system; `make soak` visits the others there, too."""
COMMANDS = (
    lapse.faults.MOVED,
    lapse.faults.PUBLISHED,
    lapse.faults.COPIED,
    lapse.faults.ROTATED,
    lapse.faults.LET_IN,
)
"""tests/soak/test_points_soak.py: commands that are killed and given again."""
STOP = (lapse.faults.STOPPING,)
"""The same file: the end."""
VISITED = frozenset(
    (*FLOW, *PURGE, *CONNECTOR, *EPOCH, *BYTES, *SPOOL, *INIT, *START, *STARTED, *RUNNING, *COMMANDS, *STOP)
)
