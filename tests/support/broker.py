"""The Kafka the tests run on: `LAPSE_BOOTSTRAP`, else a container, else the embedded one."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lapse.broker import jars
from lapse.broker.admin import Admin
from lapse.broker.connection import BrokerAddress, Credentials
from lapse.broker.embedded import EmbeddedKafka
from lapse.broker.node import keep_or_pick

IMAGE = f"apache/kafka:{jars.kafka_version()}"


@dataclass(frozen=True, kw_only=True)
class Broker:
    """A running Kafka and the credentials of its administrator; None where it asks for none."""

    kind: str
    address: BrokerAddress
    admin: Credentials | None
    log_dirs: tuple[Path, ...] = ()

    def connect(self) -> Admin:
        """Return an administrator's connection."""
        return Admin(self.address, self.admin)


def new_embedded(data_dir: Path) -> EmbeddedKafka:
    """Return a broker for this folder, not started, with this machine's jars and Java."""
    libs = jars.fetch(jars.default_libs(os.environ))
    return EmbeddedKafka(data_dir, libs=libs, java=jars.find_java(os.environ))


def kill(kafka: EmbeddedKafka) -> None:
    """SIGKILL the broker and wait until it is dead."""
    assert kafka.pid
    os.kill(kafka.pid, signal.SIGKILL)
    while kafka.pid is not None:
        time.sleep(0.01)


@contextmanager
def running_broker(data_dir: Path) -> Iterator[Broker]:
    """Yield the broker this environment asks for; what was started here is stopped at the end."""
    if bootstrap := os.environ.get("LAPSE_BOOTSTRAP"):
        yield _external(bootstrap)
    elif _container_possible():
        with _container() as broker:
            yield broker
    else:
        with new_embedded(data_dir) as kafka:
            yield Broker(kind="embedded", address=kafka.address, admin=kafka.admin, log_dirs=kafka.log_dirs)


def _external(bootstrap: str) -> Broker:
    user, password = os.environ.get("LAPSE_BOOTSTRAP_USER"), os.environ.get("LAPSE_BOOTSTRAP_PASSWORD")
    if not user or not password:
        return Broker(kind="external", address=BrokerAddress(bootstrap=bootstrap), admin=None)
    address = BrokerAddress(bootstrap=bootstrap, protocol="SASL_PLAINTEXT", mechanism="SCRAM-SHA-512")
    return Broker(kind="external", address=address, admin=Credentials(username=user, password=password))


def _container_possible() -> bool:
    """Whether a Docker engine answers and already has the image; nothing is ever pulled."""
    try:
        done = subprocess.run(
            ["docker", "image", "inspect", IMAGE], capture_output=True, timeout=10, check=False
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


@contextmanager
def _container() -> Iterator[Broker]:
    """Kafka's own image, in clear and without rights: what needs those uses the embedded broker."""
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    port = keep_or_pick("127.0.0.1")
    controller = keep_or_pick("127.0.0.1", other=port)
    container = DockerContainer(IMAGE).with_kwargs(network_mode="host")
    for name, value in _container_settings(port, controller).items():
        container = container.with_env(name, value)
    container = container.waiting_for(LogMessageWaitStrategy("Kafka Server started"))
    with container:
        yield Broker(kind="container", address=BrokerAddress(bootstrap=f"127.0.0.1:{port}"), admin=None)


def _container_settings(port: int, controller: int) -> dict[str, str]:
    """The whole list: one KAFKA_ variable drops all the image's defaults."""
    return {
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_NODE_ID": "1",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": f"1@127.0.0.1:{controller}",
        "KAFKA_LISTENERS": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_INTER_BROKER_LISTENER_NAME": "PLAINTEXT",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_LOG_RETENTION_CHECK_INTERVAL_MS": "1000",
    }
