"""What becomes of every kind of input at the tag stage, seen from outside."""

from __future__ import annotations

import os

import pytest

from schemas import codec
from schemas.errors import NotFound
from schemas.ids import EventId, Micros, RequestId
from schemas.merkle import root
from schemas.models import (
    BucketScope,
    ConsentStated,
    ConsentStatement,
    CookieObserved,
    EmailOpened,
    FormSubmitted,
    Identifier,
    Quarantined,
    RequestDecided,
    SignalReceived,
)
from streams import quarantine
from streams.leaves import leaf
from streams.ports import Outbound
from streams.tagging import OLDEST
from tests.unit.stages.test_flow import opened
from tests.unit.stages.world import SECOND, World, changed
from vault import tokens
from vault.handles import alias_hash
from vault.values import AliasRow


@pytest.fixture
async def world() -> World:
    """A flow whose processors are approved."""
    made = World()
    await made.settle()
    return made


async def outcome(world: World, event: FormSubmitted) -> tuple[str, str | None] | None:
    """Publish a form and let it be worked off."""
    world.publish(event, "intake.form")
    await world.settle()
    return world.outcome(event)


def cookie(world: World, consents: dict[str, bool] | None = None, **changes: object) -> CookieObserved:
    """A browser event."""
    made = CookieObserved(
        event_id=EventId(os.urandom(16)),
        collected_at=world.vault.clock.now(),
        site="www",
        cookie_id="c-1",
        name="view",
        url="https://www.example.com/",
        consents=[ConsentStatement(purpose=p, granted=g) for p, g in (consents or {}).items()],
    )
    return changed(made, **changes)


def mail_open(world: World, token: str) -> EmailOpened:
    """The clear gif of a mail was fetched."""
    return EmailOpened(
        event_id=EventId(os.urandom(16)),
        collected_at=world.vault.clock.now(),
        site="www",
        token=token,
        open_kind="direct",
        ip="192.0.2.7",
    )


def token_for(world: World, email: str, days: int = 3, site: str = "www") -> str:
    """A mail's token, and the alias row that leads from it to the person."""
    message = os.urandom(16)
    key = world.vault.secrets.alias
    with world.vault.transaction() as tx:
        (rows,) = tx.aliases([alias_hash(key, "email", email)]).values()
        mail = alias_hash(key, "token", message.hex())
        tx.put_aliases([AliasRow(hash=mail, subject=rows[0].subject, since=tx.now)])
        day = tokens.expiry_day(tx.now, days)
    return tokens.mint(world.pixel_keys, site=site, message_id=message, expires_day=day)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ("routed", None)),
        ({"form": "nowhere"}, ("discarded", "unknown_form")),
        ({"site": "elsewhere"}, ("discarded", "unknown_source")),
        ({"form": "order"}, ("discarded", "unknown_source")),
        ({"fields": {"email": "a@b.c", "shoe_size": "44"}}, ("discarded", "unknown_field")),
        ({"consents": {"nothing": True}}, ("discarded", "unknown_purpose")),
        ({"signals": ["bot:too_fast"]}, ("quarantined", "bot")),
        ({"fields": {"email": "a@b.c", "website": "x"}}, ("quarantined", "bot")),
        ({"identifiers": [], "fields": {"name": "Nobody"}}, ("discarded", "no_subject")),
        ({"identifiers": [Identifier(kind="email", value="  ")], "fields": {}}, ("discarded", "no_subject")),
    ],
)
async def test_a_form_ends_where_it_should(
    world: World, changes: dict[str, object], expected: tuple[str, str | None]
) -> None:
    """Each defect has its outcome and code; a form without one is routed."""
    assert await outcome(world, world.form(**changes)) == expected


async def test_times_out_of_range(world: World) -> None:
    """The future is clamped and flagged; the far past needs backfill; what is already due is lapsed."""
    now = world.vault.clock.now()
    later = world.form(collected_at=Micros(now + 400 * 86_400 * SECOND))
    assert await outcome(world, later) == ("routed", "clock_future")
    old = world.form(collected_at=Micros(now - OLDEST - SECOND))
    assert await outcome(world, old) == ("quarantined", "too_old")
    filled = world.form(collected_at=Micros(now - OLDEST - SECOND), backfill=True)
    assert await outcome(world, filled) == ("discarded", "lapsed")
    ancient = world.form(collected_at=Micros(0), backfill=True)
    assert await outcome(world, ancient) == ("discarded", "no_basis"), "no policy was in force"


async def test_a_second_content_folds_behind_the_first(world: World) -> None:
    """The same event again is swallowed; another content under its id is a conflict that changes nothing."""
    form = world.form()
    assert await outcome(world, form) == ("routed", None)
    assert await outcome(world, changed(form, collected_at=Micros(form.collected_at + 5))) == ("routed", None)
    assert len(world.entries()) == 1
    assert await outcome(world, changed(form, fields={"email": "x@y.z"})) == ("routed", None)
    assert {entry.code for entry in world.entries()} == {None, "conflicting_event_id"}


