"""All models of the protocol, explored to the end (about a minute, no broker)."""

import pytest

from tests.unit.vault.models import model


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "name", ["m1_tag", "m2_route", "m4_hold", "m5_vendor", "m5_ends", "m6_restore", "m8_rectify"]
)
def test_every_configuration_behaves_as_expected(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The design is clean; every rule left out and every deliberate mistake is found."""
    assert not model("check").main([name])
    assert "0 surprises" in capsys.readouterr().out
