"""Where everything stands: ends of partitions, how far groups have come; and cutting off what lies before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from kafka.admin import MemberToRemove, OffsetSpec
from kafka.structs import TopicPartition

from lapse.broker.asking import Partition
from lapse.broker.topics import Topics


class Offsets(Topics):
    """Offsets, consumer groups and the deletion of records."""

    def offsets(self, topics: Iterable[str], *, earliest: bool = False) -> dict[Partition, int]:
        """Return the end (or with `earliest` the start) of every partition of these topics."""
        counts, spec = self.topics(), OffsetSpec.EARLIEST if earliest else OffsetSpec.LATEST
        asked = {TopicPartition(t, p): spec for t in topics if t in counts for p in range(counts[t])}
        if not asked:
            return {}
        found = self._call(lambda: self._client.list_partition_offsets(asked))
        return {(tp.topic, tp.partition): at.offset for tp, at in found.items()}

    def offsets_at(self, topics: Iterable[str], seconds: float) -> dict[Partition, int]:
        """Return each partition's first offset appended at or after a time (epoch seconds), or its end."""
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
