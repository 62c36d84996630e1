"""A recipient's own program during the year: reads its sealed topic, opens what is new, keeps nothing."""

from __future__ import annotations

from pathlib import Path

from confluent_kafka import Consumer

from lapse.layout import read_json
from lapse.main import Installation, login
from lapse_client.encoding import decode
from lapse_client.opening import KeyClient
from lapse_client.records import Delivery


class Reader:
    """Reads as one processor, in its own group."""

    def __init__(self, here: Installation, processor: str) -> None:
        user = login(here.layout, "processors", processor)
        self._consumer = Consumer(
            {
                **here.address.librdkafka(user),
                "group.id": f"processor.{processor}",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "log_level": 0,
            }
        )
        self._consumer.subscribe([f"processor.{processor}"])
        run = read_json(here.layout.run_file)
        token = read_json(here.layout.credentials("processors", processor))["token"]
        self._keys = KeyClient(run["urls"]["keys"], token, ca_file=Path(run["ca_file"]))

    def read(self) -> int:
        """Open what came since the last time; how many deliveries opened."""
        opened, idle = 0, 0
        while idle < 2:
            messages = self._consumer.consume(500, 1.0)
            idle = 0 if messages else idle + 1
            found = [decode(m.value()) for m in messages if m.error() is None]
            deliveries = [each for each in found if isinstance(each, Delivery)]
            opened += sum(bool(each.fields) for each in self._keys.open(deliveries))
        self._consumer.commit(asynchronous=False) if opened else None
        return opened

    def close(self) -> None:
        """End both connections."""
        self._consumer.close()
        self._keys.close()
