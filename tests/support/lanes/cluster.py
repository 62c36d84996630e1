"""Kafka clusters as somebody else would run them: one node or three, open, with passwords, or with TLS."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lapse.broker import jars
from lapse.broker.connection import BrokerAddress, Credentials
from lapse.broker.node import new_cluster_id
from lapse.broker.probe import probe
from lapse.broker.properties import render
from lapse.certificates import Issued, issue
from lapse.runtime import free_ports
from schemas.errors import LapseError

HOST = "127.0.0.1"
ADMIN = Credentials(username="admin", password="password-of-admin")
BROKER = Credentials(username="broker", password="password-of-broker")
Security = Literal["PLAINTEXT", "SASL_PLAINTEXT", "SASL_SSL"]
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required"
_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"


@dataclass(kw_only=True)
class Cluster:
    """Nodes that are broker and controller in one, each in a process and a folder of its own."""

    folder: Path
    ports: list[tuple[int, int]]
    security: Security
    libs: Path
    issued: Issued | None = None
    processes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def bootstrap(self) -> str:
        """Every node's `host:port`."""
        return ",".join(f"{HOST}:{port}" for port, _ in self.ports)

    @property
    def ca(self) -> Path:
        """The authority's certificate."""
        return self.folder / "ca.pem"

    @property
    def admin(self) -> Credentials | None:
        """The super user; nobody on an open cluster."""
        return None if self.security == "PLAINTEXT" else ADMIN

    @property
    def address(self) -> BrokerAddress:
        """How clients reach it."""
        secured = self.security != "PLAINTEXT"
        return BrokerAddress(
            bootstrap=self.bootstrap,
            protocol=self.security,
            mechanism="SCRAM-SHA-512" if secured else None,
            ca=self.ca if self.issued else None,
        )

    @property
    def environment(self) -> dict[str, str]:
        """What an operator sets to run Lapse on it."""
        found = {"LAPSE_BOOTSTRAP": self.bootstrap}
        if self.admin:
            found |= {"LAPSE_BOOTSTRAP_USER": ADMIN.username, "LAPSE_BOOTSTRAP_PASSWORD": ADMIN.password}
        if self.issued:
            found["LAPSE_BOOTSTRAP_CA"] = str(self.ca)
        return found

    def start(self, node: int) -> None:
        """Run one node."""
        command = [_java(), "-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        command += [f"-Dorg.slf4j.simpleLogger.{option}" for option in ("defaultLogLevel=warn",)]
        with (self.folder / f"{node}.log").open("ab") as log:
            self.processes[node] = subprocess.Popen(
                [*command, "-cp", f"{self.libs}/*", "kafka.Kafka", str(self._properties(node))],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self, node: int) -> None:
        """SIGKILL one node and wait until it is dead."""
        self.processes[node].send_signal(signal.SIGKILL)
        self.processes.pop(node).wait()

    def stop(self) -> None:
        """End what still runs; the data is not needed any more."""
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait()
        self.processes.clear()

    def await_answer(self, seconds: float = 60.0) -> None:
        """Return once the cluster lets its administrator in."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                probe(self.address, self.admin, timeout=0.2)
            except LapseError:
                ended = [node for node, process in self.processes.items() if process.poll() is not None]
                log = self.folder / f"{(ended or [1])[0]}.log"
                late = time.monotonic() > deadline
                assert not ended and not late, f"no cluster: {log.read_text('utf-8', 'replace')[-1500:]}"
                time.sleep(0.1)
            else:
                return

    def format(self) -> None:
        """Write every node's settings, identity and first users."""
        cluster_id = new_cluster_id(uuid.uuid4)
        if self.issued:
            self.ca.write_bytes(self.issued.authority)
            (self.folder / "server.pem").write_bytes(self.issued.key + self.issued.certificate)
        formatting = []
        for node in range(1, len(self.ports) + 1):
            self._properties(node).write_text(render(self._settings(node)))
            command = [_java(), "-cp", f"{self.libs}/*", "kafka.tools.StorageTool", "format"]
            command += ["-t", cluster_id, "-c", str(self._properties(node)), "--ignore-formatted"]
            for who in (ADMIN, BROKER) if self.admin else ():
                command += ["--add-scram", f"SCRAM-SHA-512=[name={who.username},password={who.password}]"]
            formatting.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
        for process in formatting:
            _, said = process.communicate(timeout=60)
            assert process.returncode == 0, said.decode()[-800:]

    def _properties(self, node: int) -> Path:
        return self.folder / f"{node}.properties"

    def _settings(self, node: int) -> dict[str, str]:
        port, controller = self.ports[node - 1]
        name, copies = self.security, str(len(self.ports))
        quorum = ",".join(f"{n}@{HOST}:{c}" for n, (_, c) in enumerate(self.ports, 1))
        return {
            "process.roles": "broker,controller",
            "node.id": str(node),
            "controller.quorum.voters": quorum,
            "listeners": f"{name}://{HOST}:{port},CONTROLLER://{HOST}:{controller}",
            "advertised.listeners": f"{name}://{HOST}:{port}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": name,
            "log.dirs": str(self.folder / f"log-{node}"),
            "offsets.topic.replication.factor": copies,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": str(min(2, len(self.ports))),
            **_SMALL,
            **self._secured(),
        }

    def _secured(self) -> dict[str, str]:
        if self.security == "PLAINTEXT":
            return {"listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"}
        me = f'username="{BROKER.username}" password="{BROKER.password}"'
        name = f"listener.name.{self.security.lower()}"
        settings = {
            "listener.security.protocol.map": f"{self.security}:{self.security},CONTROLLER:SASL_PLAINTEXT",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
            "sasl.mechanism.controller.protocol": "PLAIN",
            "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
            f"{name}.scram-sha-512.sasl.jaas.config": f"{_SCRAM} {me};",
            "listener.name.controller.plain.sasl.jaas.config": (
                f'{_PLAIN} {me} user_{BROKER.username}="{BROKER.password}";'
            ),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:{BROKER.username};User:{ADMIN.username}",
        }
        if self.issued:
            settings |= {
                "ssl.keystore.type": "PEM",
                "ssl.keystore.location": str(self.folder / "server.pem"),
                "ssl.truststore.type": "PEM",
                "ssl.truststore.location": str(self.ca),
            }
        return settings


_SMALL = {
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "log.cleaner.dedupe.buffer.size": "16777216",
    "log.index.size.max.bytes": "1048576",
}


def _java() -> str:
    return str(jars.find_java(os.environ))


@contextmanager
def running_cluster(
    folder: Path, *, nodes: int = 1, security: Security = "PLAINTEXT", hosts: tuple[str, ...] = (HOST,)
) -> Iterator[Cluster]:
    """Run a cluster until the block ends; with TLS its certificate is for `hosts`."""
    folder.mkdir(parents=True, exist_ok=True)
    ports = list(free_ports(HOST, 2 * nodes))
    cluster = Cluster(
        folder=folder,
        ports=list(zip(ports[::2], ports[1::2], strict=True)),
        security=security,
        libs=jars.fetch(jars.default_libs(os.environ)),
        issued=issue(hosts, dt.datetime.now(dt.UTC)) if security == "SASL_SSL" else None,
    )
    with ExitStack() as closing:
        cluster.format()
        closing.callback(cluster.stop)
        for node in range(1, nodes + 1):
            cluster.start(node)
        cluster.await_answer()
        yield cluster
