"""Every metric of the collector, once; the role process serves the registry on its own port."""

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

ACCEPTED = Counter(
    "lapse_collector_accepted_total",
    "Events made durable, by kind (form, email-open, cookie, signal) and place (kafka, spool).",
    ("kind", "stored"),
    registry=REGISTRY,
)
REFUSED = Counter(
    "lapse_collector_refused_total",
    "Requests answered with an error, by its code.",
    ("code",),
    registry=REGISTRY,
)
SUSPECT = Counter(
    "lapse_collector_suspect_total",
    "Forms accepted and marked as a bot's, by reason.",
    ("reason",),
    registry=REGISTRY,
)
PIXELS = Counter(
    "lapse_collector_pixels_total",
    "Clear gifs served, by what the token was (authentic, forged) and method (GET, HEAD).",
    ("token", "method"),
    registry=REGISTRY,
)
LOST = Counter(
    "lapse_collector_lost_total",
    "Opens seen and not kept, by reason (full, flood): a gif is served even where nothing can be kept.",
    ("reason",),
    registry=REGISTRY,
)
STORE_SECONDS = Histogram(
    "lapse_collector_store_seconds",
    "Seconds from a valid event to its acknowledgement by Kafka or the disk.",
    ("stored",),
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 3, 10),
    registry=REGISTRY,
)
KAFKA_WELL = Gauge(
    "lapse_collector_kafka_well",
    "1 while events go straight to Kafka, 0 while they are spooled.",
    registry=REGISTRY,
)
SPOOL_BYTES = Gauge("lapse_collector_spool_bytes", "Bytes in the spool.", registry=REGISTRY)
SPOOL_LIMIT = Gauge("lapse_collector_spool_limit_bytes", "Bytes the spool takes at most.", registry=REGISTRY)
SPOOL_SEGMENTS = Gauge("lapse_collector_spool_segments", "Segments in the spool.", registry=REGISTRY)
SPOOL_DRAINED = Counter(
    "lapse_collector_spool_drained_total", "Spooled events that reached Kafka.", registry=REGISTRY
)
SPOOL_DAMAGED = Counter(
    "lapse_collector_spool_damaged_total",
    "Acknowledged events that damage to a segment has cost; anything but 0 is a loss.",
    registry=REGISTRY,
)


# Looking a child up by its labels costs as much as counting; of these there are few, so they are kept.
@cache
def accepted(topic: str, stored: str) -> Counter:
    """`ACCEPTED` of the events of one topic kept in one place."""
    return ACCEPTED.labels(topic.removeprefix("intake."), stored)


@cache
def store_seconds(stored: str) -> Histogram:
    """`STORE_SECONDS` of one place."""
    return STORE_SECONDS.labels(stored)


@cache
def pixels(token: str, method: str) -> Counter:
    """`PIXELS` of one kind of token and method."""
    return PIXELS.labels(token, method)
