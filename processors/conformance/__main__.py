"""`python -m processors.conformance` plays everything that ships and prints the table of the page.

With `--table` it writes it there. Exit code 1 where anything failed.
"""

from __future__ import annotations

import asyncio
import logging
import sys

from processors.conformance import parties
from processors.conformance.running import Result, conform
from processors.conformance.table import PAGE, block, put


def main(arguments: list[str]) -> int:
    """Run."""
    logging.getLogger().addHandler(logging.NullHandler())  # a connector that pauses is what is being tried
    results: dict[str, list[Result]] = {}
    for name in parties.present():
        results[name] = list(asyncio.run(conform(parties.shipped(name))))
        for each in results[name]:
            sys.stderr.write(f"{name} {each.situation}: {each.held} {each.why}\n")
            sys.stderr.writelines(f"{line}\n" for line in each.trace)
    if "--table" in arguments:
        PAGE.write_text(put(PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")
    else:
        sys.stdout.write(block(results) + "\n")
    return int(any(each.held == "failed" for several in results.values() for each in several))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
