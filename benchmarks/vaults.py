"""What the tag stage costs on SQLite and on PostgreSQL, and what a second worker adds on one vault.

    python -m benchmarks.vaults [--events 8000] [--workers 2]

One line per store and kind of people: CPU microseconds per form of the worker, of the server, and forms a
second by the clock with one worker and with all of them, each on a partition of its own with people of its
own. A server is started in a folder in memory where there is one, with `fsync` on.
"""

from __future__ import annotations

import argparse
import multiprocessing as mp
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import NamedTuple

import psutil
import psycopg

from benchmarks.hot import Bench, cpu
from schemas.errors import Unavailable
from streams.ports import Chunk
from tests.support.postgres import Server
from vault.epochs import FileEpochKeys

ROWS = ("new", "known")


class Measured(NamedTuple):
    """One worker's part: its CPU seconds and when it began and ended."""

    cpu: float
    began: float
    ended: float


class Place(NamedTuple):
    """A vault to measure: its folder, its address, and the process id of its server."""

    folder: Path
    url: str
    server: int | None


def work(place: Place, n: int, events: int, gate: Barrier, found: Queue[tuple[str, Measured]]) -> None:
    """Tag forms of new people, then of the same again, together with the other workers."""
    keys = FileEpochKeys(place.folder / "keys", place.folder / "backup")
    bench = Bench(place.folder, place.url, keys)
    people = list(range(n * 10_000_000, n * 10_000_000 + events))
    warm = list(range(n * 10_000_000 + events, n * 10_000_000 + events + 500))
    bench.tag(bench.inbound("intake.form", n, [bench.traffic.event("form", p) for p in warm]))
    for row in ROWS:
        chunks = bench.inbound("intake.form", n, [bench.traffic.event("form", p) for p in people])
        gate.wait()
        used, began = cpu(), time.monotonic()
        for chunk in chunks:
            tag(bench, chunk)
        found.put((row, Measured(cpu() - used, began, time.monotonic())))
        gate.wait()
    bench.vault.close()


def tag(bench: Bench, chunk: Chunk) -> None:
    """Tag one chunk, again where a crowded machine let it wait too long for the others."""
    while True:
        try:
            return bench.tag([chunk])
        except Unavailable:
            continue


def measure(place: Place, workers: int, events: int) -> Iterator[tuple[str, float, float, float]]:
    """Rows: people, CPU us a form of the workers, of the server, forms a second."""
    context = mp.get_context("spawn")
    gate, found = context.Barrier(workers + 1), context.Queue()
    processes = [context.Process(target=work, args=(place, n, events, gate, found)) for n in range(workers)]
    for each in processes:
        each.start()
    for row in ROWS:
        gate.wait()
        before = server_cpu(place.server)
        parts = [found.get() for _ in processes]
        spent, all_of = server_cpu(place.server) - before, events * workers
        gate.wait()
        assert {name for name, _ in parts} == {row}
        wall = max(m.ended for _, m in parts) - min(m.began for _, m in parts)
        yield row, sum(m.cpu for _, m in parts) / all_of * 1e6, spent / all_of * 1e6, all_of / wall
    for each in processes:
        each.join()


def server_cpu(pid: int | None) -> float:
    """CPU seconds of a server and everything it has running."""
    if pid is None:
        return 0.0
    total = 0.0
    for each in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        try:
            times = each.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


@contextmanager
def places(kind: str, count: int) -> Iterator[list[Place]]:
    """New vaults of one kind, one for each run."""
    with tempfile.TemporaryDirectory() as folder:
        if kind == "sqlite":
            yield [Place(_made(folder, n), f"sqlite://{folder}/{n}/v.db", None) for n in range(count)]
            return
        server = Server("shared_buffers=256MB", "max_wal_size=4GB")
        server.start()
        with psycopg.connect(server.url(), autocommit=True) as making:
            for n in range(count):
                making.execute(f"CREATE DATABASE v{n}".encode())
        yield [Place(_made(folder, n), server.url(f"v{n}"), server.pid) for n in range(count)]
        server.remove()


def _made(folder: str, n: int) -> Path:
    made = Path(folder) / str(n)
    made.mkdir()
    return made


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=8000, help="forms of each worker, in each row")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    head = f"{'vault':<12}{'people':<8}{'workers':>8}{'us worker':>11}{'us server':>11}"
    print(f"{head}{'forms/s':>10}{'times':>7}")
    for kind in ("sqlite", "postgresql"):
        single: dict[str, float] = {}
        with places(kind, 2) as vaults:
            for place, workers in zip(vaults, (1, arguments.workers), strict=True):
                for row, own, server, rate in measure(place, workers, arguments.events):
                    times = rate / single.setdefault(row, rate)
                    line = f"{kind:<12}{row:<8}{workers:>8}{own:>11.1f}{server:>11.1f}"
                    print(f"{line}{rate:>10.0f}{times:>7.2f}", flush=True)


if __name__ == "__main__":
    main()
