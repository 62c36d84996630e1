"""Every metric of the connectors, by its one name. Labels are names of processors and classes, never data.

They belong to no registry of their own: the process that serves metrics registers `ALL` with its own.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge

CALLS = Counter(
    "lapse_connector_calls",
    "Calls made to a recipient, by class of answer.",
    ["processor", "answer"],
    registry=None,
)
WAITING = Gauge(
    "lapse_connector_waiting",
    "Objects with something still to be done for them.",
    ["processor"],
    registry=None,
)
PAUSED = Gauge(
    "lapse_connector_paused",
    "1 while the circuit is open or the recipient wants nothing.",
    ["processor"],
    registry=None,
)

AWAITED = Gauge(
    "lapse_connector_awaited",
    "Erasures accepted by a recipient, or to be done by hand there, whose end is not known.",
    ["processor"],
    registry=None,
)

ALL = (CALLS, WAITING, PAUSED, AWAITED)
"""What a process with connectors registers."""
