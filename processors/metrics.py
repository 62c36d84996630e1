"""Every metric of the connectors, by its one name. Labels are names of processors and classes, never data."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

CALLS = Counter(
    "lapse_connector_calls", "Calls made to a recipient, by class of answer.", ["processor", "answer"]
)
WAITING = Gauge("lapse_connector_waiting", "Objects with something still to be done for them.", ["processor"])
