"""Kafka's administration on kafka-python's admin client: users, rights, topics, lags and the deletion of
records.

kafka-python 3 reports many failures inside its results instead of raising them: altered configurations,
created rights, SCRAM users, topics, described configurations. Every result is read here. Users, rights and
topics reach a broker a moment after the controller has accepted them, so each call returns only once the
broker itself shows the change. Errors: `Unavailable`, `Refused` (credentials, rights), `NotFound`, `BadInput`
(a configuration Kafka does not take).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from kafka import errors
from kafka.admin import (
    ConfigResource,
    ConfigResourceType,
    KafkaAdminClient,
    MemberToRemove,
    OffsetSpec,
    ScramMechanism,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)
from kafka.structs import TopicPartition

from lapse.broker import acls
from lapse.broker.connection import BrokerAddress, Credentials
from lapse.broker.principals import Rights
from lapse.broker.probe import probe
from lapse.broker.translation import repeat, translate
from schemas.errors import Bug, Unavailable
from schemas.topics import TopicPlan

T = TypeVar("T")
Partition = tuple[str, int]
"""Topic and partition number."""

_SCRAM = ScramMechanism.SCRAM_SHA_512
_VISIBLE_SECONDS = 0.05
_NO_CONFIGURATION = ("partitions", "replicas")
"""What a topic is made with; changing it moves data and is not a setting."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Where a live topic is not as planned; `found` is None where the topic is missing."""

    topic: str
    setting: str
    wanted: str
    found: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RightsReport:
    """What `apply_rights` did; `supported` is False on a cluster without an authorizer, where nobody is kept
    out.
    """

    supported: bool
    created: int = 0
    removed: int = 0


