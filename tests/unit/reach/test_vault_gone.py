"""A vault whose file is away is away: nothing is made in its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from lapse.initialise import initialise, read_marker
from lapse.layout import Layout
from lapse.main import open_installed_vault, shipped_policy
from lapse.vaults import VaultAddress
from schemas.errors import Unavailable


def test_no_empty_vault_is_made_in_place_of_one_that_is_gone(tmp_path: Path) -> None:
    """Its epoch keys say that it was made before; put back, it opens with what it held."""
    layout = Layout(tmp_path / "data")
    initialise(layout.root, shipped_policy("demo"), test=True, clock="manual", hosts=("127.0.0.1",))
    marker = read_marker(layout)
    place = VaultAddress(url=layout.vault_url)
    vault = open_installed_vault(layout, marker, place)
    with vault.transaction() as tx:
        tx.put_meta("known", b"1")
    vault.close()
    aside = layout.vault_file.rename(layout.root / "aside")
    with pytest.raises(Unavailable, match="gone"):
        open_installed_vault(layout, marker, place)
    assert not layout.vault_file.exists()
    aside.rename(layout.vault_file)
    with open_installed_vault(layout, marker, place).transaction(write=False) as tx:
        assert tx.meta("known") == b"1"
