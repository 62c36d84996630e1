"""What is done to the running system: each fault is begun, lasts a while, and is undone."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import signal
import sqlite3
import subprocess
import time
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Protocol

from tests.e2e.live.system import System
from tests.support.live import until

SCALED = ("tag", "route", "govern", "expire", "connect")
KILLED = ("collector", *SCALED, "keys")
FILLER = "filler"


class Fault(Protocol):
    """Something that goes wrong."""

    @property
    def kind(self) -> str:
        """What the results call it."""

    def strike(self, system: System) -> float:
        """Do it and undo it; returns when it was over: from then on the system had all it needs."""


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL to every worker of these roles; the supervisor starts new ones."""

    roles: tuple[str, ...]

    @property
    def kind(self) -> str:
        """By role; several at once are one kind."""
        return f"kill {self.roles[0]}" if len(self.roles) == 1 else "kill several"

    def strike(self, system: System) -> float:
        """Kill and wait for the successors."""
        before = system.workers()
        pids = [pid for role in self.roles for pid in before.get(role, [])]
        for pid in pids:
            _signal(pid, signal.SIGKILL)
        over = time.monotonic()
        for role in self.roles:
            until(partial(_renewed, system, role, pids), 90, f"{role} is started again")
        return over


def _renewed(system: System, role: str, gone: list[int]) -> bool:
    now = system.workers().get(role, [])
    return bool(now) and not set(now) & set(gone)


@dataclass(frozen=True, slots=True)
class Freeze:
    """SIGSTOP past session and lease while another worker goes on; the frozen one comes back a zombie."""

    role: str
    seconds: float

    @property
    def kind(self) -> str:
        """By role."""
        return f"freeze {self.role}"

    def strike(self, system: System) -> float:
        """Add a worker where the role has one alone, freeze the first, wake it."""
        if self.role in SCALED:
            scale(system, self.role, 2)
        pid = system.workers()[self.role][0]
        _signal(pid, signal.SIGSTOP)
        try:
            time.sleep(self.seconds)
        finally:
            _signal(pid, signal.SIGCONT)
        return time.monotonic()


@dataclass(frozen=True, slots=True)
class Scale:
    """Another number of workers of a role."""

    role: str
    count: int

    @property
    def kind(self) -> str:
        """Added or removed."""
        return "add workers" if self.count > 1 else "remove workers"

    def strike(self, system: System) -> float:
        """As an operator does it."""
        scale(system, self.role, self.count)
        return time.monotonic()


def scale(system: System, role: str, count: int) -> None:
    """`lapse workers`, given again while workers come and go by themselves."""
    for _ in range(4):
        if system.lapse("workers", f"{role}={count}", "--timeout", "60").code == 0:
            return
    raise AssertionError(f"{role} never has {count} workers")


@dataclass(frozen=True, slots=True)
class NoBroker:
    """The broker is killed, and started again by the supervisor."""

    kind: ClassVar[str] = "kill broker"

    def strike(self, system: System) -> float:
        """Kill it."""
        (pid,) = system.workers()["broker"]
        _signal(pid, signal.SIGKILL)
        over = time.monotonic()
        until(lambda: system.workers().get("broker", [pid]) != [pid], 90, "the broker is started again")
        return over


@dataclass(frozen=True, slots=True)
class NoVault:
    """The vault's file is not where it was."""

    seconds: float
    kind: ClassVar[str] = "vault gone"

    def strike(self, system: System) -> float:
        """Rename it and give it back."""
        path = vault_file(system)
        aside = path.with_suffix(".aside")
        path.rename(aside)
        try:
            time.sleep(self.seconds)
            assert not path.exists(), "somebody made an empty vault in place of the one that is away"
        finally:
            aside.rename(path)
        return time.monotonic()


@dataclass(frozen=True, slots=True)
class LockedVault:
    """Somebody else holds the vault's write lock for longer than anybody waits for it."""

    seconds: float
    kind: ClassVar[str] = "vault locked"

    def strike(self, system: System) -> float:
        """Hold it in a transaction that writes nothing."""
        with contextlib.closing(
            sqlite3.connect(vault_file(system), timeout=30, isolation_level=None)
        ) as held:
            held.execute("BEGIN IMMEDIATE")
            time.sleep(self.seconds)
            held.execute("ROLLBACK")
        return time.monotonic()


