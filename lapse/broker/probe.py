"""Ask a cluster whether it is there and lets us in, and say which of the two it is not.

kafka-python repeats a refused log-in until its time-out and then reports only the time-out; librdkafka tells.
"""

from __future__ import annotations

import logging
import time

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from lapse.broker.certificate import examine
from lapse.broker.connection import BrokerAddress, Credentials
from schemas.errors import BadInput, Refused, Unavailable

_REFUSED = {
    KafkaError._AUTHENTICATION,  # noqa: SLF001 - librdkafka's own public name for its local error code
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.UNSUPPORTED_SASL_MECHANISM,
}
_QUIET = logging.getLogger("lapse.broker.librdkafka")
_QUIET.addHandler(logging.NullHandler())
_QUIET.propagate = False


def probe(address: BrokerAddress, login: Credentials | None, *, timeout: float) -> str:
    """Return the cluster's id once it answers.

    Raises `Refused` (log-in, certificate) and `BadInput` (unusable settings) at once, `Unavailable` after
    `timeout` seconds.
    """
    if address.protocol.endswith("SSL"):
        examine(address, timeout=timeout)
    refusals: list[KafkaError] = []

    def on_error(error: KafkaError) -> None:
        if error.code() in _REFUSED:
            refusals.append(error)

    settings = {**address.librdkafka(login), "error_cb": on_error, "reconnect.backoff.max.ms": 500}
    try:
        client = AdminClient(settings, logger=_QUIET)
    except KafkaException as unusable:
        raise BadInput(
            code="bad_argument",
            what=f"these settings make no Kafka client ({unusable.args[0].name()})",
            where=address.bootstrap,
            do="give user and password together, not empty, and a CA file that exists",
        ) from unusable
    deadline = time.monotonic() + timeout
    while True:
        left = deadline - time.monotonic()
        try:
            return str(client.list_topics(timeout=max(0.1, min(0.5, left))).cluster_id)
        except KafkaException:
            client.poll(0)
        if refusals:
            raise Refused(
                code="unauthorized",
                what="Kafka does not accept these credentials",
                where=address.bootstrap,
                do="check user, password and mechanism",
            )
        if left <= 0:
            raise Unavailable(
                code="unavailable",
                what="Kafka does not answer, or not in this protocol",
                where=address.bootstrap,
                do="check that the broker runs, its address, and whether it wants credentials or TLS",
            )
