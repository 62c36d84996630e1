"""What the supervisor has decided for this run and every role reads: addresses, clock, broker.

It lies in `DATA/state/runtime.json`.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from lapse.broker.connection import BrokerAddress, Mechanism, Protocol
from lapse.broker.node import is_free
from lapse.layout import Layout, write_atomically
from schemas.topics import SINGLE

SERVER_PORTS = range(20000, 31000)


class Security(BaseModel):
    """How Kafka is reached: protocol and mechanism in Kafka's words, and the authority's file for TLS."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol: Protocol = "SASL_PLAINTEXT"
    mechanism: Mechanism | None = "SCRAM-SHA-512"
    ca: str | None = None


class Ports(BaseModel):
    """The three ports people reach; all on one host."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    collector: int
    keys: int
    admin: int


class Runtime(BaseModel):
    """One run of the system on one data folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    host: str
    ports: Ports
    bootstrap: str
    cluster_id: str
    security: Security
    log_dirs: tuple[str, ...]
    clock: Literal["system", "manual"]
    test: bool
    metrics: dict[str, int] = {}
    """Role -> port of its metrics page on loopback: the same after a restart, so that scrapers find it."""
    partitions: int
    replication: int = 1
    """Replicas of topics that are made: set, or found out by `up` from the number of brokers."""
    registry: str | None = None
    trusted_proxies: tuple[str, ...] = ()
    allow_private_webhooks: bool = False
    fault: str | None = None
    fakes: dict[str, str] = {}
    """Where the stand-ins listen that play recipients whose address is `fake:`."""

    @property
    def address(self) -> BrokerAddress:
        """The cluster, as the clients of every library take it."""
        return BrokerAddress(
            bootstrap=self.bootstrap,
            protocol=self.security.protocol,
            mechanism=self.security.mechanism,
            ca=Path(self.security.ca) if self.security.ca else None,
            cluster_id=self.cluster_id,
        )

    def partitions_of(self, topic: str) -> int:
        """How many partitions a topic of ours has."""
        return 1 if topic in SINGLE else self.partitions

    @classmethod
    def path(cls, layout: Layout) -> Path:
        """Where it is kept."""
        return layout.state / "runtime.json"

    @classmethod
    def load(cls, layout: Layout) -> Runtime:
        """Read what the supervisor wrote; FileNotFoundError where nothing ever ran."""
        return cls.model_validate_json(cls.path(layout).read_bytes())

    def save(self, layout: Layout) -> None:
        """Write it for the roles of this run."""
        write_atomically(self.path(layout), self.model_dump_json(indent=2).encode())


def choose_ports(host: str, first: int) -> Ports:
    """`first`, `first + 1` and `first + 2`, or three free ones when `first` is 0."""
    if first:
        return Ports(collector=first, keys=first + 1, admin=first + 2)
    collector, keys, admin = free_ports(host, 3)
    return Ports(collector=collector, keys=keys, admin=admin)


def free_ports(host: str, count: int, taken: Collection[int] = ()) -> Sequence[int]:
    """Different ports nobody listens on and that are not `taken`, below the kernel's ephemeral range.

    In that range a client that retries against a stopped server can connect to itself and block the port.
    """
    found: list[int] = []
    while len(found) < count:
        port = secrets.choice(SERVER_PORTS)
        if port not in found and port not in taken and is_free(host, port):
            found.append(port)
    return found