async def test_garbage_is_quarantined_sealed(world: World) -> None:
    """Every kind of unreadable value ends in quarantine with its code, and no byte of it in clear."""
    other = world.form()
    values = [b"", b"garbage", b"\x00\x00\x00\xff\xffbody", b"\x00\x00\x00\x00\x01\x02"]
    for value in values:
        world.log.append(Outbound("intake.form", 0, None, value))
    world.publish(cookie(world), "intake.form")
    world.log.append(Outbound("intake.form", 1, None, None))
    world.publish(other, "intake.form")
    await world.settle()
    codes = sorted(str(code) for outcome, code in world.outcomes().values() if outcome == "quarantined")
    assert codes == ["framing", "framing", "framing", "schema_mismatch", "schema_mismatch", "schema_unknown"]
    held = [record for _, _, record in world.read("quarantine") if isinstance(record, Quarantined)]
    assert len(held) == 5, "a record without a value has nothing to keep"
    assert not any(b"garbage" in record.sealed for record in held)
    assert world.outcome(other) == ("routed", None)


async def test_a_tick_is_nothing(world: World) -> None:
    """A record that only rolls a segment has no outcome and no effect."""
    world.log.append(Outbound("intake.form", 0, None, None, [("lapse-tick", b"1")]))
    await world.settle()
    assert world.entries() == []


async def test_release_runs_tag_again_under_the_original_time(world: World) -> None:
    """A released suspect becomes what it would have been, with its own time; dropped, it opens no more."""
    suspect = world.form(signals=["bot:too_fast"], consents={"news": True})
    assert await outcome(world, suspect) == ("quarantined", "bot")
    await world.later(5)
    (held,) = [record for _, _, record in world.read("quarantine") if isinstance(record, Quarantined)]
    world.log.append(quarantine.release(world.vault, 2, held))
    await world.settle()
    assert world.outcome(suspect) == ("routed", None)
    assert {"email": "ann@example.com"} in opened(world, "mailer")
    quarantine.drop(world.vault, held)
    with pytest.raises(NotFound):
        quarantine.release(world.vault, 2, held)
    correction = world.correction(suspect, name="Anne")
    world.publish(correction, "intake.form")
    await world.settle()
    assert world.outcome(suspect) == ("routed", None), "what became of it is a record like any other"
    assert [record.revision for record in world.tagged_as(suspect)] == [1, 2]


async def test_a_forged_release_is_not_trusted(world: World) -> None:
    """A header that the vault did not make changes nothing: the suspect stays one."""
    suspect = world.form(signals=["bot:too_fast"])
    forged = [("lapse-released", world.vault.clock.now().to_bytes(8, "big") + bytes(32))]
    world.log.append(Outbound("intake.form", 0, None, codec.encode(suspect), forged))
    await world.settle()
    assert world.outcome(suspect) == ("quarantined", "bot")


async def test_consent_travels_with_the_form_and_covers_later_ones(world: World) -> None:
    """A grant in one form covers a later one that says nothing; a withdrawal ends it."""
    await outcome(world, world.form(consents={"news": True}))
    silent = world.form()
    await outcome(world, silent)
    assert len(opened(world, "mailer")) == 4
    await outcome(world, world.form(consents={"news": False}))
    assert set(map(str, opened(world, "mailer"))) == {"withdrawn"}
    assert [lapse.cause for lapse in world.lapses("processor.mailer")] == ["withdrawal"]
    assert world.read("control")[-1][2].__class__ is RequestDecided, "what was applied stands on control"


async def test_gpc_denies_what_can_be_opted_out_of(world: World) -> None:
    """The signal keeps a purpose from being used, even where the form says yes, and leaves the others."""
    form = world.form(consents={"news": True}, signals=["gpc"])
    assert await outcome(world, form) == ("routed", None)
    assert opened(world, "mailer") == []
    hit = cookie(world, {"analytics": True}, signals=["gpc"])
    world.publish(hit, "intake.cookie")
    await world.settle()
    assert world.outcome(hit, "cookie") == ("discarded", "gpc")


async def test_an_observation_never_creates_a_person(world: World) -> None:
    """A cookie without a choice is of nobody; with consent it is somebody's, and later ones are too."""
    first, yes, then = cookie(world), cookie(world, {"analytics": True}), cookie(world)
    nameless = cookie(world, {"analytics": True}, cookie_id=None)
    for hit in (first, yes, then, nameless):
        world.publish(hit, "intake.cookie")
    await world.settle()
    assert world.outcome(first, "cookie") == ("discarded", "no_subject")
    assert world.outcome(yes, "cookie") == ("routed", None)
    assert world.outcome(then, "cookie") == ("routed", None)
    assert world.outcome(nameless, "cookie") == ("discarded", "no_subject")


