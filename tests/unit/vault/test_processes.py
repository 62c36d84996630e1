"""Several processes share one file; any of them may be killed at any moment."""

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.ids import SubjectNumber
from tests.unit.vault.models import FOLDER
from tests.unit.vault.worker import chunk, open_shared
from tests.unit.vault.worlds import bucket

ROOT = FOLDER.parents[1]


@contextmanager
def worker(folder: Path, partition: int) -> Iterator["subprocess.Popen[str]"]:
    """A working process, killed without warning at the end of the block."""
    command = [sys.executable, "-m", "tests.unit.vault.worker", str(folder), str(partition)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def told(process: "subprocess.Popen[str]") -> list[tuple[int, int]]:
    """What a killed process had acknowledged; a line cut off by the kill does not count."""
    assert process.stdout is not None
    with process.stdout as out:
        lines = out.read().splitlines(keepends=True)
    return [(int(a), int(b)) for a, b in (line.split() for line in lines if line.endswith("\n"))]


def first_line(process: "subprocess.Popen[str]") -> tuple[int, int]:
    """Wait until a process works."""
    assert process.stdout is not None
    at, number = process.stdout.readline().split()
    return int(at), int(number)


def test_three_processes_share_a_file(tmp_path: Path) -> None:
    """Every chunk of every process is there once, and the tally is their sum."""
    vault = open_shared(tmp_path)
    with worker(tmp_path, 0) as a, worker(tmp_path, 1) as b:
        done = {0: [first_line(a)], 1: [first_line(b)], 2: []}
        for _ in range(20):
            done[2].append(chunk(vault, 2))
    done[0] += told(a)
    done[1] += told(b)
    for partition in range(3):
        chunk(vault, partition)
    with vault.transaction(write=False) as tx:
        fences = [tx.progress("t", partition) or 0 for partition in range(3)]
        assert tx.buckets([bucket()])[bucket()].tally == sum(fences)
        for partition, seen in done.items():
            assert [at for at, _ in seen] == list(range(len(seen))) and fences[partition] >= len(seen)
            numbers = [SubjectNumber(number) for _, number in seen]
            assert len(tx.subjects(numbers)) == len(set(numbers)) == len(seen)
    vault.close()


def test_processes_that_start_at_once_make_one_vault(tmp_path: Path) -> None:
    """Whoever comes first sets it up; the others find the same secrets."""
    with worker(tmp_path, 0) as a, worker(tmp_path, 1) as b, worker(tmp_path, 2) as c:
        numbers = {first_line(each)[1] for each in (a, b, c)}
    for each in (a, b, c):
        told(each)
    vault = open_shared(tmp_path)
    with vault.transaction(write=False) as tx:
        assert len(tx.subjects(SubjectNumber(n) for n in numbers)) == 3
        assert [b.id for b in tx.all_buckets()] == [bucket()]
    vault.close()


def test_a_killed_process_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    """Killed again and again in the middle of commits: fence, plan, people and tally always agree."""
    dice, acknowledged = random.Random(9), dict[int, int]()
    vault = open_shared(tmp_path)
    for _ in range(5):
        with worker(tmp_path, 0) as process:
            first = first_line(process)
            time.sleep(dice.uniform(0.0, 0.08))
        for at, number in [first, *told(process)]:
            assert acknowledged.setdefault(at, number) == number, "a redelivery repeats the plan"
        with vault.transaction(write=False) as tx:
            fence = tx.progress("t", 0) or 0
            assert fence >= max(acknowledged) + 1
            assert tx.buckets([bucket()])[bucket()].tally == fence
            people = tx.subjects(SubjectNumber(n) for n in acknowledged.values())
            assert len(people) == len(acknowledged) == len(set(acknowledged.values()))
            names = [bytes(8) + at.to_bytes(8, "big") for at in range(fence)]
            assert [len(rows) for rows in tx.aliases(names).values()] == [1] * fence
            plan = tx.plan("t", 0)
            assert plan is None or SubjectNumber(int.from_bytes(plan, "big")) in tx.subjects(
                [SubjectNumber(int.from_bytes(plan, "big"))]
            )
    vault.close()
