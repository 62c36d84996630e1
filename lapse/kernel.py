"""What Linux is asked for and Python has no words for: who ends with whom, adopts whom, is called what.

All by prctl(2). On other systems these do nothing, and say so where it matters.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_NAME, _PR_SET_CHILD_SUBREAPER = 1, 15, 36
_NAME_BYTES = 15
_ARG_START = 45
"""Where proc(5) has the address of the arguments in `stat`, counted from behind the name."""


def die_with_parent() -> None:
    """Ask Linux to end this process when its parent dies, so that a killed supervisor leaves no orphans."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def adopt(*, orphans: bool) -> bool:
    """Be the parent of descendants whose parent ends, or no longer; false where that is not to be had."""
    if sys.platform != "linux":
        return False
    return int(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(orphans), 0, 0, 0)) == 0


def be_called(name: str, arguments: Sequence[str]) -> None:
    """Show `name` as this process' name and `arguments` as its command line, where there is room for them."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode()[:_NAME_BYTES], 0, 0, 0)
    start, end = _arguments_at()
    shown = b"".join(os.fsencode(each) + b"\0" for each in arguments)
    if len(shown) <= end - start:
        ctypes.memmove(start, shown.ljust(end - start, b"\0"), end - start)


def _arguments_at() -> tuple[int, int]:
    fields = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    return int(fields[_ARG_START]), int(fields[_ARG_START + 1])
