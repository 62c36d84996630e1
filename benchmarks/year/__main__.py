"""`python -m benchmarks.year`: live through a year, write figures and a picture, say what grew."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.year.chart import Panel, draw
from benchmarks.year.judging import judge
from benchmarks.year.looks import Look
from benchmarks.year.run import Year
from benchmarks.year.town import Town

RESULTS = Path(__file__).parents[1] / "results"
PEOPLE = ("subject", "alias", "anchor", "told_subject", "suppression", "superseded")
KEYS = ("keyslot", "bucket", "open buckets", "tally", "told_bucket")
PASSING = ("plan", "outbox", "seen", "request", "command", "residue_cell", "residue_person")
VENDORS = ("object", "holding", "hold", "escrow", "policy", "progress", "meta")


def panels(looks: Sequence[Look]) -> list[Panel]:
    """What is plotted."""

    def lines(what: str, names: Sequence[str]) -> dict[str, list[tuple[float, float]]]:
        return {n: [(k.day, float(getattr(k, what).get(n, 0))) for k in looks] for n in names}

    last = looks[-1]
    roles = [role for role in last.rss if role != "broker"]
    topics = [name for name in last.disk if name.startswith("broker ")]
    return [
        Panel(title="Memory by role, MiB (resident)", lines=lines("rss", roles)),
        Panel(title="Memory of Kafka, MiB (resident)", lines=lines("rss", ["broker"])),
        Panel(title="Open files by role", lines=lines("open_files", roles)),
        Panel(title="Threads by role", lines=lines("threads", roles)),
        Panel(title="Vault rows: people", lines=lines("rows", PEOPLE)),
        Panel(title="Vault rows: keys", lines=lines("rows", KEYS)),
        Panel(title="Vault rows: on their way", lines=lines("rows", PASSING)),
        Panel(title="Vault rows: recipients and registers", lines=lines("rows", VENDORS)),
        Panel(title="Disk: vault, spool, logs, MiB", lines=lines("disk", ["vault", "spool", "logs"])),
        Panel(title="Disk: log by topic, MiB", lines=lines("disk", topics)),
        Panel(title="Files below the broker's folder", lines=lines("files", ["broker"])),
        Panel(
            title="Events sent, people",
            lines={
                "events": [(k.day, float(k.sent)) for k in looks],
                "people": [(k.day, float(k.people)) for k in looks],
            },
        ),
    ]


def main() -> int:
    """Run; exit 1 if something grew that should not."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.year", description=__doc__)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument(
        "--minutes", type=float, default=90.0, help="stop at the end of a week after that long"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--to", type=Path, default=RESULTS, help="folder of year.json and year.svg")
    asked = parser.parse_args()
    os.umask(0o077)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lapse-year-") as folder:
        town = Town(seed=asked.seed)
        year = Year(folder=Path(folder), days=asked.days, town=town, say=print, minutes=asked.minutes)
        looks = year.run()
    grew = judge(looks)
    minutes = round((time.monotonic() - began) / 60, 1)
    asked.to.mkdir(parents=True, exist_ok=True)
    document = {
        "days": asked.days,
        "minutes": minutes,
        "grew": grew,
        "looks": [dataclasses.asdict(k) for k in looks],
    }
    (asked.to / "year.json").write_text(json.dumps(document) + "\n")
    last = looks[-1]
    title = f"{last.day} simulated days in {minutes} minutes: {last.sent} events of {last.people} people"
    (asked.to / "year.svg").write_text(draw(title, panels(looks)))
    print("\n".join(grew) or "nothing grew that should not")
    return 1 if grew else 0


if __name__ == "__main__":
    sys.exit(main())
