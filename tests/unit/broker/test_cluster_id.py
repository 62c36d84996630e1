"""The cluster's id goes to Kafka's own tool as an argument."""

import uuid

from lapse.broker.node import new_cluster_id


def test_an_id_never_looks_like_an_option() -> None:
    """A UUID whose text would begin with a dash is drawn again: Kafka's tool would take it for an option."""
    draws = iter([uuid.UUID(int=0xF8 << 120), uuid.UUID(int=0xFB << 120), uuid.UUID(int=0x18 << 120)])
    assert new_cluster_id(lambda: next(draws)) == "GAAAAAAAAAAAAAAAAAAAAA"
