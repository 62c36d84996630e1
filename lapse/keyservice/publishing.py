"""The key endpoint's way to `intake.signal`: what recipients say, acknowledged before they are answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lapse.collector.framing import Spooled
from lapse.collector.producer import Producer
from schemas import codec
from schemas.errors import Unavailable
from schemas.models import SignalReceived

TOPIC = "intake.signal"
DRAIN_SECONDS = 3.0


class Signals:
    """Publishes signals; `connect` makes the producer when the first one comes, on the loop that sends."""

    def __init__(self, connect: Callable[[], Producer]) -> None:
        self._connect = connect
        self._producer: Producer | None = None

    async def __call__(self, signals: Sequence[SignalReceived]) -> None:
        """Return once all are acknowledged on all in-sync replicas; raises `Unavailable`."""
        if not signals:
            return
        producer = self._producer = self._producer or self._connect()
        if await producer.send([_event(signal) for signal in signals]):
            raise Unavailable("unavailable", "Kafka did not acknowledge", "", "wait until the broker is back")

    async def close(self) -> None:
        """Let go of the broker."""
        if self._producer is not None:
            await self._producer.close(DRAIN_SECONDS)


def _event(signal: SignalReceived) -> Spooled:
    return Spooled(topic=TOPIC, event_id=signal.event_id, value=codec.encode(signal), headers=[])
