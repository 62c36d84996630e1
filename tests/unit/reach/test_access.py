"""What a person is handed: everything that opens, nothing that does not, and nothing of anybody else."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from lapse import access, access_page
from lapse.access_document import Dossier, commitment, portable
from lapse.access_document import access as document_of
from lapse.cli.output import jsonable
from lapse.cli.rights import subject_export
from lapse.requests import Asked
from schemas.errors import BadInput, Refused
from schemas.ids import RequestId
from schemas.plan import Plans
from streams.scan import scan_memory
from tests.unit.reach.test_personal import ANN, BOB, decides
from tests.unit.stages.test_govern_flow import says, signal
from tests.unit.stages.world import POLICY, World
from vault.handles import alias_hash
from vault.subjects import with_key

HOSTILE = '"><script>alert(1)</script><img src=https://evil.example/x>\u202e=1+1'


@pytest.fixture
async def world() -> World:
    """A flow in which Ann has ordered something, agreed to news and typed something hostile; Bob wrote."""
    made = World(policy=POLICY.read_text().replace("title: News", "title: News <b>&amp;</b>"))
    await made.settle()
    fields = {"email": ANN, "name": HOSTILE, "message": "hello", "country": "DE"}
    made.publish(made.form(fields=fields, consents={"news": True}), "intake.form")
    made.publish(made.form(form="order", site="shop"), "intake.form")
    made.publish(made.form(email=BOB), "intake.form")
    await made.settle()
    return made


def dossier(world: World, email: str = ANN, right: Any = "access") -> Dossier:
    """Everything the answer for somebody is made of."""
    name = alias_hash(world.vault.secrets.alias, "email", email)
    entries = world.entries()
    return access.gather(
        world.vault,
        Plans([world.plan]),
        partial(scan_memory, world.log),
        lambda ids: {one: [e for e in entries if e.record_id == one] for one in ids},
        right,
        Asked(request_id=RequestId(b"r" * 16), hashes=(name,), who=f"email:{email}"),
    )


async def test_the_answer_says_what_is_held_for_what_until_when_and_who_has_it(world: World) -> None:
    """GDPR Art. 15 (1), point by point, of both of Ann's records and of nobody else."""
    found = document_of(dossier(world))
    contact = next(row for row in found["records"] if row["source"] == "form/contact")
    values = {each["field"]: each for each in contact["fields"]}
    assert {name: each["value"] for name, each in values.items()} == {
        "email": ANN,
        "name": HOSTILE,
        "message": "hello",
        "country": "DE",
    }
    assert values["email"]["category"] == "user.contact.email"
    assert set(values["email"]["purposes"]) == {"answer", "news"}
    assert {each["purpose"]: each["restricted"] for each in contact["held_for"]} == {
        "answer": False,
        "news": False,
        "profile": False,
    }
    assert all(each["until"] > found["made_at"] for each in contact["held_for"])
    assert {each["processor"]: each["purposes"] for each in contact["given_to"]} == {
        "crm": ["answer", "news"],
        "mailer": ["news"],
    }
    assert len(found["records"]) == 2
    assert BOB not in json.dumps(jsonable(found))
    why = {each["purpose"]: (each["basis"], each["because"]) for each in found["purposes"]}
    assert why["profile"] == ("legitimate_interests", "To write what is read.")
    assert [each["processor"] for each in found["recipients"]] == ["crm", "mailer"]
    assert [(each["purpose"], each["state"]) for each in found["consents"]] == [("news", "granted")]
    assert {each["right"] for each in found["rights"]} >= {"access", "restriction"}


async def test_what_is_ended_is_not_listed_and_what_is_restricted_is(world: World) -> None:
    """A withdrawn purpose is gone from the answer, a restricted one is in it and marked."""
    await world.later(1)
    world.publish(signal(world, says("news", False)), "intake.signal")
    world.command(decides(world, "restriction", "answer"))
    await world.settle()
    found = document_of(dossier(world))
    held = {each["purpose"]: each["restricted"] for row in found["records"] for each in row["held_for"]}
    assert held == {"answer": True, "profile": False, "tax": False}
    assert found["restricted"] == ["answer"]
    assert [each["state"] for each in found["consents"]] == ["denied"]


async def test_somebody_erased_and_somebody_unknown_get_the_same_answer(world: World) -> None:
    """Shape and content are alike but for the name they asked under, also in words."""
    world.command(decides(world, "erasure"))
    await world.settle()
    gone, nobody = document_of(dossier(world)), document_of(dossier(world, "who@example.com"))
    for each in (gone, nobody):
        each.pop("asked_as")
        each["proof"].pop("salt")
        each["proof"].pop("root")
    assert gone == nobody
    assert access.entry(dossier(world), "asked") is None, "nothing was opened"


