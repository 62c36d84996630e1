"""The embedded broker of a data folder, for `lapse up` and, by itself, for `lapse broker`."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

from lapse.broker import jars
from lapse.broker.embedded import EmbeddedKafka
from lapse.cli.output import say
from lapse.layout import Layout, write_json
from lapse.main import environment
from schemas.errors import Unavailable

LOOK_SECONDS = 0.2
"""How often it is looked whether the broker still runs."""


def embedded(layout: Layout, host: str, port: int = 0) -> EmbeddedKafka:
    """The embedded broker of a data folder, its jars fetched if need be."""
    found = environment()
    return EmbeddedKafka(
        layout.broker,
        libs=jars.fetch(jars.default_libs(found)),
        java=jars.find_java(found),
        host=host,
        port=port,
        log_file=layout.logs / "broker.log",
    )


def run(folder: Path, port: int) -> None:
    """The embedded broker by itself, until SIGINT or SIGTERM; `Unavailable` where it ends before that."""
    os.umask(0o077)  # the log holds what came in, in clear
    layout = Layout(folder)
    layout.logs.mkdir(parents=True, exist_ok=True, mode=0o700)
    broker, asked = embedded(layout, "127.0.0.1", port), threading.Event()
    # Before the start: whoever is ended in the middle of it would leave a broker behind.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked.set())
    with broker:
        path = layout.credentials("roles", "admin")
        write_json(path, {"username": broker.admin.username, "password": broker.admin.password})
        say(f"Kafka listens on {broker.address.bootstrap}; its super user: {path}")
        while not asked.wait(LOOK_SECONDS):
            if broker.pid is None:
                where, do = str(broker.log_file), "read its log, then start it again"
                raise Unavailable("unavailable", "the broker ended by itself", where, do)
