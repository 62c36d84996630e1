"""Every error of kafka-python leaves as one of ours."""

from __future__ import annotations

import inspect

import pytest
from kafka import errors

from lapse.broker.translation import repeat, translate
from schemas.codes import CODES
from schemas.errors import BadInput, LapseError, NotFound, Refused, Unavailable


def every_error() -> list[type[errors.KafkaError]]:
    """Return each error class of kafka-python."""
    return [c for c in vars(errors).values() if inspect.isclass(c) and issubclass(c, errors.KafkaError)]


def test_no_error_of_kafka_python_is_missed() -> None:
    """Each of more than a hundred becomes an error of our tree with a public code and a place."""
    kinds = every_error()
    assert len(kinds) > 100
    for kind in kinds:
        ours = translate(BaseException.__new__(kind), "topic x")
        assert isinstance(ours, LapseError)
        assert ours.code in CODES, kind
        assert ours.where == "topic x"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (errors.SaslAuthenticationFailedError, Refused),
        (errors.TopicAuthorizationFailedError, Refused),
        (errors.GroupAuthorizationFailedError, Refused),
        (errors.InvalidConfigurationError, BadInput),
        (errors.UnknownTopicOrPartitionError, NotFound),
        (errors.KafkaTimeoutError, Unavailable),
        (errors.CoordinatorNotAvailableError, Unavailable),
        (errors.NodeNotReadyError, Unavailable),
        (errors.UnknownBrokerIdError, Unavailable),
    ],
)
def test_what_happens_next_is_in_the_type(kind: type[errors.KafkaError], expected: type[LapseError]) -> None:
    """Log-ins and rights are refusals, mistakes are bad input, what may pass is unavailable."""
    assert type(translate(kind(), "")) is expected


def test_a_passing_failure_is_repeated() -> None:
    """A coordinator that is not there yet, or a leader that is fenced, is asked again until it is."""
    answers: list[object] = [errors.CoordinatorNotAvailableError(), errors.UnknownBrokerIdError(-1), "there"]

    def call() -> object:
        answer = answers.pop(0)
        if isinstance(answer, errors.KafkaError):
            raise answer
        return answer

    assert repeat(call, where="x", seconds=5) == "there"


@pytest.mark.parametrize("kind", [errors.TopicAuthorizationFailedError, errors.SaslAuthenticationFailedError])
def test_a_lasting_failure_is_not_repeated(kind: type[errors.KafkaError]) -> None:
    """A refusal is raised at the first answer."""
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1
        raise kind

    with pytest.raises(Refused):
        repeat(call, where="x", seconds=5)
    assert calls == 1


def test_patience_ends() -> None:
    """What stays unavailable is raised once the time is up."""

    def call() -> None:
        raise errors.CoordinatorNotAvailableError

    with pytest.raises(Unavailable):
        repeat(call, where="x", seconds=0)