class Admin:
    """An administrator's connection to a cluster, embedded or not; not for use by two threads at once."""

    def __init__(
        self, address: BrokerAddress, login: Credentials | None = None, *, timeout: float = 30.0
    ) -> None:
        self._where, self._timeout = address.bootstrap, timeout
        arguments = address.kafka_python(login)
        milliseconds = int(timeout * 1000)
        probe(address, login, timeout=timeout)
        try:
            self._client: Any = KafkaAdminClient(
                **arguments,
                client_id="lapse-admin",
                bootstrap_timeout_ms=milliseconds,
                request_timeout_ms=milliseconds,
                reconnect_backoff_max_ms=1000,
            )
        except errors.KafkaError as error:
            raise translate(error, address.bootstrap) from error

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- cluster and topics --------------------------------------------------------------------------------

    def cluster_id(self) -> str:
        """Return the cluster's own id."""
        return str(self._call(self._client.describe_cluster)["cluster_id"])

    def brokers(self) -> int:
        """Return how many brokers the cluster has that are not fenced."""
        described = self._call(self._client.describe_cluster)["brokers"]
        return sum(1 for broker in described if not broker.get("is_fenced"))

    def topics(self) -> dict[str, int]:
        """Return every topic with its number of partitions, Kafka's own topics left out."""
        described = self._call(self._client.describe_topics)
        return {t["name"]: len(t["partitions"]) for t in described if not t["is_internal"]}

    def copies(self) -> dict[str, tuple[int, int]]:
        """Return the replicas of every topic, Kafka's own among them, and how many of them are in sync.

        Of the partition that has fewest: a topic is as safe as that one.
        """
        described = self._call(self._client.describe_topics)
        return {
            topic["name"]: (
                min(len(partition["replica_nodes"]) for partition in topic["partitions"]),
                min(len(partition["isr_nodes"]) for partition in topic["partitions"]),
            )
            for topic in described
            if topic["partitions"]
        }

    def create_topics(self, plans: Iterable[TopicPlan]) -> tuple[str, ...]:
        """Create what is missing, with the plan's configuration; return the new names once every partition
        leads.

        Existing topics stay as they are: `differences` says how they differ and `align` mends it.
        """
        existing = self.topics()
        missing = {plan.name: plan for plan in plans if plan.name not in existing}
        if not missing:
            return ()
        request = {
            plan.name: {
                "num_partitions": plan.partitions,
                "replication_factor": plan.replication,
                "configs": plan.config,
            }
            for plan in missing.values()
        }
        result = self._call(lambda: self._client.create_topics(request, raise_errors=False))
        for topic in result["topics"]:
            error = errors.for_code(topic["error_code"])
            if error not in (errors.NoError, errors.TopicAlreadyExistsError):
                raise translate(error(topic["error_message"]), f"topic {topic['name']} at {self._where}")
        self._call(lambda: self._client.wait_for_topics(list(missing), timeout_ms=int(self._timeout * 1000)))
        return tuple(missing)

    def topic_configs(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        """Return the live configuration of existing topics, defaults included; a topic one may not see is
        empty.
        """
        if not names:
            return {}
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        found = self._call(lambda: self._client.describe_configs(resources, config_filter="all"))
        return {
            name: {setting: str(entry["value"]) for setting, entry in found["topic"].get(name, {}).items()}
            for name in names
        }

    def differences(self, plans: Iterable[TopicPlan]) -> tuple[Difference, ...]:
        """Return every point in which the live topics are not as planned."""
        plans, live, copies = tuple(plans), self.topics(), self.copies()
        configs = self.topic_configs([plan.name for plan in plans if plan.name in live])
        found: list[Difference] = []
        for plan in plans:
            if plan.name not in live:
                found.append(Difference(topic=plan.name, setting="topic", wanted="exists", found=None))
                continue
            actual = {"partitions": str(live[plan.name]), "replicas": str(copies[plan.name][0])}
            actual |= configs[plan.name]
            wanted = {"partitions": str(plan.partitions), "replicas": str(plan.replication), **plan.config}
            if copies[plan.name][0] < plan.replication:
                # With fewer replicas than it asks to be in sync a topic takes no more writes at all.
                del wanted["min.insync.replicas"]
            found += [
                Difference(
                    topic=plan.name, setting=setting, wanted=value, found=actual.get(setting, "unknown")
                )
                for setting, value in wanted.items()
                if actual.get(setting) != value
            ]
        return tuple(found)

    def align(self, plans: Iterable[TopicPlan]) -> tuple[Difference, ...]:
        """Set every differing configuration as planned; return what it could not mend (partitions, replicas,
        missing topics).
        """
        plans = tuple(plans)
        changes: dict[str, dict[str, str]] = {}
        for difference in self.differences(plans):
            if difference.found is not None and difference.setting not in _NO_CONFIGURATION:
                changes.setdefault(difference.topic, {})[difference.setting] = difference.wanted
        for topic, configs in changes.items():
            self.configure_topic(topic, configs)
        return self.differences(plans)

    def configure_topic(self, topic: str, configs: Mapping[str, str]) -> None:
        """Set these configurations of one topic and leave its others; returns when the broker shows them."""
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, dict(configs))
        where = f"configuration of {topic} at {self._where}"
        try:
            result = self._call(lambda: self._client.alter_configs([resource]))
        except ValueError as unknown:
            raise translate(errors.InvalidConfigurationError(str(unknown)), where) from unknown
        if (said := result["topic"][topic]) != "OK":
            raise translate(errors.InvalidConfigurationError(said), where)
        self._until(lambda: configs.items() <= self.topic_configs([topic])[topic].items(), where)

    # ---- users and rights ----------------------------------------------------------------------------------

    def put_users(self, users: Iterable[Credentials]) -> None:
        """Create or replace SCRAM-SHA-512 users; returns when the broker knows them all."""
        upserts = [UserScramCredentialUpsertion(u.username, _SCRAM, u.password) for u in users]
        if upserts:
            self._alter_users(upserts)
            names = {upsert.user for upsert in upserts}
            self._until(lambda: names <= self.users(), "new users")

    def remove_users(self, names: Iterable[str]) -> None:
        """Delete these users and every right of theirs; a name nobody has is skipped."""
        gone = set(names) & self.users()
        self.apply_rights(dict.fromkeys(gone, ()))
        if gone:
            self._alter_users([UserScramCredentialDeletion(name, _SCRAM) for name in gone])
            self._until(lambda: not gone & self.users(), "removed users")

    def users(self) -> frozenset[str]:
        """Return the names of all SCRAM users."""
        return frozenset(self._call(self._client.describe_user_scram_credentials))

    def _alter_users(self, alterations: Sequence[object]) -> None:
        result = self._call(lambda: self._client.alter_user_scram_credentials(alterations))
        if failed := {user: why for user, why in result.items() if why}:
            raise Bug(code="bug", what=f"Kafka refused SCRAM users: {failed}", where=self._where)

    def apply_rights(self, table: Mapping[str, Rights]) -> RightsReport:
        """Give each user of the table exactly its rights: create what is missing, remove what is not in
        it.
        """
        wanted = {
            acls.spelled(a): a for u, rights in table.items() for a in (acls.binding(u, r) for r in rights)
        }
        live = self._rights_of(table)
        if live is None:
            return RightsReport(supported=False)
        missing = [acl for key, acl in wanted.items() if key not in live]
        surplus = [acl for key, acl in live.items() if key not in wanted]
        if missing:
            failed = self._call(lambda: self._client.create_acls(missing))["failed"]
            if failed:
                raise translate(failed[0](), f"rights at {self._where}")
        if surplus:
            for _, _, error in self._call(
                lambda: self._client.delete_acls([acls.exactly(a) for a in surplus])
            ):
                if error is not errors.NoError:
                    raise translate(error(), f"rights at {self._where}")
        if missing or surplus:
            self._until(lambda: (self._rights_of(table) or {}).keys() == wanted.keys(), "rights")
        return RightsReport(supported=True, created=len(missing), removed=len(surplus))

    def rights(self) -> tuple[tuple[str, ...], ...] | None:
        """Return every right on the cluster as text (user, permission, operation, resource, pattern, name,
        host).

        None on a cluster without an authorizer.
        """
        live = self._rights_of(None)
        return None if live is None else tuple(sorted(live))

    def compare_rights(
        self, table: Mapping[str, Rights]
    ) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """Return by user what it lacks of its rights in the table, and what it has beyond them, in words.

        Nothing on a cluster without an authorizer.
        """
        live: Mapping[tuple[str, ...], Any] | None = self._rights_of(table)
        wanted: set[tuple[str, ...]] = {
            acls.spelled(acls.binding(u, r)) for u, rights in table.items() for r in rights
        }
        missing: dict[str, list[str]] = {}
        surplus: dict[str, list[str]] = {}
        if live is not None:
            for key in sorted(wanted - live.keys()):
                missing.setdefault(key[0], []).append(acls.said(key))
            for key in sorted(live.keys() - wanted):
                surplus.setdefault(key[0], []).append(acls.said(key))
        return missing, surplus

    def _rights_of(self, users: Iterable[str] | None) -> dict[tuple[str, ...], Any] | None:
        def describe() -> Sequence[Any] | None:
            try:
                found, _ = self._client.describe_acls(acls.of_user(None))
            except errors.SecurityDisabledError:
                return None
            return list(found)

        found = self._call(describe)
        if found is None:
            return None
        spelled = {acls.spelled(acl): acl for acl in found}
        wanted = None if users is None else set(users)
        return {key: acl for key, acl in spelled.items() if wanted is None or key[0] in wanted}

    # ---- offsets -------------------------------------------------------------------------------------------

    def offsets(self, topics: Iterable[str], *, earliest: bool = False) -> dict[Partition, int]:
        """Return the end (or with `earliest` the start) of every partition of these topics."""
        counts, spec = self.topics(), OffsetSpec.EARLIEST if earliest else OffsetSpec.LATEST
        asked = {TopicPartition(t, p): spec for t in topics if t in counts for p in range(counts[t])}
        if not asked:
            return {}
        found = self._call(lambda: self._client.list_partition_offsets(asked))
        return {(tp.topic, tp.partition): at.offset for tp, at in found.items()}

    def offsets_at(self, topics: Iterable[str], seconds: float) -> dict[Partition, int]:
        """Return each partition's first offset appended at or after a time (seconds since the epoch), its end
        where nothing was.
        """
        ends, at = self.offsets(topics), int(seconds * 1000)
        if not ends:
            return {}
        asked = {TopicPartition(*place): at for place in ends}
        found = self._call(lambda: self._client.list_partition_offsets(asked))
        return {
            place: offset if (offset := found[TopicPartition(*place)].offset) >= 0 else end
            for place, end in ends.items()
        }

    def committed(self, groups: Sequence[str]) -> dict[str, dict[Partition, int]]:
        """Return the committed offsets of these groups; a group nobody has used yet is empty."""
        if not groups:
            return {}
        found = self._call(lambda: self._client.list_group_offsets(list(groups)))
        return {
            group: {
                (tp.topic, tp.partition): at.offset
                for tp, at in found.get(group, {}).items()
                if at.offset >= 0
            }
            for group in groups
        }

    def lags(self, reads: Mapping[str, Sequence[str]]) -> dict[str, dict[Partition, int]]:
        """Return, for each group and the topics it reads, how many offsets every partition is behind.

        Where a group has committed nothing, everything still in the partition counts.
        """
        topics = sorted({topic for names in reads.values() for topic in names})
        # The committed offsets are read first: then a lag of 0 means that all written before the call is
        # done.
        committed = self.committed(list(reads))
        starts, ends = self.offsets(topics, earliest=True), self.offsets(topics)
        return {
            group: {
                at: max(0, end - max(starts.get(at, 0), committed[group].get(at, 0)))
                for at, end in ends.items()
                if at[0] in names
            }
            for group, names in reads.items()
        }

    def members(self, group: str) -> dict[str, str]:
        """Return a consumer group's members: member id -> the client id it gave itself."""
        found = self._call(lambda: self._client.describe_groups([group])).get(group, {})
        return {member["member_id"]: member["client_id"] for member in found.get("members", ())}

    def remove_members(self, group: str, members: Iterable[str]) -> None:
        """Let these members leave their group, as they would have by themselves; one who lives joins anew."""
        gone = [MemberToRemove(member_id=member) for member in members]
        if gone:
            self._call(lambda: self._client.remove_group_members(group, gone))

    def delete_records(self, before: Mapping[Partition, int]) -> dict[Partition, int]:
        """Move the start of each partition to the given offset (-1: its end); return the new starts.

        Bytes leave the disk only with whole closed segments: append a tick record to roll, then delete up to
        it.
        """
        asked = {TopicPartition(*at): offset for at, offset in before.items()}
        if not asked:
            return {}
        found = self._call(lambda: self._client.delete_records(asked))
        return {(tp.topic, tp.partition): int(result["low_watermark"]) for tp, result in found.items()}

    # ----------------------------------------------------------------

    def _call(self, call: Callable[[], T]) -> T:
        return repeat(call, where=self._where, seconds=self._timeout)

    def _until(self, shown: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + self._timeout
        while not shown():
            if time.monotonic() > deadline:
                raise Unavailable(
                    code="unavailable",
                    what=f"the broker does not show {what} yet",
                    where=self._where,
                    do="try again",
                )
            time.sleep(_VISIBLE_SECONDS)
