"""What an embedded node keeps for its whole life: identity, ports, and passwords of its two super users."""

from __future__ import annotations

import json
import os
import secrets
import socket
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from schemas.errors import Unavailable

_PORTS = range(20_000, 32_000)
"""Below the range the kernel takes ports of outgoing connections from (Linux: 32768 and up).

In that range a client that knocks at a stopped broker's port is now and then given the very same port as its
own, connects to itself, and the broker can no longer bind it.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One node; a port of 0 is not chosen yet."""

    cluster_id: str
    host: str
    port: int
    controller_port: int
    broker_password: str = field(repr=False)
    admin_password: str = field(repr=False)

    @property
    def bootstrap(self) -> str:
        """`host:port` of the client listener."""
        return f"{self.host}:{self.port}"


def load_or_create(file: Path, *, host: str, port: int) -> Node:
    """Return the node kept in `file`, or a new one on ports that are free now, which is then kept.

    Earlier ports are kept where they are free. With `port` the client listener is there and nowhere else:
    `Unavailable` where it is taken.
    """
    if file.exists():
        node = Node(**json.loads(file.read_text("utf-8")))
    else:
        node = Node(
            cluster_id=new_cluster_id(uuid.uuid4),
            host=host,
            port=0,
            controller_port=0,
            broker_password=secrets.token_urlsafe(24),
            admin_password=secrets.token_urlsafe(24),
        )
    if port and not is_free(host, port):
        raise Unavailable(
            code="unavailable",
            what=f"port {port} is in use",
            where=f"{host}:{port}",
            do="choose another broker port, or 0 for a free one",
        )
    chosen = port or keep_or_pick(host, node.port, other=node.controller_port)
    node = replace(node, host=host, port=chosen)
    node = replace(node, controller_port=keep_or_pick(host, node.controller_port, other=chosen))
    write_private(file, json.dumps(asdict(node), indent=1))
    return node


def new_cluster_id(draw: Callable[[], uuid.UUID]) -> str:
    """Return a UUID as Kafka writes it: base64url, unpadded; one beginning with a dash reads as an option."""
    while (text := urlsafe_b64encode(draw().bytes).rstrip(b"=").decode("ascii")).startswith("-"):
        pass
    return text


def keep_or_pick(host: str, port: int = 0, *, other: int = 0) -> int:
    """Return `port` where it is free, else a free one that is not `other`; `Unavailable` if there is none."""
    if port and port != other and is_free(host, port):
        return port
    for _ in range(200):
        candidate = secrets.choice(_PORTS)
        if candidate != other and is_free(host, candidate):
            return candidate
    raise Unavailable(
        code="unavailable",
        what=f"no free port between {_PORTS.start} and {_PORTS.stop}",
        where=host,
        do="name one",
    )


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    try:
        socket.create_server((host, port)).close()
    except OSError:
        return False
    return True


def write_private(path: Path, text: str) -> None:
    """Replace `path` atomically with a file only its owner can read."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(path)
