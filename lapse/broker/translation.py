"""kafka-python's errors as ours: the one place where they are read, and repeated where repeating helps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from kafka import errors

from schemas.errors import BadInput, Bug, LapseError, NotFound, Refused, Unavailable

T = TypeVar("T")

_RETRY_SECONDS = 0.1

_LOGIN = (errors.SaslAuthenticationFailedError, errors.UnsupportedSaslMechanismError)
_FORBIDDEN = (errors.AuthorizationError, errors.PolicyViolationError)
_BAD = (
    errors.InvalidConfigurationError,
    errors.InvalidReplicationFactorError,
    errors.InvalidPartitionsError,
    errors.InvalidTopicError,
    errors.KafkaConfigurationError,
    errors.IllegalArgumentError,
)
_PASSING = (errors.KafkaTimeoutError, errors.UnknownBrokerIdError)
"""Passing, though kafka-python does not retry it: broker -1 is a partition without a leader."""
_ABSENT = (errors.UnknownTopicOrPartitionError, errors.GroupIdNotFoundError)


def translate(error: errors.KafkaError, where: str) -> LapseError:
    """Return our error for one of kafka-python's; `where` names the call and the cluster, never a record."""
    name = type(error).__name__
    if isinstance(error, _LOGIN):
        return Refused(
            code="unauthorized",
            what="Kafka does not accept these credentials",
            where=where,
            do="check user, password and mechanism",
        )
    if isinstance(error, _FORBIDDEN):
        return Refused(
            code="forbidden",
            what=f"this Kafka user may not do that ({name})",
            where=where,
            do="use a user with the right, or let an administrator grant it",
        )
    if isinstance(error, _BAD):
        return BadInput(code="bad_argument", what=f"Kafka does not take this: {error}", where=where)
    if isinstance(error, _ABSENT):
        return NotFound(code="not_found", what=f"Kafka does not have that ({name})", where=where)
    if error.retriable or isinstance(error, _PASSING):
        return Unavailable(
            code="unavailable",
            what=f"Kafka does not answer ({name})",
            where=where,
            do="check that the broker runs and try again",
        )
    return Bug(code="bug", what=f"Kafka said no in a way nobody expected ({name})", where=where)


def repeat(call: Callable[[], T], *, where: str, seconds: float) -> T:
    """Return what `call` returns; repeat it while Kafka calls its failure passing, then raise ours.

    A fresh cluster answers CoordinatorNotAvailable until its offsets topic exists, and the client does not
    repeat.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return call()
        except errors.KafkaError as error:
            passing = error.retriable or isinstance(error, errors.UnknownBrokerIdError)
            if not passing or isinstance(error, _LOGIN) or time.monotonic() > deadline:
                raise translate(error, where) from error
        time.sleep(_RETRY_SECONDS)
