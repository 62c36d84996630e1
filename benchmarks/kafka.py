"""A real Kafka for the benchmarks of the edge: the embedded one, with the topics of the plan and SCRAM."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from lapse.broker.admin import Admin
from lapse.broker.connection import Credentials
from lapse.broker.embedded import EmbeddedKafka
from lapse.broker.principals import everyone
from schemas.topics import plan_topics
from tests.support.broker import new_embedded

COLLECTOR = Credentials(username="collector", password="password-of-collector")  # noqa: S106 - of a throw-away broker
PARTITIONS = 4


@contextlib.contextmanager
def broker(folder: Path) -> Iterator[EmbeddedKafka]:
    """Yield a broker of this run's own, with the topics and the collector's user."""
    with new_embedded(folder) as running:
        with Admin(running.address, running.admin) as admin:
            admin.create_topics(plan_topics({"short": 3_600_000}, (), partitions=PARTITIONS))
            admin.put_users([COLLECTOR])
            rights = everyone(())
            admin.apply_rights({"collector": rights["collector"]})
        yield running


@contextlib.contextmanager
def kafka(folder: Path) -> Iterator[dict[str, str]]:
    """Yield librdkafka's settings of the collector's user on such a broker."""
    with broker(folder) as running:
        yield running.address.librdkafka(COLLECTOR)
