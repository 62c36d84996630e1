"""The engine's parts that need no broker: library check, health, logs, access, stop guard."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from pathlib import Path

import pytest
from faust.transport.consumer import Consumer

from schemas.errors import Bug
from streams.engine import KafkaAccess
from streams.engine.guard import check_libraries
from streams.engine.health import STALL, EngineHealth, Status
from streams.engine.logs import BURST, WINDOW, RateLimit, quieten
from streams.ledger import Place

HERE = Place("t", 0)


def test_the_locked_libraries_fit() -> None:
    """The installed Faust and aiokafka are the ones the engine overrides."""
    check_libraries()


def test_another_faust_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed signature of an overridden method stops the start with a message that names it."""
    monkeypatch.setattr(Consumer, "wait_empty", lambda self, timeout: None)
    with pytest.raises(Bug, match="make setup"):
        check_libraries()


def test_a_faust_without_its_c_part_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the compiled stream the pure one acknowledges what it skips: no start."""
    monkeypatch.setitem(sys.modules, "faust._cython.streams", None)
    with pytest.raises(Bug, match="_cython"):
        check_libraries()


def health(**more: object) -> EngineHealth:
    """A running worker of one partition."""
    base: dict[str, object] = {
        "state": "running",
        "assigned": (HERE,),
        "progress_at": 0,
        "lag": {HERE: 0},
        "waiting_for": None,
    }
    return EngineHealth(**(base | more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("more", "now", "healthy"),
    [
        ({}, STALL * 10, True),
        ({"lag": {HERE: 5}}, STALL - 1, True),
        ({"lag": {HERE: 5}}, STALL, False),
        ({"assigned": (), "lag": {}}, STALL * 10, True),
        ({"state": "waiting", "waiting_for": "the vault"}, 1, False),
        ({"state": "starting"}, 1, False),
        ({"state": "stopping", "lag": {HERE: 5}}, STALL * 10, True),
    ],
)
def test_health_is_progress_not_life(more: dict[str, object], now: int, healthy: bool) -> None:
    """Idle is healthy, lag without progress for a minute is not, waiting for something is not."""
    assert health(**more).healthy(now) is healthy


def test_lag_is_unknown_until_every_end_is_known() -> None:
    """A partition whose end nobody has told yet makes the total unknown, not zero."""
    assert health(lag={}).total_lag is None
    assert health(lag={HERE: 3}).total_lag == 3
    assert health(assigned=(), lag={}).total_lag == 0
    assert health(state="starting", assigned=(), lag={}).total_lag is None


def test_the_oldest_reason_is_told_first() -> None:
    """Reasons come and go by who waits; progress is stamped with the clock given."""
    status = Status(now=lambda: 42)
    assert status.snapshot((), {}).state == "starting"
    status.joined = True
    status.wait_for("group", "the group coordinator")
    status.wait_for("tag", "the vault")
    assert status.snapshot((), {}).waiting_for == "the group coordinator"
    status.wait_for("group", None)
    assert (status.snapshot((), {}).state, status.snapshot((), {}).waiting_for) == ("waiting", "the vault")
    status.wait_for("tag", None)
    status.progress()
    assert (status.snapshot((), {}).state, status.snapshot((), {}).progress_at) == ("running", 42)
    status.stopping = True
    assert status.snapshot((), {}).state == "stopping"


def record(message: str = "connect to %s failed") -> logging.LogRecord:
    """A log record of a Kafka client."""
    return logging.LogRecord("aiokafka.conn", logging.ERROR, __file__, 1, message, ("x",), None)


def test_repeated_logs_are_counted_not_shown() -> None:
    """A burst passes, the rest of the window does not, and the next window says how many were left out."""
    now = 0.0
    limit = RateLimit(lambda: now)
    assert [limit.filter(record()) for _ in range(100)] == [True] * BURST + [False] * (100 - BURST)
    assert limit.filter(record("something else"))
    now = WINDOW + 1
    again = record()
    assert limit.filter(again)
    assert again.getMessage() == f"connect to x failed ({100 - BURST} more like this were left out)"


def test_messages_made_of_values_do_not_fill_memory() -> None:
    """A client that formats before it logs makes every template new; the limiter forgets old ones."""
    limit = RateLimit(lambda: 0.0)
    for number in range(5_000):
        limit.filter(record(f"message {number}"))
    assert limit.remembered <= 1_000


def test_debug_logs_of_the_clients_are_off() -> None:
    """At DEBUG the clients print records and settings; their loggers stay at INFO whatever the root's."""
    quieten()
    quieten()
    assert not logging.getLogger("aiokafka.conn").isEnabledFor(logging.DEBUG)
    assert [type(f) for f in logging.getLogger("aiokafka.conn").filters].count(RateLimit) == 1


def test_access_is_spelled_for_each_library() -> None:
    """One value, three spellings; the password is in no repr; SASL without credentials is refused."""
    access = KafkaAccess(
        bootstrap="a:1,b:2", protocol="SASL_PLAINTEXT", username="tag", password="hidden-away"
    )
    assert access.librdkafka()["sasl.username"] == "tag"
    assert access.aiokafka_settings()["sasl_mechanism"] == "SCRAM-SHA-512"
    settings = access.faust_settings()
    assert settings["broker"] == ["chunk://a:1", "chunk://b:2"]
    assert settings["broker_credentials"].password == "hidden-away"
    assert "hidden-away" not in f"{access!r} {settings!r}"
    plain = KafkaAccess(bootstrap="a:1")
    assert plain.faust_settings()["broker_credentials"] is None
    assert KafkaAccess(bootstrap="a:1", protocol="SSL").faust_settings()["broker_credentials"].context
    with pytest.raises(ValueError, match="SASL"):
        KafkaAccess(bootstrap="a:1", protocol="SASL_SSL")


def test_the_stop_guard_ends_a_process_that_hangs() -> None:
    """An armed guard ends a process whose stop hangs, with rc 1; a disarmed one does not."""
    program = (
        "import time; from streams.engine.stopping import StopGuard; "
        "g = StopGuard(0.3); g.arm(); g.arm(); {}time.sleep({})"
    )
    root = Path(__file__).parents[3]
    started = time.monotonic()
    hung = subprocess.run(
        [sys.executable, "-c", program.format("", 30)], cwd=root, capture_output=True, check=False
    )
    assert hung.returncode == 1
    assert b"did not stop in time" in hung.stderr
    assert time.monotonic() - started < 20
    fine = subprocess.run([sys.executable, "-c", program.format("g.disarm(); ", 0.6)], cwd=root, check=False)
    assert fine.returncode == 0
