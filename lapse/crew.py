"""How many workers each role has: wished for in `DATA/state/workers.json`, carried out by the supervisor."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import structlog

from lapse.layout import Layout, read_json, write_json
from lapse.processes import RoleProcess
from schemas.errors import BadInput, Unavailable

SCALED = ("tag", "route", "govern", "expire", "connect")
"""Roles that may have several workers; the others listen on ports of their own."""
MOST = 16
"""Workers of one role on one host: beyond this the host, not their number, is the limit."""
LOOK_SECONDS = 0.5
"""How often the supervisor looks at what is wished for."""

log = structlog.get_logger("crew")


def parse(words: Iterable[str]) -> dict[str, int]:
    """Read `route=2`; `BadInput` for a role that has one worker only, and for a number out of 1 to 16."""
    found: dict[str, int] = {}
    for word in words:
        role, _, count = word.partition("=")
        if role not in SCALED or not count.isascii() or not count.isdigit() or not 1 <= int(count) <= MOST:
            where, do = "workers", f"ROLE=N, of {', '.join(SCALED)} and 1 to {MOST}"
            raise BadInput("usage", "not a role and a number of workers", where, do)
        found[role] = int(count)
    return found


def wished(layout: Layout) -> dict[str, int]:
    """How many workers each role is to have; one where nobody said otherwise or the file is damaged."""
    try:
        document = read_json(layout.workers_file)
    except (FileNotFoundError, ValueError):
        document = {}
    return {role: count for role in SCALED if isinstance(count := document.get(role, 1), int)}


def wish(layout: Layout, counts: Mapping[str, int]) -> dict[str, int]:
    """Change what is wished for; the supervisor that runs follows within a second, the next one begins so."""
    if counts:
        write_json(layout.workers_file, {**wished(layout), **counts})
    return wished(layout)


def await_wished(layout: Layout, timeout: float) -> None:
    """Return when the running supervisor has as many workers as wished for, each of them ready."""
    deadline = time.monotonic() + timeout
    while not _as_wished(layout):
        if time.monotonic() > deadline:
            raise Unavailable("timeout", "not all workers are there yet", "workers", "lapse doctor")
        time.sleep(LOOK_SECONDS / 5)


def _as_wished(layout: Layout) -> bool:
    try:
        running = read_json(layout.roles_file)
    except FileNotFoundError:
        raise Unavailable("not_running", "nothing runs on this data", "workers", "lapse up") from None
    for role, count in wished(layout).items():
        pids = running.get(role, [])
        pids = pids if isinstance(pids, list) else [pids]
        if len(pids) != count or any(_word(layout, role, n).get("pid") not in pids for n in range(count)):
            return False
        if not all(_word(layout, role, n).get("ready") for n in range(count)):
            return False
    return True


def _word(layout: Layout, role: str, n: int) -> Mapping[str, object]:
    try:
        return dict(read_json(layout.role_state(named(role, n + 1))))
    except (FileNotFoundError, ValueError):
        return {}


def named(role: str, number: int) -> str:
    """The name of a role's n-th worker, from 1: of its log, its state, its process."""
    return role if number == 1 else f"{role}.{number}"


@dataclass(slots=True, kw_only=True)
class Crew:
    """Every process of a data folder; `hire` makes the one of a name, not started yet."""

    layout: Layout
    hire: Callable[[str], RoleProcess]
    first: list[RoleProcess]
    more: dict[str, RoleProcess] = field(default_factory=dict)
    leaving: list[RoleProcess] = field(default_factory=list)
    _look_at: float = 0.0

    @property
    def all(self) -> list[RoleProcess]:
        """Those that are to run, first workers first."""
        return [*self.first, *self.more.values()]

    def start(self) -> None:
        """Start the first workers, and those beyond that were wished for before."""
        for process in self.first:
            process.start()
        self.follow()

    def tend(self) -> list[str]:
        """Follow the wishes and start again what ended; names of what changed."""
        changed = self.follow() if time.monotonic() >= self._look_at else []
        changed += [process.role for process in self.all if process.tend()]
        gone = [process for process in self.leaving if process.pid is None]
        self.leaving = [process for process in self.leaving if process.pid is not None]
        return changed + [process.role for process in gone]

    def follow(self) -> list[str]:
        """Start and stop workers until there are as many as wished for."""
        self._look_at = time.monotonic() + LOOK_SECONDS
        wanted = {named(role, n) for role, count in wished(self.layout).items() for n in range(2, count + 1)}
        extra = [name for name in self.more if name not in wanted]
        for name in extra:
            process = self.more.pop(name)
            process.ask_to_stop()
            self.leaving.append(process)
        # A worker that still drains keeps its name until it is gone.
        busy = {process.role for process in self.leaving}
        fresh = sorted(wanted - self.more.keys() - busy)
        for name in fresh:
            self.more[name] = self.hire(name)
            self.more[name].start()
        return [*extra, *fresh]

    def pids(self) -> dict[str, int | list[int]]:
        """The process ids by role, a list where a role has several."""
        found: dict[str, list[int]] = {}
        for process in self.all:
            role = process.role if process in self.first else process.role.partition(".")[0]
            if process.pid is not None:
                found.setdefault(role, []).append(process.pid)
        return {role: pids[0] if len(pids) == 1 else pids for role, pids in found.items()}
