"""A vault that was restored and has not caught up answers nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from lapse.initialise import initialise
from lapse.main import installation, shipped_policy
from schemas.errors import Unavailable
from vault.restored import close


def test_a_closed_vault_opens_for_nobody_but_what_catches_up(tmp_path: Path) -> None:
    """Roles and commands get one clear sentence; `up` alone goes on."""
    folder = tmp_path / "data"
    initialise(folder, shipped_policy("demo"), test=True, clock="system", hosts=("localhost",))
    with installation(folder) as here, here.vault.transaction() as tx:
        close(tx)
    with installation(folder) as here, pytest.raises(Unavailable) as refused:
        _ = here.vault
    assert refused.value.what == "the vault was restored and has not caught up with the log"
    with installation(folder, catching_up=True) as here, here.vault.transaction(write=False) as tx:
        assert tx.policies() == []
