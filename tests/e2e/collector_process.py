"""A collector as a process of its own, for tests: `python -m tests.e2e.collector_process SETTINGS.json`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from lapse.collector import CollectorSettings, KafkaSettings, SiteCredential, SpoolSettings, serve
from schemas.plan import Plans
from schemas.policy import compile_plan, load
from vault.tokens import PixelKeys

POLICY = Path(__file__).parents[2] / "policies" / "demo.yaml"


def main() -> int:
    """Serve until SIGTERM; the port is printed when requests are answered."""
    given = json.loads(Path(sys.argv[1]).read_text())
    folder = Path(given["folder"])
    plans = Plans([compile_plan(load(POLICY.read_text(), where="demo.yaml"))])
    return serve(
        CollectorSettings(
            port=given["port"],
            spool=SpoolSettings(folder=folder / "spool", keys=folder / "keys", segment_bytes=50_000),
            kafka=KafkaSettings(connection=given["kafka"], ack_seconds=2.0, probe_seconds=0.2),
            drain_seconds=given.get("drain_seconds", 0.2),
        ),
        plans=lambda: plans,
        credentials=lambda _: [SiteCredential(site="www", key="sk_www", token="st_www_x")],
        pixel_keys=PixelKeys.from_json(given["pixel_keys"]),
        on_ready=lambda port: print(port, flush=True),  # noqa: T201 - the parent reads it
    )


if __name__ == "__main__":
    raise SystemExit(main())
