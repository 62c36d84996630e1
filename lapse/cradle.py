"""The nursery as a process: `python -m lapse.cradle DATA FD PARENT`; the supervisor starts it, nobody else.

It has one thread, no socket but the one it is asked through, no vault, no loop and no random numbers of
its own. A role is its grandchild for a moment: the process between ends at once, so that Linux gives the
role to the supervisor, which is the next above it that adopts. So the supervisor has the role's exit status,
and a role ends when the supervisor does, not when the nursery does.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lapse import kernel
from lapse.nursery import MOST_BYTES, PID_BYTES, PREPARED

COMMON = (
    "lapse.roles",
    "lapse.workers",
    "lapse.collector",
    "lapse.endpoints",
    "lapse.broker.admin",
    "schemas.policy",
    # What Faust loads by itself, and late:
    "faust.app.router",
    "faust.assignor.leader_assignor",
    "faust.assignor.partition_assignor",
    "faust.fixups.django",
    "faust.livecheck",
    "faust.tables.manager",
    "faust.topics",
    "faust.transport.drivers.aiokafka",
)
"""Imported before the first birth; what a recipient's connector needs is imported where it is played."""
_GO = b"!"


@dataclass(frozen=True, slots=True, kw_only=True)
class Birth:
    """Who is to be born, with which environment; its output goes to the file `output`."""

    role: str
    environment: Mapping[str, str]
    output: int


def main(arguments: list[str], modules: tuple[str, ...], play: Callable[[str, Path], int]) -> int:
    """Bear roles until nobody asks any more, or play the one that this process was born as."""
    root, asked, parent = Path(arguments[0]), int(arguments[1]), int(arguments[2])
    with socket.socket(fileno=asked) as asking:
        prepare(modules)
        asking.send(PREPARED)
        birth = serve(asking, parent)
    if birth is None:
        return 0
    gc.enable()
    become(birth, root)
    return play(birth.role, root)


def prepare(modules: tuple[str, ...]) -> None:
    """Import what roles share, and set it apart from what the garbage collector walks through.

    A walk would write to every object, and what is written to is shared no longer. Raises `RuntimeError`
    where an import started a thread: a fork would copy the locks it holds and not the thread.
    """
    gc.disable()
    for module in modules:
        importlib.import_module(module)
    if (tasks := tasks_here()) > 1:
        raise RuntimeError(f"{tasks} threads after imports: {[each.name for each in threading.enumerate()]}")
    gc.collect()
    gc.freeze()


def tasks_here() -> int:
    """How many threads this process has, those of libraries in C among them."""
    tasks = Path("/proc/self/task")
    return sum(1 for _ in tasks.iterdir()) if tasks.exists() else threading.active_count()


def serve(asking: socket.socket, parent: int) -> Birth | None:
    """Bear whoever is asked for. Returns None when nobody asks any more, and in a newborn who it is."""
    while True:
        try:
            message, outputs, _, _ = socket.recv_fds(asking, MOST_BYTES, 1)
        except ConnectionError:
            return None
        if not message:
            return None
        birth = Birth(**json.loads(message), output=outputs[0])
        if _bear(asking, parent):
            return birth
        os.close(birth.output)


def _bear(asking: socket.socket, parent: int) -> bool:
    """Fork; true in the newborn. It begins to live once the supervisor can read its id, or not at all."""
    (told, tell), (waits, goes) = os.pipe(), os.pipe()
    try:
        between = os.fork()
    except OSError:  # no more processes
        for each in (told, tell, waits, goes):
            os.close(each)
        asking.send(bytes(PID_BYTES))
        return False
    if between == 0:
        _fork_and_end(tell)
        for each in (told, tell, goes):
            os.close(each)
        _wait_for_life(waits, parent)
        return True
    os.waitpid(between, 0)  # from here on the newborn is the supervisor's child
    os.close(tell)
    asking.send(os.read(told, PID_BYTES).rjust(PID_BYTES, b"\0"))
    with contextlib.suppress(BrokenPipeError):  # killed before it lived
        os.write(goes, _GO)
    for each in (told, waits, goes):
        os.close(each)
    return False


def _fork_and_end(tell: int) -> None:
    """Fork again and end; returns in the newborn."""
    try:
        newborn = os.fork()
    except OSError:
        os._exit(1)
    if newborn:
        os.write(tell, newborn.to_bytes(PID_BYTES, "big"))
        os._exit(0)


def _wait_for_life(waits: int, parent: int) -> None:
    """End where nobody knows of this process, or the supervisor is gone."""
    known = os.read(waits, 1)
    os.close(waits)
    kernel.die_with_parent()
    if not known or os.getppid() != parent:
        os._exit(0)


def become(birth: Birth, root: Path) -> None:
    """A session, an output, an environment and a name of its own."""
    os.setsid()
    for standard in (1, 2):
        os.dup2(birth.output, standard)
    os.close(birth.output)
    os.environ.clear()
    os.environ.update(birth.environment)
    command = [sys.executable, "-m", "lapse.roles", birth.role, str(root)]
    sys.argv = [sys.argv[0], *command[-2:]]
    kernel.be_called(f"lapse:{birth.role}", command)


def _role(name: str, root: Path) -> int:
    from lapse import roles  # loaded long ago, with the other modules

    return roles.main(name, root)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], COMMON, _role))
