"""What the Python publisher costs a web server: events per CPU second of its process, until they are durable.

    python -m benchmarks.publisher [-o json]

Over Kafka: the mix of forms and cookies, straight to a real broker, acknowledged. Over HTTP: browser events,
which go fifty to a request, to a collector in a process of its own; and forms, which go one by one.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from benchmarks.child import Child
from benchmarks.collector import TOKEN, collect
from benchmarks.figures import Figure, Meter, run
from benchmarks.kafka import kafka
from benchmarks.traffic import POLICY, Traffic
from lapse.collector.summary import summary
from lapse_client import Consent, CookieObserved, FormSubmitted, Policy, Publisher, Rules
from lapse_client.records import Publishable
from schemas import codec, models
from schemas.ids import Micros
from schemas.policy import compile_plan, load
from vault.tokens import PixelKeys

EVENTS, FORMS, ROUNDS = 10_000, 1_500, 5
RULES = Rules(queue=EVENTS + 1, linger=0.05)


def forms(traffic: Traffic, count: int) -> list[Publishable]:
    """Forms as a web server has them."""
    made: list[Publishable] = []
    for person in range(count):
        form = codec.decode_as(models.FormSubmitted, traffic.event("form", person))
        consents = [Consent(purpose=each.purpose, granted=True) for each in form.consents]
        made.append(FormSubmitted(form=form.form, fields=form.fields, consents=consents, notice=form.notice))
    return made


def cookies(traffic: Traffic, count: int) -> list[Publishable]:
    """Browser events as a web server has them."""
    made: list[Publishable] = []
    for person in range(count):
        seen = codec.decode_as(models.CookieObserved, traffic.event("cookie", person))
        made.append(
            CookieObserved(
                name=seen.name,
                url=seen.url,
                cookie_id=seen.cookie_id,
                referrer=seen.referrer,
                properties=seen.properties,
            )
        )
    return made


def published(publisher: Publisher, rounds: Sequence[Sequence[Publishable]]) -> Meter:
    """CPU seconds per event from `publish` until all are durable; the first round only warms up."""
    meter = Meter()
    with publisher:
        for number, events in enumerate(rounds):
            with (meter if number else Meter()).round(len(events)):
                publisher.publish_many(events)
                assert publisher.flush(120), "everything must be settled"
                assert not _undelivered, _undelivered[:3]
    return meter


_undelivered: list[Exception] = []


def _note(_event: Publishable, error: Exception | None) -> None:
    if error is not None:
        _undelivered.append(error)


def measure() -> list[Figure]:
    """All figures."""
    with tempfile.TemporaryDirectory() as name, kafka(Path(name) / "kafka") as settings:
        return list(_measured(Path(name), settings))


def _measured(folder: Path, settings: dict[str, str]) -> Iterator[Figure]:
    pixels = PixelKeys.generate(os.urandom)
    traffic = Traffic(Micros(time.time_ns() // 1000), pixels)
    plan = compile_plan(load(POLICY.read_text(encoding="utf-8"), where=POLICY.name))
    policy = Policy.from_json(msgspec.json.encode(summary(plan)))

    def mixed() -> list[Publishable]:
        return [*forms(traffic, EVENTS // 2), *cookies(traffic, EVENTS // 2)]

    over_kafka = Publisher.over_kafka(
        settings, site="www", policy=policy, rules=RULES, on_delivery=_note, flush_on_sigterm=False
    )
    meter = published(over_kafka, [mixed() for _ in range(ROUNDS + 1)])
    yield Figure(
        of="publisher", what="events per CPU second to Kafka", figure=meter.rate, unit="/s", goal=30_000
    )
    with Child(collect, folder, settings, pixels.to_json()) as child:
        url = f"http://127.0.0.1:{child.said}"

        def over_http() -> Publisher:
            return Publisher.over_http(
                url,
                TOKEN,
                site="www",
                policy=policy,
                rules=RULES,
                on_delivery=_note,
                flush_on_sigterm=False,
            )

        batches = published(over_http(), [cookies(traffic, EVENTS) for _ in range(ROUNDS + 1)])
        singles = published(over_http(), [forms(traffic, FORMS) for _ in range(ROUNDS + 1)])
    yield Figure(
        of="publisher",
        what="browser events per CPU second over HTTP, in batches",
        figure=batches.rate,
        unit="/s",
        goal=10_000,
    )
    yield Figure(
        of="publisher", what="forms per CPU second over HTTP, one by one", figure=singles.rate, unit="/s"
    )


if __name__ == "__main__":
    run(measure, __doc__)
