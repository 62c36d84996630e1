"""Lapse for web servers and consumers: publish events, know whose request it is, open what you may have."""

from lapse_client.context import Visit, current, visit
from lapse_client.encoding import decode
from lapse_client.errors import ClientError, Invalid, KeysUnavailable, QueueFull, Turned, Undelivered
from lapse_client.outbox import Rules
from lapse_client.policy import Policy
from lapse_client.publisher import AsyncPublisher, Publisher
from lapse_client.records import (
    Consent,
    ConsentStated,
    CookieObserved,
    Delivery,
    EmailOpened,
    FormSubmitted,
    Identifier,
    Lapse,
    micros,
)
from lapse_client.registry import Registry
from lapse_client.transport import MemoryTransport

__all__ = [
    "AsyncPublisher",
    "ClientError",
    "Consent",
    "ConsentStated",
    "CookieObserved",
    "Delivery",
    "EmailOpened",
    "FormSubmitted",
    "Identifier",
    "Invalid",
    "KeysUnavailable",
    "Lapse",
    "MemoryTransport",
    "Policy",
    "Publisher",
    "QueueFull",
    "Registry",
    "Rules",
    "Turned",
    "Undelivered",
    "Visit",
    "current",
    "decode",
    "micros",
    "visit",
]
