"""Who may do what on Kafka: roles and their rights, least privilege; `lapse.broker.admin` applies them.

A right that is not listed does not exist: the embedded broker refuses everything else. READ, WRITE and DELETE
imply DESCRIBE. Raw events in clear are written by the collector, read by tag and govern, ticked and cut off
by expire; nobody else reaches intake, the auditor included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Resource(StrEnum):
    """What a right is about."""

    TOPIC = "TOPIC"
    GROUP = "GROUP"
    TRANSACTIONAL_ID = "TRANSACTIONAL_ID"


class Operation(StrEnum):
    """What a right allows, in Kafka's words."""

    READ = "READ"
    WRITE = "WRITE"
    DELETE = "DELETE"
    DESCRIBE = "DESCRIBE"


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Right:
    """One operation on one resource: the one called `name`, or with `prefixed` all whose names start so.

    `denied` takes the operation away from a wider right. The name `*` stands for every resource.
    """

    resource: Resource
    name: str
    operation: Operation
    prefixed: bool = False
    denied: bool = False


Rights = tuple[Right, ...]

ADMIN = "admin"
"""The embedded broker's super user; needs no rights, and no role but set-up uses it."""
AUDITOR = "auditor"
GROUPS = "lapse."
"""How the names of our own consumer groups and transactional ids begin."""


def group(role: str) -> str:
    """Return the consumer group of a role; `group(role) + ".x"` is allowed to it as well."""
    return f"{GROUPS}{role}"


def processor_user(name: str) -> str:
    """Return the Kafka user of a processor."""
    return f"processor.{name}"


def processor_group(name: str) -> str:
    """Return the consumer group of a processor; with `.` and more behind it, it is allowed as well."""
    return f"processor.{name}"


def _topics(operation: Operation, *names: str) -> Rights:
    """Rights on topics; a name that ends in a dot is a prefix."""
    return tuple(
        Right(resource=Resource.TOPIC, name=name, operation=operation, prefixed=name.endswith("."))
        for name in names
    )


def _group(name: str) -> Rights:
    """The group `name` and those below it; as a bare prefix `crm` would own the groups of `crm2`."""
    exact = Right(resource=Resource.GROUP, name=name, operation=Operation.READ)
    below = Right(resource=Resource.GROUP, name=f"{name}.", operation=Operation.READ, prefixed=True)
    return (exact, below)


def _reads(*names: str) -> Rights:
    return _topics(Operation.READ, *names)


def _writes(*names: str) -> Rights:
    return _topics(Operation.WRITE, *names)


_SEES_LAG: Rights = (
    *_topics(Operation.DESCRIBE, "*"),
    *(
        Right(resource=Resource.GROUP, name=prefix, operation=Operation.DESCRIBE, prefixed=True)
        for prefix in (GROUPS, "processor.")
    ),
)
_PUBLIC_RECORD = ("records.", "decisions", "lifecycle", "control", "receipts", "residue", "quarantine")
"""What auditors and the admin API read: sealed, signed or counted."""

ROLES: Mapping[str, Rights] = {
    "collector": _writes("intake."),
    "tag": (
        *_reads("intake.form", "intake.email-open", "intake.cookie"),
        *_writes("records.", "decisions", "quarantine"),
        *_group(group("tag")),
    ),
    "route": (
        *_reads("records."),
        *_writes("decisions", "processor.", "quarantine"),
        *_group(group("route")),
    ),
    "govern": (
        *_reads("intake.signal", "control", "receipts"),
        *_writes("control", "decisions", "quarantine"),
        *_group(group("govern")),
    ),
    "expire": (
        # The announcer writes what the vault's outbox holds, connectors' receipts among it; the expander and
        # residue read decisions.
        *_writes("lifecycle", "control", "decisions", "receipts", "residue", "processor."),
        *_reads("decisions", "lifecycle", "control"),
        # A tick rolls the segment, delete_records then cuts it off; reading intake is not needed for either.
        *_writes("intake."),
        *_topics(Operation.DELETE, "intake."),
        *_group(group("expire")),
        *_SEES_LAG,
    ),
    "connect": (
        *_reads("processor."),
        *_writes("receipts", "plain."),
        *_group(group("connect")),
        *(
            Right(
                resource=Resource.TRANSACTIONAL_ID,
                name=f"{group('connect')}.",
                operation=Operation.WRITE,
                prefixed=True,
            ),
        ),
    ),
    "keys": (
        # The key endpoint takes receipts; the admin API sends signed commands and operators' signals.
        *_writes("receipts", "control", "intake.signal"),
        *_reads(*_PUBLIC_RECORD),
        *_group(group("keys")),
        *_SEES_LAG,
    ),
    AUDITOR: (
        *_reads(*_PUBLIC_RECORD, "processor.", "plain."),
        # Any group of the auditor's own, so that every Kafka tool works, but never one the flow stands on.
        Right(resource=Resource.GROUP, name="*", operation=Operation.READ),
        *(
            Right(resource=Resource.GROUP, name=prefix, operation=Operation.READ, prefixed=True, denied=True)
            for prefix in (GROUPS, "processor.")
        ),
    ),
}
"""Every role's rights; the role's name is its Kafka user."""


def processor_rights(name: str) -> Rights:
    """Return what a processor's own consumer may do: read its topics in its group, and nothing else."""
    return (*_reads(f"processor.{name}", f"plain.{name}"), *_group(processor_group(name)))


def everyone(processors: tuple[str, ...]) -> dict[str, Rights]:
    """Return the whole table for a policy's processors: Kafka user -> rights."""
    return dict(ROLES) | {processor_user(name): processor_rights(name) for name in processors}
