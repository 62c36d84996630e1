"""`python -m tests.chaos --seed 7 --minutes 5 --json out.json`: one ordeal by hand; exit 1 if it broke."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.chaos.driver import ordeal, written


def main() -> int:
    """Run one seed and print its results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", action="store_true", help="leave the logs of the roles, and say where")
    wanted = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="lapse-chaos-"))
    with ordeal(folder, wanted.seed) as running:
        try:
            with running.running():
                running.storm(wanted.minutes * 60)
            running.judge(intake_too=True)
            found = written(running.report(), wanted.json)
        finally:
            if wanted.keep:
                running.keep(folder / "kept")
    return 0 if found["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
