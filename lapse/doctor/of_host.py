"""What lies on this host: disks, the spool, the certificate, and what seals."""

from __future__ import annotations

import datetime as dt
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509

from lapse.doctor import judging
from lapse.doctor.finding import Finding, bad, well
from lapse.main import Installation
from vault import columns

SPOOL_BYTES, SPOOL_SECONDS = 1 << 30, 48 * 3600.0
"""What the collector's spool takes at most (`lapse.collector.settings`, which a test holds equal)."""


def disk(here: Installation) -> Iterator[Finding]:
    """Every disk once, however many folders lie on it."""
    by_device: dict[int, list[tuple[str, Path]]] = {}
    for name, path in here.layout.folders.items():
        by_device.setdefault(path.stat().st_dev, []).append((name, path))
    read = []
    for found in by_device.values():
        usage = shutil.disk_usage(found[0][1])
        read.append(
            judging.Disk(
                folders=", ".join(name for name, _ in found),
                free=usage.free,
                total=usage.total,
                where=str(found[0][1]),
            )
        )
    yield from judging.disks(read)


def spool(here: Installation) -> Iterator[Finding]:
    """What waits for Kafka, and for how long."""
    segments = list(here.layout.spool.glob("*.seg")) if here.layout.spool.exists() else []
    ages = [time.time() - path.stat().st_mtime for path in segments]
    yield judging.spool(
        here.spooled(), max(ages, default=0.0), SPOOL_BYTES, SPOOL_SECONDS, str(here.layout.spool)
    )


def certificate(here: Installation) -> Iterator[Finding]:
    """How long the key endpoint's certificate is good for."""
    path = here.layout.tls_certificate
    try:
        found = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        yield bad("certificate", "cannot be read", where=str(path), do="restore it with keys/tls.key")
        return
    left = found.not_valid_after_utc - dt.datetime.now(dt.UTC)
    yield judging.certificate(left.total_seconds() / judging.DAY, str(path))


def sealing(_here: Installation) -> Iterator[Finding]:
    """What seals and opens here; plain Python is slower and no fault."""
    yield well("sealing", columns.in_use())
