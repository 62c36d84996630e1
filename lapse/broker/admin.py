"""Kafka's administration on kafka-python's admin client: users, rights, topics, lags, deletion of records.

kafka-python 3 reports many failures inside its results instead of raising them: altered configurations,
created rights, SCRAM users, topics, described configurations. Every result is read. Users, rights and topics
reach a broker a moment after the controller has accepted them, so each call returns only once the broker
itself shows the change. Errors: `Unavailable`, `Refused` (credentials, rights), `NotFound`, `BadInput`
(a configuration Kafka does not take).
"""

from __future__ import annotations

from lapse.broker.offsets import Offsets
from lapse.broker.users import Users


class Admin(Users, Offsets):
    """An administrator's connection to a cluster, embedded or not; not for use by two threads at once."""
