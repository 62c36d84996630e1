"""A backup of the vault is put back: before anybody is answered, what had ended since ends again."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.e2e.live.system import System, allows, somebody
from tests.e2e.live.test_lapse import advance, submit

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def backup(system: System, to: Path) -> None:
    """Copy the vault while it runs, by SQLite's own means."""
    source, copy = sqlite3.connect(system.data / "vault" / "vault.db"), sqlite3.connect(to)
    with source, copy:
        source.backup(copy)
    source.close()
    copy.close()


def put_back(system: System, copy: Path) -> None:
    """Stop, put the copy in the vault's place, start again."""
    assert system.stop() == 0
    folder = system.data / "vault"
    for path in folder.iterdir():
        path.unlink()
    (folder / "vault.db").write_bytes(copy.read_bytes())
    (folder / "vault.db").chmod(0o600)
    system.start()


def test_a_restored_vault_opens_nothing_that_had_ended(manual: System, tmp_path: Path) -> None:
    """Erased, withdrawn and lapsed stay so, also for somebody the backup never knew; the rest still opens."""
    erased, stays, withdraws, copy = somebody(), somebody(), somebody(), tmp_path / "vault.db"
    of_erased, of_stays = submit(manual, erased, "marketing_email"), submit(manual, stays, "marketing_email")
    lapsing = submit(manual, somebody())
    manual.still()
    backup(manual, copy)
    of_newer = submit(manual, withdraws, "marketing_email")
    manual.still()
    closed = [manual.delivery(each) for each in (of_erased, lapsing, of_newer)]
    manual.do("subject", "erase", erased.who, "--reason", "asked", "--yes")
    manual.state(withdraws, *allows("marketing_email", granted=False))
    advance(manual, "PT6H")
    manual.still()
    keys = manual.keys("crm")
    for delivery in closed:
        keys.closed(delivery)
    staying = manual.delivery(of_stays)
    readable = keys.open(staying)
    assert readable
    told = len(manual.lapses("crm"))

    put_back(manual, copy)
    manual.still(90)
    for delivery in closed:
        manual.keys("crm").closed(delivery)
    assert manual.keys("crm").open(staying) == readable
    for again in manual.deliveries(manual.outcome(of_erased), "crm"):
        assert again.record is not None
        manual.keys("crm").closed(again.record)
    assert len(manual.lapses("crm")) > told, "who was told is not known any more, so everybody is told again"
    late = submit(manual, erased, "marketing_email")
    assert manual.outcome(late)["outcome"] == "routed", "who comes back starts anew"
    assert manual.do("lifecycle", "verify")["wrong"] == 0
