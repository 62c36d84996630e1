"""`lapse processor show` and `check`: what is known of a recipient, and whether its credentials hold."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace as with_

from lapse import connecting, main, showing
from lapse.initialise import initialise
from lapse.main import Installation
from processors.awaiting import Awaiting
from processors.objects import Awaited
from processors.telling import Teller
from processors.values import Place
from schemas.errors import BadInput, NotFound
from schemas.ids import Micros
from schemas.plan import Plans
from tests.unit.processors.kit import lapse, of_bucket
from vault.faults import never
from vault.values import PolicyRow, ProcessorState, VendorObject


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Installation]:
    """A data folder with the company's policy in force, never up."""
    file = main.shipped_policy("company")
    initialise(tmp_path / "data", file, test=True, clock="system", hosts=("localhost",))
    with main.installation(tmp_path / "data") as opened:
        text = file.read_bytes()
        row = PolicyRow(
            version=1, effective=Micros(0), sha256=hashlib.sha256(text).digest(), body=text.decode()
        )
        with opened.vault.transaction() as tx:
            tx.put_policy(row)
            tx.put_processor(ProcessorState(name="salesforce", approved=True, since=Micros(1)))
        yield opened


def test_a_recipient_is_shown_whole(here: Installation) -> None:
    """What it may have, what it undertakes, to whom it passes data on, and that nobody can call it yet."""
    shown = showing.shown(here, "salesforce")
    assert shown["state"] == "approved" and shown["calls"] in ("not configured", "reads itself")
    assert shown["passes_on_to"]["hosting"] == {
        "region": "US",
        "safeguards": "standard_contractual_clauses",
    }
    assert shown["safeguards"] == "binding_corporate_rules"
    assert shown["grants"]["marketing_phone"] == [
        "user.contact.phone_number",
        "user.contact.organization",
        "user.name",
    ]
    assert {"email", "phone"} <= shown["fields"].keys() | set(shown["never_sent"])
    assert (shown["objects"], shown["waiting"], shown["oldest_open_lapse"]) == (0, 0, None)
    assert shown["credentials_file"].endswith("keys/processors/salesforce.salesforce")


def test_what_it_holds_and_what_is_open_are_counted(here: Installation) -> None:
    """The lapse that is open longest comes with its deadline."""
    teller = Teller(processor="salesforce", receipt_partitions=4)
    with here.vault.transaction() as tx:
        tx.put_objects([VendorObject(processor="salesforce", ref=b"O1", document=b"", due=Micros(5))])
        for name, at in (("later", 200), ("first", 100)):
            told = told_at(name, at)
            ref, doc = teller.lapse(tx, told, Place(topic_id=b"t" * 16, partition=0))
            teller.put(tx, ref, doc, Micros(0))
        entries = [Awaited(request="job-1", lapses=())]
        Awaiting("salesforce").put(tx, b"O1", entries, Micros(9))
    shown = showing.shown(here, "salesforce")
    assert (shown["objects"], shown["waiting"], shown["awaited"], shown["open_lapses"]) == (1, 1, 1, 2)
    oldest = shown["oldest_open_lapse"]
    assert (oldest["since"], oldest["answer_by"], oldest["answered"]) == (
        "1970-01-01T00:01:40.000Z",
        "1970-01-01T00:05:00.000Z",
        None,
    )


def told_at(name: str, at: int) -> Any:
    """A lapse of this moment, to be answered by 200 seconds later."""
    by = Micros((at + 200) * 1_000_000)
    return with_(lapse(name, of_bucket("p")), effective_at=Micros(at * 1_000_000), answer_by=by)


def test_nobody_unknown_is_shown(here: Installation) -> None:
    """A name the policy does not have is not found."""
    with pytest.raises(NotFound):
        showing.shown(here, "nobody")


def running(here: Installation, **changes: Any) -> Any:
    """The same installation as if it were up, its partner changed."""
    plan = here.plans.latest
    parts = tuple(replace(p, **changes) if p.name == "partner" else p for p in plan.processors)
    return SimpleNamespace(
        plans=Plans([replace(plan, processors=parts)]),
        layout=here.layout,
        vault=here.vault,
        crash=never,
        runtime=SimpleNamespace(
            fakes={},
            partitions=4,
            host="127.0.0.1",
            ports=SimpleNamespace(keys=1),
            allow_private_webhooks=False,
        ),
    )


def test_credentials_that_hold_are_said_to(here: Installation) -> None:
    """A partner's are its secret's file."""
    assert connecting.check(running(here), "partner", 5.0)["credentials"] == "hold"
    here.layout.webhook_secret("partner").write_text("nonsense")
    with pytest.raises(BadInput, match="no webhook secret"):
        connecting.check(running(here), "partner", 5.0)


def test_what_cannot_be_called_cannot_be_checked(here: Installation) -> None:
    """No address, no credentials, or a consumer of its own: each is said, and nothing is called."""
    with pytest.raises(BadInput) as caught:
        connecting.check(running(here, webhook=None), "partner", 5.0)
    assert caught.value.code == "not_configured"
    with pytest.raises(BadInput):
        connecting.check(running(here, connector="pull"), "partner", 5.0)
