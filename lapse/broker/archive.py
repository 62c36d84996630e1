"""The classes of Kafka as Java has them in memory, written once and mapped by every broker.

Loading and verifying seven thousand classes is half of what a broker's start costs. `make setup` runs one
broker that writes them down as it ends; Java ignores the file where it does not fit: other jars, another
Java.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from lapse.broker.embedded import EmbeddedKafka, archive_of
from schemas.errors import LapseError

MAKING_SECONDS = 120.0
"""How long the broker that writes it may take to start."""


def make(libs: Path, java: Path) -> bool:
    """Write the archive beside the jars; false where there is one of this Java, or none can be made."""
    file = archive_of(libs)
    if file.exists() and file.stat().st_mtime > java.resolve().stat().st_mtime:
        return False
    if not os.access(libs, os.W_OK):
        return False
    with tempfile.TemporaryDirectory(dir=libs) as name:
        written = Path(name) / file.name
        broker = EmbeddedKafka(Path(name) / "data", libs=libs, java=java, record=written)
        try:
            broker.start(MAKING_SECONDS)
        except LapseError:  # brokers start as well without it
            return False
        finally:
            broker.stop()
        if not written.exists():
            return False
        written.replace(file)
    return True
