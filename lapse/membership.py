"""Consumer groups and the dead: the next worker of a role takes one that was killed out of its group.

Kafka learns of a killed member when its session runs out, after ten seconds in which nobody reads its
partitions. The next worker on the same host knows sooner: no process has that id any more. One that is only
frozen has, and stays a member until its session ends.
"""

from __future__ import annotations

import os

import structlog

from lapse.broker.admin import Admin
from lapse.broker.principals import group
from lapse.main import Installation
from schemas.errors import LapseError

log = structlog.get_logger("membership")


def client_id(here: Installation, pid: int | None = None) -> str:
    """How a worker of this data folder names itself to Kafka: whose process it is, and which."""
    return f"lapse.{here.marker.installation}.{os.getpid() if pid is None else pid}"


def leave_for_the_dead(here: Installation, role: str) -> int:
    """Take members of this data folder whose process is gone out of the role's group; how many there were.

    Only a short cut: where Kafka does not answer, their sessions run out.
    """
    prefix = client_id(here, 0)[:-1]
    try:
        here.reach_broker()
        with Admin(here.address, here.user(role)) as admin:
            dead = [
                member
                for member, client in admin.members(group(role)).items()
                if client.startswith(prefix) and not lives(client.removeprefix(prefix))
            ]
            admin.remove_members(group(role), dead)
            if dead:
                log.info("left_for_the_dead", role=role, members=len(dead))
    except LapseError as error:
        log.warning("group_not_seen", code=error.code, where=error.where)
        return 0
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
