"""The collector: takes events in over HTTP and answers once they are durable."""

from lapse.collector.access import SiteCredential
from lapse.collector.app import create_app
from lapse.collector.metrics import REGISTRY
from lapse.collector.server import Collector, serve
from lapse.collector.settings import CollectorSettings, KafkaSettings, Limits, SpoolSettings

__all__ = [
    "REGISTRY",
    "Collector",
    "CollectorSettings",
    "KafkaSettings",
    "Limits",
    "SiteCredential",
    "SpoolSettings",
    "create_app",
    "serve",
]
