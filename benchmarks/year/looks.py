"""What is looked at once a simulated week: memory, open files and threads of each role, disk, rows, files."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lapse.layout import Layout, read_json
from vault.tables import TABLES

MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Look:
    """One look; sizes in MiB."""

    day: int
    sent: int
    people: int
    rss: Mapping[str, float]
    open_files: Mapping[str, int]
    threads: Mapping[str, int]
    disk: Mapping[str, float]
    files: Mapping[str, int]
    rows: Mapping[str, int]


def look(layout: Layout, *, day: int, sent: int, people: int) -> Look:
    """Look at a running system."""
    pids = {role: pid for role, pid in read_json(layout.roles_file).items() if role != "supervisor"}
    folders = {"vault": layout.vault_file.parent, "spool": layout.spool, "logs": layout.logs}
    return Look(
        day=day,
        sent=sent,
        people=people,
        rss={role: round(_status(pid, "VmRSS") / 1024, 1) for role, pid in pids.items()},
        open_files={role: sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()) for role, pid in pids.items()},
        threads={role: _status(pid, "Threads") for role, pid in pids.items()},
        disk={name: round(_bytes(folder) / MIB, 2) for name, folder in folders.items()}
        | {f"broker {name}": round(size / MIB, 2) for name, size in _log_bytes(layout).items()},
        files={"broker": sum(1 for _ in (layout.broker / "log").rglob("*"))},
        rows=rows(layout.vault_file),
    )


def rows(vault: Path) -> dict[str, int]:
    """Rows per table, dead key slots apart."""
    connection = sqlite3.connect(f"file:{vault}?mode=ro", uri=True)
    try:
        counts = {
            table.name: int(connection.execute(f"SELECT count(*) FROM {table.name}").fetchone()[0])  # noqa: S608 - names of our own tables
            for table in TABLES
        }
        open_buckets = connection.execute("SELECT count(*) FROM bucket WHERE state = 'open'").fetchone()[0]
        return counts | {"open buckets": int(open_buckets)}
    finally:
        connection.close()


def _status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0


def _log_bytes(layout: Layout) -> dict[str, int]:
    """Bytes of segments by kind of topic: index files are allocated whole and say nothing."""
    found: dict[str, int] = {}
    for folder in (layout.broker / "log").iterdir():
        if folder.is_dir():
            kind = folder.name.rsplit("-", 1)[0].split(".")[0]
            kind = "Kafka's own" if kind.startswith("__") else kind
            found[kind] = found.get(kind, 0) + sum(p.stat().st_size for p in folder.glob("*.log"))
    return found


def _bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*") if folder.exists() else ():
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:  # gone since it was listed
            continue
    return total
