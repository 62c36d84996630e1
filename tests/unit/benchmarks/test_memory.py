"""The memory's benchmark has the people it says, and reports the peaks its workers saw."""

from __future__ import annotations

from pathlib import Path

from benchmarks.memory import figures, populate
from benchmarks.worker import Held
from benchmarks.year.looks import rows


def test_a_vault_gets_as_many_people_as_were_asked_for(tmp_path: Path) -> None:
    """Half by a form, half by a cookie."""
    populate(tmp_path, 40)
    assert rows(tmp_path / "vault.db")["subject"] == 40


def test_figures_say_the_most_that_was_held_and_when() -> None:
    """The last look has the goal, the ones on the way have none."""
    held = [{"events": n, "now_mb": 100, "peak_mb": 100 + n} for n in (0, 20, 60, 100)]
    found = {each.what: each for each in figures({"tag": {"held": held}})}
    last, early = found["tag worker at most in 100 events"], found["tag worker at most until event 20"]
    assert (last.figure, last.goal) == (200, 200)
    assert (early.figure, early.goal) == (120, None)


def test_a_process_holds_at_most_what_it_ever_held() -> None:
    """What the kernel says of this process."""
    assert 0 < Held.now(0).now_mb <= Held.now(0).peak_mb
