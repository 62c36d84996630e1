"""Faust behind the ports of `streams.ports`: see docs/engine.md for how it works and the traps it closes."""

from streams.engine.access import KafkaAccess
from streams.engine.app import Engine, Tuning
from streams.engine.health import EngineHealth
from streams.engine.ledger import Place
from streams.engine.patience import discreet, patient
from streams.engine.poison import BugBudget, bisect, offenders
from streams.engine.sink import KafkaSink

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
    "patient",
]
