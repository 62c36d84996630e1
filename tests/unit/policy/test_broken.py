"""Every broken policy beside this file says in its first lines what is answered to it, word for word."""

from itertools import takewhile
from pathlib import Path

import pytest

from schemas.errors import BadInput
from schemas.policy import load

HERE = Path(__file__).parent
BROKEN = sorted((HERE / "broken").glob("*.yaml"))


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_broken_policy(path: Path) -> None:
    """A policy that contradicts itself does not load; every fault says where, why and what would mend it."""
    text = path.read_text(encoding="utf-8")
    expected = [line.removeprefix("# ") for line in takewhile(lambda line: line[0] == "#", text.splitlines())]
    with pytest.raises(BadInput) as caught:
        load(text, where=path.name)
    assert [f"{found.where}: {found.what}; {found.do}" for found in caught.value.findings] == expected
    assert caught.value.code == "bad_policy"
    assert caught.value.exit_code == 2
    assert caught.value.where == caught.value.findings[0].where


def test_there_are_enough_broken_policies() -> None:
    """The collection has not been lost on the way, so the test above examines something."""
    assert len(BROKEN) >= 90


def test_they_differ_from_one_that_loads() -> None:
    """The policy all broken ones were made from loads, so each breaks by what its name says alone."""
    assert load((HERE / "small.yaml").read_text(encoding="utf-8"), where="small.yaml").version == 1


def test_one_error_counts_the_others() -> None:
    """The error itself is the first finding and says how many follow."""
    path = HERE / "broken" / "many-shapes-at-once.yaml"
    with pytest.raises(BadInput, match=r"and 9 more") as caught:
        load(path.read_text(encoding="utf-8"), where="x.yaml")
    findings = caught.value.as_json()["error"]
    assert isinstance(findings, dict)
    assert len(findings["findings"]) == 10
