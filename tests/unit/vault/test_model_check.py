"""The protocol's models still say what docs/model claims; the large ones run with the whole suite."""

import pytest

from tests.unit.vault.models import model

QUICK = ("m3_person", "m7_regrant")


@pytest.mark.parametrize("name", QUICK)
def test_every_configuration_behaves_as_expected(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The design is clean; every rule left out and every deliberate mistake is found."""
    assert not model("check").main([name])
    assert "0 surprises" in capsys.readouterr().out
