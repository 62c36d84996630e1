"""What a newly published policy changes around the running system."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lapse import policies, runfile
from lapse.initialise import make_credentials
from lapse.layout import Layout, read_json, write_json
from processors.tokens import authenticate
from tests.unit.processors.world import World


def test_a_new_processor_is_let_in_at_once(tmp_path: Path) -> None:
    """Its token counts with the publication, not with the next start."""
    world, layout = World(), Layout(tmp_path)
    make_credentials(layout, world.plan)
    here: Any = SimpleNamespace(layout=layout, vault=world.vault)
    policies.register_tokens(here, world.plan)
    for processor in world.plan.processors:
        token = read_json(layout.credentials("processors", processor.name))["token"]
        with world.vault.transaction(write=False) as tx:
            assert authenticate(tx, token) == processor.name


def test_the_run_file_follows_the_policy(tmp_path: Path) -> None:
    """Policy, processors, sites and topics are the new ones; the rest stays, no secret is added."""
    world, layout = World(), Layout(tmp_path)
    make_credentials(layout, world.plan)
    broker = SimpleNamespace(topics=lambda: {"decisions", "control"})
    here: Any = SimpleNamespace(layout=layout, runtime=SimpleNamespace(fakes={}), admin=lambda: broker)
    runfile.refresh(here, world.plan)
    assert not layout.run_file.exists()
    write_json(layout.run_file, {"run_id": "r", "policy": {"version": 0}, "processors": {}})
    runfile.refresh(here, world.plan)
    found = read_json(layout.run_file)
    assert (found["run_id"], found["policy"]["version"]) == ("r", world.plan.version)
    assert found["topics"] == ["control", "decisions"]
    assert set(found["processors"]) == {p.name for p in world.plan.processors}
    assert stat.S_IMODE(layout.run_file.stat().st_mode) == 0o600
    files = [read_json(path) for path in layout.keys.rglob("*.json")]
    secrets = [file[name] for file in files for name in ("password", "token") if name in file]
    assert len(secrets) > len(files)
    assert not any(secret in json.dumps(found) for secret in secrets)