async def test_unknown_properties_and_forms_of_cookies(world: World) -> None:
    """A cookie event's properties must be in the policy."""
    known = cookie(world, {"analytics": True}, properties={"campaign": "may"})
    unknown = cookie(world, {"analytics": True}, properties={"colour": "red"})
    for hit in (known, unknown):
        world.publish(hit, "intake.cookie")
    await world.settle()
    assert world.outcome(known, "cookie") == ("routed", None)
    assert world.outcome(unknown, "cookie") == ("discarded", "unknown_field")


async def test_mail_opens_without_consent_leave_a_date(world: World) -> None:
    """Without consent to individual tracking the last-open date is all that stays, and it lapses too."""
    await outcome(world, world.form())
    hit = mail_open(world, token_for(world, "ann@example.com"))
    world.publish(hit, "intake.email-open")
    await world.settle()
    assert world.outcome(hit, "email-open") == ("kept_in_vault", None)
    assert _last_opens(world) == [world.vault.clock.now() // (86_400 * SECOND) * 86_400 * SECOND]
    assert len(world.tagged()) == 1
    await world.later(31)
    assert _last_opens(world) == []


async def test_mail_opens_with_consent_are_records(world: World) -> None:
    """With consent each opening is a record; withdrawal covers mail already sent."""
    await outcome(world, world.form(consents={"opens": True}))
    token = token_for(world, "ann@example.com")
    first = mail_open(world, token)
    world.publish(first, "intake.email-open")
    await world.settle()
    assert world.outcome(first, "email-open") == ("routed", None)
    assert {"open_kind": "direct"} in opened(world, "mailer")
    assert not any("ip" in fields for fields in opened(world, "mailer") if isinstance(fields, dict))
    await world.later(1)
    signal = SignalReceived(
        event_id=EventId(os.urandom(16)),
        collected_at=world.vault.clock.now(),
        site="www",
        identifiers=[Identifier(kind="email", value="Ann@Example.com ")],
        via="unsubscribe",
        body=ConsentStated(
            consents=[
                ConsentStatement(purpose="opens", granted=False),
                ConsentStatement(purpose="reach", granted=False),
            ]
        ),
    )
    world.publish(signal, "intake.signal")
    await world.settle()
    assert world.outcome(signal, "signal") == ("kept_in_vault", None)
    second = mail_open(world, token)
    world.publish(second, "intake.email-open")
    await world.settle()
    assert world.outcome(second, "email-open") == ("discarded", "objected")
    assert set(map(str, opened(world, "mailer"))) == {"withdrawn"}


async def test_tokens_that_lead_nowhere(world: World) -> None:
    """A token that is forged, another site's, expired or nobody's is discarded, each with its code."""
    await outcome(world, world.form())
    nobody = tokens.mint(world.pixel_keys, site="www", message_id=os.urandom(16), expires_day=30_000)
    cases = {
        "A" * 48: "token_invalid",
        token_for(world, "ann@example.com", site="shop"): "token_invalid",
        token_for(world, "ann@example.com", days=-1): "token_expired",
        nobody: "no_subject",
    }
    for token, code in cases.items():
        hit = mail_open(world, token)
        world.publish(hit, "intake.email-open")
        await world.settle()
        assert world.outcome(hit, "email-open") == ("discarded", code)


async def test_after_an_erasure_nothing_older_returns(world: World) -> None:
    """What was collected before is discarded whenever it arrives; a later form starts somebody new."""
    await outcome(world, world.form(consents={"news": True}))
    early = world.form()
    await world.later(400)
    now = world.vault.clock.now()
    key = world.vault.secrets.alias
    world.command(
        RequestDecided(
            request_id=RequestId(os.urandom(16)),
            right="erasure",
            alias_hashes=[alias_hash(key, "email", "ann@example.com")],
            purposes=[],
            until=now,
            reason="asked",
            **world.head(),
        )
    )
    await world.settle()
    assert await outcome(world, early) == ("discarded", "erased")
    assert await outcome(world, world.form()) == ("discarded", "erased"), (
        "client clocks may be five minutes ahead"
    )
    await world.later(301)
    assert await outcome(world, world.form()) == ("routed", None)
    assert len({d.subject_ref for d in world.deliveries("crm")}) == 2


def _last_opens(world: World) -> list[int]:
    key = world.vault.secrets.alias
    with world.vault.transaction(write=False) as tx:
        rows = tx.aliases([alias_hash(key, "email", "ann@example.com")])
        numbers = [row.subject for found in rows.values() for row in found if row.subject is not None]
        return [s.last_open for s in tx.subjects(numbers).values() if s.last_open is not None]


async def test_a_release_is_remembered_as_long_as_what_it_released_may_lie_there(world: World) -> None:
    """A late second release counts for nothing: inputs in quarantine outlast what `seen` remembers."""
    world.publish(world.form(signals=["bot:honeypot"]), "intake.form")
    await world.settle()
    (held,) = [record for _, _, record in world.read("quarantine")]
    assert isinstance(held, Quarantined)
    for days in (0, 10):
        with world.vault.transaction() as tx:
            tx.prune_seen(Micros(tx.now + (days - 4) * 86_400 * SECOND))
        world.log.append(quarantine.release(world.vault, 2, held))
        await world.settle()
    with world.vault.transaction(write=False) as tx:
        assert {row.tally for row in tx.all_buckets(purpose="answer")} == {1}


async def test_a_suspect_released_twice_counts_once(world: World) -> None:
    """A second release of the same input has no effect; nothing is counted twice."""
    suspect = world.form(signals=["bot:too_fast"])
    await outcome(world, suspect)
    (held,) = [record for _, _, record in world.read("quarantine") if isinstance(record, Quarantined)]
    for _ in range(2):
        world.log.append(quarantine.release(world.vault, 2, held))
        await world.settle()
    assert world.outcome(suspect) == ("routed", None)
    assert len(world.tagged()) == 1
    with world.vault.transaction(write=False) as tx:
        assert sum(cell.events for cell in tx.residue()) == 1


async def test_what_is_too_large_leaves_its_code_alone(world: World) -> None:
    """A record too large to be sealed again stops nobody: it is quarantined without its bytes."""
    world.log.append(Outbound("intake.form", 0, None, bytes(999_999)))
    world.log.append(Outbound("intake.signal", 0, None, bytes(999_999)))
    huge = world.form(fields={"email": "a@b.c", "message": "x" * 960_000})
    assert await outcome(world, huge) in {("routed", None), ("quarantined", "bug")}
    codes = [code for outcome, code in world.outcomes().values() if outcome == "quarantined"]
    assert codes.count("framing") + codes.count("schema_unknown") == 2
    assert await outcome(world, world.form()) == ("routed", None)


async def test_generations_do_not_mix(world: World) -> None:
    """What was planned under a key that died is expired, even if the person has consented again since."""
    await outcome(world, world.form(consents={"opens": True}))
    hit = mail_open(world, token_for(world, "ann@example.com"))
    world.publish(hit, "intake.email-open")
    await world.step("tag", kill_after=2)
    world.vault.clock.set_manual(Micros(world.vault.clock.now() + SECOND))
    for granted in (False, True):
        signal = SignalReceived(
            event_id=EventId(os.urandom(16)),
            collected_at=world.vault.clock.now(),
            site="www",
            identifiers=[Identifier(kind="email", value="ann@example.com")],
            via="banner",
            body=ConsentStated(consents=[ConsentStatement(purpose="opens", granted=granted)]),
        )
        world.publish(signal, "intake.signal")
        await world.step("signals")
        world.vault.clock.set_manual(Micros(world.vault.clock.now() + 1))
    fresh = mail_open(world, token_for(world, "ann@example.com"))
    world.publish(fresh, "intake.email-open", 1)
    await world.settle()
    assert world.outcome(hit, "email-open") == ("expired", "expired")
    assert world.outcome(fresh, "email-open") == ("routed", None)


async def test_a_purpose_that_is_withdrawn_in_the_same_chunk_is_named_by_an_entry_of_its_own(
    world: World,
) -> None:
    """Its key died before the record was sealed: the record lives on under its other purposes.

    Yet it was counted in that bucket, and the bucket's lapse can be rebuilt from `decisions`.
    """
    granting, denying = world.form(consents={"news": True}), world.form(consents={"news": False})
    world.publish(granting, "intake.form")
    world.publish(denying, "intake.form")
    await world.settle()
    assert world.outcome(granting) == ("routed", None)
    mine = [entry for entry in world.entries() if entry.record_id == world.record_id(granting)]
    named = {
        (entry.outcome, world.plan.purposes[link.purpose].name) for entry in mine for link in entry.links
    }
    assert named == {("routed", "answer"), ("routed", "profile"), ("expired", "news")}
    with world.vault.transaction(write=False) as tx:
        tallies = {row.id.purpose: row.tally for row in tx.all_buckets()}
    assert (tallies["news"], tallies["answer"]) == (1, 2)
    await world.later(100)
    (lapse,) = [
        lapse
        for lapse in world.lapses("lifecycle")
        if isinstance(lapse.scope, BucketScope) and lapse.scope.purpose == "news"
    ]
    assert (lapse.records, lapse.root) == (1, root([leaf(world.record_id(granting), 1)]))
