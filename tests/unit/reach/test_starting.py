"""A verb starts quickly: what it does not use is not loaded."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("faust", "aiokafka", "kafka", "confluent_kafka", "aiohttp", "uvicorn", "schemas.policy.model")


def test_the_command_line_loads_no_client_and_no_server_before_a_verb_needs_it() -> None:
    """Nor does opening a data folder: looking at the vault takes neither Kafka nor the policy's models."""
    code = f"import sys, lapse.cli.app, lapse.main; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_supervisor_loads_nothing_of_the_roles() -> None:
    """`up` orders and watches; what the flow is made of is loaded where it runs."""
    theirs = ("faust", "aiokafka", "aiohttp", "uvicorn", "starlette", "fideslang")
    code = f"import sys, lapse.up; print([m for m in {theirs!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
