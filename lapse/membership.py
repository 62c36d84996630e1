"""Who is dead: a worker that was killed is taken out of its group and its lease by the next one of its role.

Kafka learns of a killed member when its session runs out, ten seconds in which nobody reads its partitions; a
lease in the vault outlives its owner as long. The next worker on the same host knows sooner: no process has
that id any more. One that is only frozen has, and keeps both until they run out.
"""

from __future__ import annotations

import hashlib
import os
import platform
from functools import cache
from pathlib import Path

import structlog

from lapse.broker.admin import Admin
from lapse.broker.principals import group
from lapse.main import Installation
from schemas.errors import LapseError

PLACE_BYTES = 8
log = structlog.get_logger("membership")


@cache
def place() -> bytes:
    """Where process ids mean what they mean here: this boot of this kernel, and this space of ids on it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        boot, space = platform.node(), platform.system()
    return hashlib.sha256(f"{boot}{space}".encode()).digest()[:PLACE_BYTES]


def owner(pid: int | None = None) -> bytes:
    """Who holds a lease: 16 bytes of place and process."""
    return place() + (os.getpid() if pid is None else pid).to_bytes(8, "big")


def gone(holder: bytes) -> bool:
    """Whether the owner of a lease was a process of this place that is no more."""
    here, pid = holder[:PLACE_BYTES], int.from_bytes(holder[PLACE_BYTES:], "big")
    return len(holder) == len(owner()) and here == place() and not lives(str(pid))


def client_id(pid: int | None = None) -> str:
    """How a worker names itself to Kafka, for the same reason."""
    return f"lapse.{place().hex()}.{os.getpid() if pid is None else pid}"


def leave_for_the_dead(here: Installation, role: str) -> int:
    """Take members whose process is gone out of the role's group; how many there were.

    Only a short cut: where Kafka does not answer, their sessions run out.
    """
    prefix = client_id(0)[:-1]
    try:
        here.reach_broker()
        with Admin(here.address, here.user(role)) as admin:
            dead = [
                member
                for member, client in admin.members(group(role)).items()
                if client.startswith(prefix) and not lives(client.removeprefix(prefix))
            ]
            admin.remove_members(group(role), dead)
    except LapseError as error:
        log.warning("group_not_seen", code=error.code, where=error.where)
        return 0
    if dead:
        log.info("left_for_the_dead", role=role, members=len(dead))
    return len(dead)


def lives(pid: str) -> bool:
    """Whether a process has this id; what is no number is not ours to judge."""
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, ValueError, OverflowError):
        return True
    return True
