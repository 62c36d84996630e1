"""What of the unit tests starts servers or long runs: `make test` has it, `make check` leaves it out."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent
SERVERS = frozenset(
    {
        "attack/test_fuzz.py",
        "attack/test_linking.py",
        "attack/test_schemathesis.py",
        "attack/test_slow.py",
        "client/test_docs.py",
        "deploy/test_alerts.py",
        "faults/test_files.py",
        "processors/test_objects_machine.py",
        "vault/test_forgetting.py",
        "vault/test_hosts.py",
        "vault/test_killed.py",
        "vault/test_people_machine.py",
        "vault/test_postgres_bytes.py",
        "vault/test_processes.py",
    }
)
"""Files that start processes, PostgreSQL or promtool, or walk a state machine for half a minute."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them, and whatever runs on PostgreSQL."""
    for item in items:
        inside = item.path.is_relative_to(HERE)
        if inside and (item.path.relative_to(HERE).as_posix() in SERVERS or "postgresql" in item.name):
            item.add_marker(pytest.mark.servers)
