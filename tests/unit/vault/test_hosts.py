"""Workers of two hosts on one PostgreSQL vault: side by side, frozen, cut off, both on one partition (m1)."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from schemas.ids import SubjectNumber
from tests.support.hosts import Hosts
from tests.support.postgres import FAST, Server
from tests.unit.vault.test_processes import ROOT, told
from tests.unit.vault.worker import open_shared
from tests.unit.vault.worlds import bucket

pytestmark = pytest.mark.timeout(180)

Told = list[tuple[int, int]]


class Site:
    """Two hosts, the server they share, and the folder of epoch keys both have."""

    def __init__(self, hosts: Hosts, server: Server, folder: Path) -> None:
        """Nobody works yet."""
        self.hosts, self.server, self.folder = hosts, server, folder
        self.heard: dict[int, Told] = {}
        self._workers: list[subprocess.Popen[str]] = []

    def worker(self, host: int, partition: int) -> int:
        """Start a worker on a host; returns its number."""
        url = f"postgresql://postgres@{self.hosts.here(host)}:{self.server.port}/postgres"
        words = [sys.executable, "-m", "tests.unit.vault.worker", str(self.folder), str(partition), url]
        process = subprocess.Popen(
            self.hosts.command(host, *words), stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        self._workers.append(process)
        self.heard[len(self._workers) - 1] = []
        return len(self._workers) - 1

    def hear(self, worker: int, more: int) -> None:
        """Wait until a worker has acknowledged so many more chunks."""
        out = self._workers[worker].stdout
        assert out is not None
        for _ in range(more):
            at, number = out.readline().split()
            self.heard[worker].append((int(at), int(number)))

    def signal(self, worker: int, how: signal.Signals) -> None:
        """Freeze, thaw or kill it; `ip netns exec` has become the worker."""
        os.kill(self._workers[worker].pid, how)

    def end(self) -> None:
        """Kill them all and hear what they said last."""
        for n, process in enumerate(self._workers):
            process.kill()
            process.wait()
            if process.stdout is not None and not process.stdout.closed:
                self.heard[n] += told(process)

    def agrees(self, *partitions: int) -> None:
        """Every chunk is done once, by whomever: fence, tally, people and what was said are one story."""
        self.end()
        vault = open_shared(self.folder, self.server.url())
        with vault.transaction(write=False) as tx:
            fences = {p: tx.progress("t", p) or 0 for p in partitions}
            assert tx.buckets([bucket()])[bucket()].tally == sum(fences.values())
            said: dict[int, int] = {}
            for at, number in sorted({each for heard in self.heard.values() for each in heard}):
                if len(partitions) == 1:
                    assert said.setdefault(at, number) == number, "one chunk makes one person"
                assert number in tx.subjects([SubjectNumber(number)])
            for p, fence in fences.items():
                names = [p.to_bytes(8, "big") + at.to_bytes(8, "big") for at in range(fence)]
                assert [len(rows) for rows in tx.aliases(names).values()] == [1] * fence
        vault.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """The hosts, with a server that both can reach."""
    with ExitStack() as closing:
        hosts = closing.enter_context(Hosts())
        server = Server(*FAST, listen=[hosts.here(n) for n in range(2)])
        closing.callback(server.remove)
        hba = server.data / "pg_hba.conf"
        hba.write_text(f"{hba.read_text()}\nhost all all {hosts.network} trust\n")
        server.start()
        open_shared(tmp_path, server.url()).close()
        made = Site(hosts, server, tmp_path)
        closing.callback(made.end)
        yield made


def test_two_hosts_work_side_by_side(site: Site) -> None:
    """Each on its partition."""
    workers = [site.worker(n, n) for n in range(2)]
    for _ in range(3):
        for each in workers:
            site.hear(each, 10)
    site.agrees(0, 1)


def test_two_workers_and_a_zombie_on_one_partition(site: Site) -> None:
    """Frozen past every time-out, wherever it was, one of them comes back when its chunks are long done."""
    zombie, other, third = site.worker(0, 0), site.worker(1, 0), site.worker(1, 0)
    for _ in range(2):
        for each in (zombie, other, third):
            site.hear(each, 3)
        site.signal(zombie, signal.SIGSTOP)
        site.hear(other, 40)
        site.hear(third, 40)
        site.signal(zombie, signal.SIGCONT)
        site.hear(zombie, 3)
    site.agrees(0)


def test_a_host_that_loses_its_cable_stops_nobody(site: Site) -> None:
    """The server lets go of what it held, the other takes over the partition, and it comes back later."""
    lost = site.worker(0, 0)
    site.hear(lost, 5)
    site.hosts.cable(0, "down")
    other = site.worker(1, 0)
    site.hear(other, 30)
    site.hosts.cable(0, "up")
    site.hear(lost, 5)
    site.agrees(0)
