"""The error tree: what its docstring draws, what commands print, and what crosses process borders."""

import pickle
import re

import pytest

from schemas import errors
from schemas.errors import (
    BadInput,
    Bug,
    Conflict,
    Finding,
    LapseError,
    NotFound,
    Refused,
    Rejected,
    Unavailable,
)

TREE = {
    Rejected: 1,
    BadInput: 2,
    Refused: 3,
    NotFound: 4,
    Unavailable: 5,
    Conflict: 5,
    Bug: 70,
}


def test_the_docstring_draws_the_tree() -> None:
    """Every error of the module stands in the picture with its exit code, and nothing else does."""
    drawn = dict(re.findall(r"-- (\w+) +(\d+) ", errors.__doc__ or ""))
    assert drawn == {kind.__name__: str(code) for kind, code in TREE.items()}
    defined = {k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, LapseError)}
    assert defined == {LapseError, *TREE}


@pytest.mark.parametrize("kind", TREE)
def test_every_error_has_its_exit_code(kind: type[LapseError]) -> None:
    """Exit codes are those INTERFACE fixes for commands."""
    assert kind.exit_code == TREE[kind]
    assert issubclass(Conflict, Unavailable)


def test_an_error_is_a_sentence_and_json() -> None:
    """People read code, what, where and do in one line; scripts read them under `error`."""
    full = Refused("brake", "too much at once", "bucket list", "say --yes")
    assert str(full) == "brake: too much at once (bucket list); say --yes"
    assert str(Bug("bug", "impossible")) == "bug: impossible"
    assert full.as_json() == {
        "error": {"code": "brake", "what": "too much at once", "where": "bucket list", "do": "say --yes"}
    }


def test_bad_input_lists_its_findings() -> None:
    """Every fault found is told at once, each with what would mend it."""
    finding = Finding(where="purposes.demo", what="no retention", do="add `retention`")
    error = BadInput("bad_policy", "one finding", "policy.yaml", findings=(finding,))
    found = error.as_json()["error"]
    assert isinstance(found, dict)
    assert found["findings"] == [{"where": "purposes.demo", "what": "no retention", "do": "add `retention`"}]
    assert "findings" not in str(BadInput("usage", "wrong").as_json())


@pytest.mark.parametrize(
    "error",
    [
        Rejected("framing", "a", "b", "c"),
        BadInput("usage", "a", "b", "c", (Finding(where="w", what="x", do="y"),)),
    ],
)
def test_errors_cross_processes(error: LapseError) -> None:
    """Pickling keeps every part, so a worker's error reaches the supervisor whole."""
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 (our own bytes)
    assert (type(again), vars(again)) == (type(error), vars(error))
