"""Recipients that cannot be called yet, on a data folder with the company's policy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from lapse import main
from lapse.doctor.finding import Finding
from lapse.doctor.of_recipients import recipients
from lapse.layout import Layout
from lapse.main import Installation
from schemas.ids import Micros
from schemas.plan import Plans
from schemas.policy import compile_plan, load
from tests.unit.doctor.test_backlog import CRM, Log
from vault import memory_vault
from vault.port import Vault
from vault.values import ProcessorState

PLAN = compile_plan(load(main.shipped_policy("company").read_text(), where="company"))
VENDORS = {"stripe", "salesforce", "mailchimp", "kickbox", "jivochat", "partner"}


@pytest.fixture
def vault() -> Iterator[Vault]:
    """A vault in which everybody is approved."""
    made = memory_vault(Micros(1))
    with made.transaction() as tx:
        for processor in PLAN.processors:
            tx.put_processor(ProcessorState(name=processor.name, approved=True))
    yield made
    made.close()


def found(vault: Vault, folder: Path, log: Log) -> dict[str, Finding]:
    """What is found on an installation of these parts."""
    parts = SimpleNamespace(plans=Plans([PLAN]), vault=vault, layout=Layout(folder), admin=lambda _role: log)
    return {each.check: each for each in recipients(cast(Installation, parts))}


def test_a_new_installation_has_something_to_do_and_nothing_wrong(vault: Vault, tmp_path: Path) -> None:
    """Each recipient of ours, with where its credentials go; one the policy suspends is not asked for."""
    log = Log(starts={CRM: 0}, ends={CRM: 2}, old={CRM: 0})
    all_found = found(vault, tmp_path, log)
    assert {each.state for each in all_found.values()} == {"to do"}
    assert {name.removeprefix("recipient ") for name in all_found} <= VENDORS
    salesforce = all_found["recipient salesforce"]
    assert "2 records wait" in salesforce.figure
    assert str(tmp_path / "keys" / "processors" / "salesforce.salesforce") in (salesforce.do or "")


def test_records_that_have_waited_for_a_day_are_a_fault(vault: Vault, tmp_path: Path) -> None:
    """So is a file of credentials that is no such file; whoever is suspended makes nobody wait."""
    log = Log(starts={CRM: 0}, ends={CRM: 2}, old={CRM: 1})
    secrets = tmp_path / "keys" / "processors"
    secrets.mkdir(parents=True)
    (secrets / "stripe.stripe").write_text("not JSON")
    all_found = found(vault, tmp_path, log)
    wrong = {name for name, each in all_found.items() if each.state == "BAD"}
    assert wrong == {"recipient salesforce", "recipient stripe"}
    with vault.transaction() as tx:
        tx.put_processor(ProcessorState(name="salesforce", approved=True, suspended=True))
    assert "recipient salesforce" not in found(vault, tmp_path, log)