async def test_what_is_taken_along_was_provided_under_consent_or_contract(world: World) -> None:
    """Neither what the law keeps nor what rests on interests; and who received it is no part of it."""
    found = portable(dossier(world, right="portability"))
    fields = {each["field"] for row in found["records"] for each in row["fields"]}
    assert fields == {"email", "name", "message", "country"}
    await world.later(21)
    found = portable(dossier(world, right="portability"))
    assert {p for row in found["records"] for each in row["fields"] for p in each["purposes"]} == {"news"}
    assert {each["field"] for row in found["records"] for each in row["fields"]} == {"email", "name"}
    assert "recipients" not in found and "given_to" not in json.dumps(jsonable(found))


async def test_the_entry_on_decisions_commits_to_the_records_and_names_none(world: World) -> None:
    """Who has the answer can check it; who has the log alone cannot even try the ids it knows."""
    made = dossier(world)
    said, shown = access.entry(made, "asked"), document_of(made)
    assert said is not None
    assert (said.records, said.request_id, said.record_id) == (2, b"r" * 16, bytes(16))
    names = sorted(
        bytes.fromhex(row["record_id"]) + row["revision"].to_bytes(4, "big") for row in shown["records"]
    )
    assert said.root == commitment(bytes.fromhex(shown["proof"]["salt"]), names)
    assert said.root != commitment(bytes(32), names)
    assert ANN not in repr(said) and ANN not in repr(made)


async def test_facts_the_vault_keeps_are_in_the_answer(world: World) -> None:
    """The day of the last mail opened is the person's as much as any form, while its purpose lives."""
    (person,) = dossier(world).people
    with world.vault.transaction() as tx:
        (state,) = tx.subjects([person.number]).values()
        held = with_key(state, "reach", tx.now, lambda: bytes(32))
        tx.put_subjects([replace(held, last_open=tx.now)])
    (kept,) = document_of(dossier(world))["kept"]
    assert (kept["purpose"], kept["value"]) == ("reach", "2027-01-15")


async def test_the_page_escapes_everything_and_loads_nothing(world: World) -> None:
    """What people type, policies say and recipients are called stands there as text."""
    page = access_page.page(document_of(dossier(world)))
    assert "<script" not in page and "<img" not in page
    assert "&lt;script&gt;" in page
    assert "News &lt;b&gt;&amp;amp;&lt;/b&gt;" in page
    assert "http" not in page.replace("http-equiv", "").replace("https://evil.example", "")
    assert "default-src" in page


async def test_the_page_for_nobody_says_so(world: World) -> None:
    """In one sentence, without empty tables."""
    page = access_page.page(document_of(dossier(world, "who@example.com")))
    assert "Nothing that anybody can read" in page


async def test_a_record_that_names_somebody_else_is_shown_to_nobody_unproven(world: World) -> None:
    """Where identifiers are joined, typing one's own beside Ann's leads to Ann: her address is not eve's."""
    found = dossier(world)
    access.theirs(found, lambda kind, value: (kind, value) == ("email", ANN), None)
    with pytest.raises(Refused, match="shared"):
        access.theirs(found, lambda kind, value: value == "eve@example.com", None)
    access.theirs(found, lambda kind, value: value == "eve@example.com", "showed both mailboxes")


@pytest.mark.parametrize("page", [False, True])
@pytest.mark.parametrize("what", ["device", "link", "dangling", "folder", "nowhere"])
def test_nothing_but_a_file_is_written_over(tmp_path: Path, what: str, *, page: bool) -> None:
    """A device or a link would be gone for everybody else, with somebody's data in its place."""
    link, gone = tmp_path / "link", tmp_path / "dangling"
    link.symlink_to("/dev/null")
    gone.symlink_to(tmp_path / "none")
    place = {"device": Path("/dev/null"), "link": link, "dangling": gone, "folder": tmp_path}
    path = place.get(what, tmp_path / "no" / "file")
    with pytest.raises(BadInput, match="nothing can be written there"):
        subject_export(ANN, out=None if page else path, html=path if page else None)
    assert not path.is_file()


def test_two_answers_go_to_two_files(tmp_path: Path) -> None:
    """The page would have taken the place of the document."""
    with pytest.raises(BadInput, match="written over"):
        subject_export(ANN, out=tmp_path / "one", html=tmp_path / "one")
