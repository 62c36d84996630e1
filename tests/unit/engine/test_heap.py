"""What a worker frees is gone from its process, once it has said so to the C library."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

FETCHES = """
import sys
from pathlib import Path
from streams.heap import give_back

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))

if sys.argv[1] == "give back":
    assert give_back()
before, small = resident(), []
for _ in range(3):
    fetched = []
    for _ in range(40):
        fetched.append(bytes(1_000_000))
        small.append(bytes(2_000))
    del fetched
print((resident() - before) * 1024)
"""


def left(how: str) -> int:
    """Bytes that stay in a process after three times forty megabytes, with small things between them."""
    command = [sys.executable, "-c", FETCHES, how]
    return int(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="this C library is not glibc")
def test_fetches_leave_no_holes_behind() -> None:
    """Without it glibc keeps blocks of the size that was freed once, for the small things behind them."""
    assert left("give back") < 4_000_000 < left("as it is")
