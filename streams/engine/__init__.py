"""Faust behind the ports of `streams.ports`: see docs/engine.md for how it works and the traps it closes."""

from streams.engine.access import KafkaAccess
from streams.engine.app import Engine, Tuning
from streams.engine.health import EngineHealth
from streams.engine.sink import KafkaSink, open_sink
from streams.ledger import Place
from streams.patience import discreet, patient
from streams.poison import BugBudget, bisect, offenders

__all__ = [
    "BugBudget",
    "Engine",
    "EngineHealth",
    "KafkaAccess",
    "KafkaSink",
    "Place",
    "Tuning",
    "bisect",
    "discreet",
    "offenders",
    "open_sink",
    "patient",
]
