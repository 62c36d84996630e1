"""A cluster's topics: what is there, how it differs from the plan, and making it as planned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kafka import errors
from kafka.admin import ConfigResource, ConfigResourceType

from lapse.broker.asking import Asking
from lapse.broker.translation import translate
from schemas.topics import TopicPlan

_NO_CONFIGURATION = ("partitions", "replicas")
"""What a topic is made with; changing it moves data and is not a setting."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Where a live topic is not as planned; `found` is None where the topic is missing."""

    topic: str
    setting: str
    wanted: str
    found: str | None


class Topics(Asking):
    """The cluster itself, and its topics."""

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
        """Create what is missing as planned; return the new names once every partition leads.

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
        """Return existing topics' live configuration, defaults too; one that may not be seen is empty."""
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
        """Set every differing configuration as planned; return what that does not mend."""
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
