"""The embedded broker's `server.properties`: one secured node, broker and controller in one."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from lapse.broker.node import Node

BROKER_USER = "broker"
ADMIN_USER = "admin"
MECHANISM: Final = "SCRAM-SHA-512"

_TEN_YEARS_MINUTES = 10 * 365 * 24 * 60


def server_properties(node: Node, log_dir: Path) -> dict[str, str]:
    """Every setting of the node; the file it is written to holds passwords and must be 0600.

    The controller listener asks for a password too: an anonymous controller connection would be a super user.
    """
    listener = f"SASL_PLAINTEXT://{node.host}:{node.port}"
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule required"
    plain = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    me = f'username="{BROKER_USER}" password="{node.broker_password}"'
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{node.host}:{node.controller_port}",
        "listeners": f"{listener},CONTROLLER://{node.host}:{node.controller_port}",
        "advertised.listeners": listener,
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "SASL_PLAINTEXT",
        "listener.security.protocol.map": "SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT",
        "sasl.enabled.mechanisms": MECHANISM,
        "sasl.mechanism.inter.broker.protocol": MECHANISM,
        "sasl.mechanism.controller.protocol": "PLAIN",
        "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config": f"{scram} {me};",
        "listener.name.controller.plain.sasl.jaas.config": (
            f'{plain} {me} user_{BROKER_USER}="{node.broker_password}";'
        ),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:{BROKER_USER};User:{ADMIN_USER}",
        "log.dirs": str(log_dir),
        **_SINGLE_NODE,
        **_RETENTION,
        **_SMALL,
    }


_SINGLE_NODE = {
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "4",
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    # After a SIGKILL the controller lets the node back in when its old session has run out (default: 9 s).
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
}

_RETENTION = {
    "log.message.timestamp.type": "LogAppendTime",
    # Purged bytes leave the disk within seconds: a check each second, starting at once, and no long grace.
    "log.retention.check.interval.ms": "1000",
    "log.initial.task.delay.ms": "1000",
    "log.segment.delete.delay.ms": "1000",
    # The default forgets the offsets of a group that was away for a week, and with them where it stood.
    "offsets.retention.minutes": str(_TEN_YEARS_MINUTES),
}

_SMALL = {
    "num.network.threads": "2",
    "num.io.threads": "4",
    "log.cleaner.dedupe.buffer.size": "16777216",
    # Index files are allocated whole, two for each open segment: the default of 10 MB adds up to gigabytes.
    "log.index.size.max.bytes": "1048576",
}


def render(properties: dict[str, str]) -> str:
    """Java properties text; backslashes are the only character our values need escaped."""
    return "".join(f"{name}={value}\n".replace("\\", "\\\\") for name, value in properties.items())