@dataclass(frozen=True, slots=True)
class FullDisk:
    """The disk that holds everything has no byte left."""

    seconds: float
    kind: ClassVar[str] = "disk full"

    def strike(self, system: System) -> float:
        """Fill it, keep it full, free it."""
        filler = system.data / FILLER
        try:
            with filler.open("wb", buffering=0) as file:
                deadline = time.monotonic() + self.seconds
                while time.monotonic() < deadline:
                    if not _write(file.fileno()):
                        time.sleep(0.2)
        finally:
            filler.unlink(missing_ok=True)
        return time.monotonic()


def _write(file: int) -> bool:
    for size in (1 << 20, 1 << 12):
        try:
            return os.write(file, bytes(size)) > 0
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    return False


@dataclass(frozen=True, slots=True)
class BadPartner:
    """The business partner fails some calls, or does the work and loses the answer."""

    fault: str
    times: int

    @property
    def kind(self) -> str:
        """By what it does."""
        return f"partner {self.fault}"

    def strike(self, system: System) -> float:
        """Order it; it ends by itself."""
        url = system.run["processors"]["partner"]["fake_url"]
        body = {"kind": self.fault, "times": self.times, "seed": self.times}
        with contextlib.suppress(OSError, urllib.error.URLError):
            system.http("PUT", f"{url}/_fault", body)
        return time.monotonic()


@dataclass(frozen=True, slots=True)
class NoSupervisor:
    """The supervisor itself is killed, and `lapse up` given again on the same data."""

    kind: ClassVar[str] = "kill supervisor"

    def strike(self, system: System) -> float:
        """Kill, wait until its workers have ended with it, start again on the same ports."""
        assert system.process is not None
        first = int(system.run["urls"]["collector"].rsplit(":", 1)[1])
        pids = {pid for role, found in system.workers().items() if role != "broker" for pid in found}
        system.process.kill()
        over = time.monotonic()
        system.process.wait(10)
        until(lambda: not any(alive(pid) for pid in pids), 60, "orphans end")
        system.run_file.unlink(missing_ok=True)
        system.start("--port", str(first))
        return over


def vault_file(system: System) -> Path:
    """The vault's file."""
    return system.data / "vault" / "vault.db"


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet buried does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return False
    return stat.rsplit(")", 1)[1].split()[0] != "Z"


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[str | None]:
    """Mount a small disk there; yields why not, where that is refused."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "lapse-chaos", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        refused = done.stderr.strip() if done.returncode else None
    except OSError as error:
        refused = str(error)
    try:
        yield refused
    finally:
        if refused is None:
            subprocess.run(["umount", "--lazy", str(folder)], check=False)


def drawn(dice: random.Random, *, disk: bool, supervisor: bool = True) -> Fault:
    """The next fault of a seed."""
    kinds: list[tuple[int, Fault]] = [
        *((3, Kill((role,))) for role in KILLED),
        (6, Kill(tuple(dice.sample(KILLED, dice.randint(2, 4))))),
        *((3, Freeze(role, dice.uniform(12, 25))) for role in (*SCALED, "keys", "collector")),
        (8, Scale(dice.choice(SCALED), dice.choice([1, 1, 2, 2, 3]))),
        (4, NoBroker()),
        (2, Freeze("broker", dice.uniform(2, 15))),
        (4, NoVault(dice.uniform(2, 14))),
        (4, LockedVault(dice.uniform(8, 16))),
        *((2, BadPartner(kind, dice.randint(3, 15))) for kind in ("5xx", "lost_answer", "slow")),
        *([(4, FullDisk(dice.uniform(4, 12)))] if disk else []),
        *([(2, NoSupervisor())] if supervisor else []),
    ]
    return dice.choices([fault for _, fault in kinds], [weight for weight, _ in kinds])[0]


def struck(partner_url: str, system: System) -> dict[str, int]:
    """What the partner counted of the calls it got; nothing where it is not there."""
    try:
        return dict(json.loads(system.http("GET", f"{partner_url}/_counts").body))
    except (OSError, ValueError):
        return {}
