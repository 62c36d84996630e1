"""The Mailchimp connector against the stand-in that ships, by real HTTP; and what it makes of answers."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pytest
from aiohttp import web

from processors.answers import Answer, Done, Pause, Permanent, Retry
from processors.calls import Erase, Write
from processors.fakes.faults import Fault, FaultKind, Faults, Work
from processors.fakes.mailchimp import Mailchimp as Fake
from processors.fakes.mailchimp import start
from processors.fakes.serving import Running
from processors.http import Reply
from processors.mailchimp import MANIFEST, Mailchimp
from processors.mailchimp_api import judged, member_id
from processors.recipient import Edited, Heard, Hears, Names, Post, Withdrawn
from schemas.errors import BadInput, LapseError
from schemas.ids import Micros
from schemas.models import Cause
from schemas.times import SECOND

MAIN, OTHER = "a1b2c3d4e5", "f6a7b8c9d0"
KEY = "canary0key0-us7"
ANN, NEW = "Ann@Example.org ", "ann@new.example"
NOW = Micros(1_790_000_000_000_000)
FIELDS = {**MANIFEST.fields, "interest": "MMERGE5"}


def write(
    values: Mapping[str, str],
    *blank: str,
    vendor_id: str | None = None,
    also: tuple[str, ...] = (),
    again: bool = False,
) -> Write:
    """Return a write."""
    return Write(
        key="k", vendor_id=vendor_id, version=1, set=values, blank=blank, purposes=(), also=also, again=again
    )


def erase(cause: Cause, vendor_id: str | None, *also: str) -> Erase:
    """Return an erasure."""
    return Erase(key="k", vendor_id=vendor_id, version=2, cause=cause, also=also)


@dataclass
class Account:
    """A stand-in and the connector that uses it."""

    running: Running
    made: list[Mailchimp]

    @property
    def fake(self) -> Fake:
        """The stand-in itself."""
        assert isinstance(self.running.state, Fake)
        return self.running.state

    def connector(self, **said: str) -> Mailchimp:
        """Return a connector with these settings."""
        settings = Mailchimp.settings(
            {"audience": MAIN, "base_url": self.running.url, "allow_private": True, **said},
            {"api_key": KEY, "hook_secret": "s3cret"},
        )
        one = Mailchimp(processor="mail", settings=settings, fields=FIELDS, wall=lambda: NOW)
        self.made.append(one)
        return one

    def fault(self, kind: FaultKind, times: int = 1) -> None:
        """Misbehave."""
        self.fake.faults.order(Fault(kind=kind, times=times, seconds=30.0 if kind == "slow" else None))

    def member(self, address: str = ANN, audience: str = MAIN) -> dict[str, Any] | None:
        """Return what is held of an address."""
        name = f"{audience}/{member_id(address)}"
        return next((held for held in self.fake.held() if held["id"] == name), None)


@pytest.fixture
async def account() -> AsyncIterator[Account]:
    """Run an account."""
    running = await start(credentials={"api_key": KEY})
    made: list[Mailchimp] = []
    yield Account(running=running, made=made)
    for one in made:
        await one.close()
    await running.stop()


async def written(one: Mailchimp, call: Write) -> str:
    """Make a write that is taken and return the member's name."""
    answer = await one.call(call)
    assert isinstance(answer, Done), answer
    assert answer.outcome == "delivered"
    assert len(answer.evidence) == 32
    assert answer.vendor_id is not None
    return answer.vendor_id


async def test_a_member_is_put_under_the_hash_of_the_address_with_mapped_fields_only(
    account: Account,
) -> None:
    """Trimmed and lower-case for the name; what has no place is not sent; the same again is the same."""
    one = account.connector()
    assert isinstance(one, Names)
    assert isinstance(one, Hears)
    call = write({"email": ANN, "name": "Ann", "interest": "lamps", "message": "secret"})
    name = await written(one, call)
    assert name.split()[0] == hashlib.md5(b"ann@example.org", usedforsecurity=False).hexdigest()
    assert one.named(call.set) == name.split()[0]
    assert one.named({"name": "Ann"}) is None
    assert await written(one, call) == name
    held = account.member()
    assert held is not None
    assert held["status"] == "subscribed"
    assert held["fields"] == {"email_address": "Ann@Example.org", "FNAME": "Ann", "MMERGE5": "lamps"}


async def test_fields_without_a_purpose_are_blanked_and_the_rest_stays(account: Account) -> None:
    """With the address in the call or without; a member that is gone has nothing to blank."""
    one = account.connector()
    name = await written(one, write({"email": ANN, "name": "Ann", "company": "Acme"}))
    assert isinstance(await one.call(write({}, "company", vendor_id=name)), Done)
    await written(one, write({"email": ANN, "interest": "lamps"}, "name", vendor_id=name))
    held = account.member()
    assert held is not None
    assert held["fields"] == {"email_address": "Ann@Example.org", "MMERGE5": "lamps"}
    assert await one.call(write({}, "name", vendor_id="0" * 32)) == Done(outcome="already_absent")
    assert await one.call(write({"name": "Ann"})) == Permanent(code="vendor_refused")


async def test_a_changed_address_moves_the_member(account: Account) -> None:
    """One member remains, under the new hash; nothing is forgotten for good, for nobody asked for that."""
    one = account.connector()
    name = await written(one, write({"email": ANN, "name": "Ann"}))
    moved = await written(one, write({"email": NEW}, vendor_id=name))
    assert moved.split()[0] == member_id(NEW)
    assert account.member() is None
    held = account.member(NEW)
    assert held is not None
    assert held["fields"]["FNAME"] == "Ann"
    assert account.fake.forgotten == {}


async def test_a_changed_address_that_has_a_member_already_takes_the_old_one_away(account: Account) -> None:
    """Two members cannot become one there: the new one is written, the old one deleted."""
    one = account.connector()
    name = await written(one, write({"email": ANN, "name": "Ann"}))
    await written(one, write({"email": NEW, "name": "Other"}))
    await written(one, write({"email": NEW, "name": "Ann"}, vendor_id=name))
    assert account.member() is None
    assert len(account.fake.held()) == 1


async def test_an_address_changed_there_is_still_found(account: Account) -> None:
    """By the id of the contact: an erasure does not take the old hash's absence for the end."""
    one = account.connector()
    name = await written(one, write({"email": ANN}))
    account.fake.act(MAIN, "upemail", ANN.strip(), NEW)
    answer = await one.call(erase("erasure", name))
    assert isinstance(answer, Done)
    assert answer.outcome == "completed"
    assert account.fake.held() == []


async def test_without_an_address_there_is_no_member(account: Account) -> None:
    """The end of the address's purpose is the end of the member, whatever else might have stayed."""
    one = account.connector()
    name = await written(one, write({"email": ANN, "name": "Ann"}))
    answer = await one.call(write({"name": "Ann"}, "email", vendor_id=name))
    assert isinstance(answer, Done)
    assert account.fake.held() == []


@pytest.mark.parametrize("cause", ["erasure", "recall", "rectification", "retention"])
async def test_an_erasure_deletes_in_every_audience_and_for_good(account: Account, cause: Cause) -> None:
    """Then it is absent; and whatever comes late is refused, not retried."""
    other = account.connector(audience=OTHER)
    await written(other, write({"email": ANN}))
    one = account.connector(also_erase_in=f"{OTHER}, {'0' * 10}")
    name = await written(one, write({"email": ANN, "name": "Ann"}))
    answer = await one.call(erase(cause, name))
    assert isinstance(answer, Done)
    assert answer.outcome == "completed"
    assert account.fake.held() == []
    assert await one.present("k", name) == frozenset()
    again = await one.call(erase(cause, name))
    assert isinstance(again, Done)
    assert again.outcome == "already_absent"
    late = await one.call(write({"email": ANN}))
    assert isinstance(late, Permanent)
    assert len(late.evidence) == 32
    assert account.fake.held() == []


@pytest.mark.parametrize("cause", ["withdrawal", "objection"])
async def test_a_withdrawal_unsubscribes_and_blanks_and_says_that_the_address_stays(
    account: Account, cause: Cause
) -> None:
    """So that it goes on being suppressed; a new consent brings it back, an erasure ends it."""
    one = account.connector()
    name = await written(one, write({"email": ANN, "name": "Ann"}))
    answer = await one.call(erase(cause, name))
    assert isinstance(answer, Done)
    assert answer.outcome == "overwritten_only"
    held = account.member()
    assert held is not None
    assert (held["status"], held["fields"]) == ("unsubscribed", {"email_address": "Ann@Example.org"})
    assert await one.present("k", name) == frozenset({"email_address"})
    await written(one, write({"email": ANN, "name": "Ann"}, vendor_id=name, again=True))
    held = account.member()
    assert held is not None
    assert held["status"] == "subscribed"
    assert isinstance(await one.call(erase("erasure", name)), Done)
    assert account.fake.held() == []


async def test_retention_may_unsubscribe_instead_where_the_policy_says_so(account: Account) -> None:
    """`at_end: unsubscribe` keeps the address; an erasure deletes nevertheless."""
    one = account.connector(at_end="unsubscribe")
    name = await written(one, write({"email": ANN, "name": "Ann"}))
    answer = await one.call(erase("retention", name))
    assert isinstance(answer, Done)
    assert answer.outcome == "overwritten_only"
    answer = await one.call(erase("erasure", name))
    assert isinstance(answer, Done)
    assert answer.outcome == "completed"


@pytest.mark.parametrize("what", ["unsubscribe", "cleaned"])
async def test_who_opted_out_there_is_never_brought_back(account: Account, what: str) -> None:
    """Neither as somebody new, nor after an end of ours: refused for good, and nothing is written."""
    one = account.connector()
    name = await written(one, write({"email": ANN}))
    account.fake.act(MAIN, what, ANN.strip())
    for call in (
        write({"email": ANN, "name": "Ann"}),
        write({"email": ANN, "name": "Ann"}, vendor_id=name, again=True),
    ):
        answer = await one.call(call)
        assert isinstance(answer, Permanent)
    held = account.member()
    assert held is not None
    assert held["fields"] == {"email_address": "Ann@Example.org"}
    await written(one, write({"email": ANN}, vendor_id=name))
    held = account.member()
    assert held is not None
    assert held["status"] != "subscribed"
    answer = await one.call(erase("withdrawal", name))
    assert isinstance(answer, Done)
    assert answer.outcome == "overwritten_only"


async def test_somebody_whom_we_never_wrote_and_who_is_unsubscribed_stays_so(account: Account) -> None:
    """Whoever did it, it was not us: only our own end may be undone."""
    one = account.connector()
    name = await written(one, write({"email": ANN}))
    await one.call(erase("withdrawal", name))
    assert isinstance(await one.call(write({"email": ANN})), Permanent)


async def test_new_members_may_have_to_confirm(account: Account) -> None:
    """`status_if_new: pending`."""
    one = account.connector(status_if_new="pending")
    await written(one, write({"email": ANN}))
    held = account.member()
    assert held is not None
    assert held["status"] == "pending"


async def test_an_answer_that_was_lost_is_asked_for_again_and_found(account: Account) -> None:
    """Every step may lose its answer; the next attempt ends where the first would have."""
    one = account.connector()
    account.fault("lost_answer", 2)
    lost = await one.call(write({"email": ANN, "name": "Ann"}))
    assert isinstance(lost, Retry)
    assert lost.landed
    account.fault("lost_answer", 0)
    name = await written(one, write({"email": ANN, "name": "Ann"}, also=(member_id(ANN),)))
    account.fault("lost_answer", 1)
    assert isinstance(await one.call(write({"email": NEW}, vendor_id=name)), Retry)
    moved = await written(one, write({"email": NEW}, vendor_id=name, also=(member_id(NEW),)))
    assert len(account.fake.held()) == 1
    account.fault("lost_answer", 1)
    assert isinstance(await one.call(erase("erasure", moved)), Retry)
    answer = await one.call(erase("erasure", moved))
    assert isinstance(answer, Done)
    assert answer.outcome == "already_absent"


class Third(Faults):
    """Strikes at the third request with a key that is not taken."""

    calls = 0

    async def meet(self, request: web.Request, work: Work) -> web.StreamResponse:
        """Count."""
        self.calls += 1
        if self.calls == 3:
            self.order(Fault(kind="401"))
        return await super().meet(request, work)


async def test_a_failure_after_something_was_written_never_looks_as_if_nothing_was(account: Account) -> None:
    """The old member's deletion meets a wrong key or a busy vendor: what was entered stays entered."""
    one = account.connector()
    name = await written(one, write({"email": ANN, "name": "Ann"}))
    await written(one, write({"email": NEW}))
    account.fake.faults = Third()  # moving is refused, put is done, then comes the deletion
    answer = await one.call(write({"email": NEW}, vendor_id=name))
    assert answer == Retry(code="vendor_login")


class Second(Faults):
    """Strikes at the second request."""

    kind: FaultKind = "429"
    calls = 0

    async def meet(self, request: web.Request, work: Work) -> web.StreamResponse:
        """Count."""
        self.calls += 1
        if self.calls == 2:
            self.order(Fault(kind=self.kind))
        return await super().meet(request, work)


@pytest.mark.parametrize("kind", ["429", "401"])
async def test_an_end_that_went_halfway_counts_as_one(account: Account, kind: FaultKind) -> None:
    """Unsubscribed in one audience, refused in the next: who consents again must not stay unsubscribed."""
    one = account.connector(also_erase_in=OTHER)
    name = await written(one, write({"email": ANN, "name": "Ann"}))
    account.fake.faults = Second()
    account.fake.faults.kind = kind
    answer = await one.call(erase("withdrawal", name))
    assert isinstance(answer, Retry)
    assert answer.landed


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("5xx", Retry(code="vendor_down")),
        ("html", Retry(code="vendor_answer")),
        ("400", Retry(code="vendor_answer")),
        ("401", Pause(code="vendor_login", after=Micros(600 * SECOND))),
        ("redirect", Pause(code="vendor_redirect", after=Micros(600 * SECOND))),
    ],
)
async def test_each_misbehaviour_has_its_class(account: Account, kind: FaultKind, answer: Answer) -> None:
    """For writes and erasures alike."""
    one = account.connector()
    name = member_id(ANN)
    for call in (write({"email": ANN}), write({"email": ANN}, vendor_id=name), erase("erasure", name)):
        account.fault(kind)
        assert await one.call(call) == answer


async def test_a_vendor_that_is_busy_is_obeyed(account: Account) -> None:
    """429 with `Retry-After`: it did nothing."""
    account.fault("429")
    busy = await account.connector().call(write({"email": ANN}))
    assert isinstance(busy, Retry)
    assert (busy.code, busy.landed) == ("vendor_busy", False)
    assert busy.after is not None


def test_a_403_of_the_gateway_is_not_a_wrong_key() -> None:
    """Without a JSON body it is somebody in between who is busy."""
    page = Reply(status=403, headers={"content-type": "text/html"}, body=b"<html>")
    said = Reply(status=403, headers={"content-type": "application/problem+json"}, body=b'{"title": "x"}')
    assert judged(page, NOW) == Retry(code="vendor_busy", landed=False)
    assert isinstance(judged(said, NOW), Pause)


async def test_an_audience_that_is_not_there_is_not_an_absent_member(account: Account) -> None:
    """A mistyped id must not pass for an erasure; nothing is called until somebody looks."""
    one = account.connector(audience="nosuch")
    for call in (write({"email": ANN}), erase("erasure", member_id(ANN))):
        assert isinstance(await one.call(call), Pause)
    with pytest.raises(LapseError, match="no such audience"):
        await one.check()


async def test_nobody_listening_is_told_from_a_lost_answer(account: Account) -> None:
    """No connection: nothing was asked."""
    one = account.connector()
    await account.running.stop()
    assert await one.call(write({"email": ANN})) == Retry(code="vendor_down", landed=False)
    with pytest.raises(LapseError):
        await one.check()


async def test_the_check_moves_no_personal_data(account: Account) -> None:
    """The key and the audiences are asked for, nobody else; a wrong key is said."""
    one = account.connector()
    await one.check()
    assert account.fake.held() == []
    account.fault("401")
    with pytest.raises(LapseError, match="vendor_login"):
        await one.check()


async def test_a_call_that_is_given_up_leaves_the_connector_whole(account: Account) -> None:
    """The connector's deadline cancels it; the next call goes through."""
    one = account.connector()
    account.fault("slow")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await one.call(write({"email": ANN}))
    await written(one, write({"email": ANN}))


async def test_as_many_calls_as_the_manifest_allows_keep_below_the_vendors_limit(account: Account) -> None:
    """Each makes its requests one after the other."""
    one = account.connector()
    calls = [write({"email": f"p{n}@example.org"}) for n in range(MANIFEST.in_flight)]
    answers = await asyncio.gather(*(one.call(call) for call in calls))
    assert all(isinstance(answer, Done) for answer in answers)
    assert account.fake.most <= MANIFEST.in_flight
    account.fake.faults.order(Fault(kind="slow", times=30, seconds=0.1))
    many = await asyncio.gather(*(one.call(write({"email": f"q{n}@example.org"})) for n in range(30)))
    assert any(isinstance(answer, Retry) for answer in many)


async def test_what_cannot_be_read_after_an_erasure_counts_as_there(account: Account) -> None:
    """So it is asked again."""
    one = account.connector()
    account.fault("5xx")
    assert await one.present("k", member_id(ANN))


# ---- webhooks ----------------------------------------------------------------------------------------------
def post(form: Mapping[str, str], secret: str = "s3cret") -> Post:  # noqa: S107  # made up
    """Return a webhook as Mailchimp sends it."""
    return Post(headers={}, query={"secret": secret}, body=urlencode(form).encode())


async def test_what_people_do_there_is_heard(account: Account) -> None:
    """Opting out and bouncing withdraw; edits are noted; other audiences and events say nothing."""
    one = account.connector()
    await written(one, write({"email": ANN, "name": "Ann"}))
    at = Micros(1_795_867_200_000_000)
    ahead = Micros(at + 10 * SECOND)
    address = ANN.strip()
    profile = account.fake.act(MAIN, "profile", address)
    changed = account.fake.act(MAIN, "upemail", address, NEW)
    gone = account.fake.act(MAIN, "unsubscribe", NEW)
    bounced = account.fake.act(MAIN, "cleaned", NEW)
    assert one.heard(post(profile), ahead).said == (Edited(vendor_id=member_id(ANN), at=at),)
    assert one.heard(post(changed), ahead).said == (Edited(vendor_id=member_id(ANN), at=at),)
    for form in (gone, bounced):
        assert one.heard(post(form), ahead).said == (Withdrawn(kind="email", value=NEW, at=at),)
    assert one.heard(post(gone), Micros(at - SECOND)).said[0].at == at - SECOND  # type: ignore[union-attr]
    assert one.heard(post(gone | {"data[list_id]": OTHER}), ahead) == Heard()
    assert one.heard(post(gone | {"type": "campaign"}), ahead) == Heard()
    assert one.heard(Post(headers={}, query={"secret": "s3cret"}, body=b""), ahead) == Heard()
    assert one.answer(Heard(), {}) == b"{}"


async def test_a_webhook_without_the_secret_says_nothing(account: Account) -> None:
    """It is all the authentication there is; without one of our own, everything is refused."""
    form = {"type": "unsubscribe", "data[list_id]": MAIN}
    with pytest.raises(LapseError, match="vendor_login"):
        account.connector().heard(post(form, "other"), NOW)
    settings = Mailchimp.settings({"audience": MAIN}, {"api_key": KEY})
    deaf = Mailchimp(processor="mail", settings=settings, fields=FIELDS, wall=lambda: NOW)
    with pytest.raises(LapseError, match="vendor_login"):
        deaf.heard(post(form, ""), NOW)


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xfe",
        b"&".join(b"a%d=1" % n for n in range(600)),
        urlencode({"type": "unsubscribe", "data[list_id]": MAIN, "fired_at": "yesterday"}).encode(),
        urlencode({"type": "unsubscribe", "data[list_id]": MAIN, "fired_at": "2026-11-28 12:00:00"}).encode(),
    ],
)
async def test_a_webhook_that_cannot_be_read_is_refused(account: Account, body: bytes) -> None:
    """With the place, never the value."""
    with pytest.raises(BadInput):
        account.connector().heard(Post(headers={}, query={"secret": "s3cret"}, body=body), NOW)


# ---- settings ----------------------------------------------------------------------------------------------
def test_the_base_follows_from_the_key() -> None:
    """Its end names the data centre."""
    settings = Mailchimp.settings({"audience": MAIN}, {"api_key": KEY})
    assert settings.base_url == "https://us7.api.mailchimp.com/3.0"
    assert settings.audiences == (MAIN,)
    assert "canary" not in repr(settings)


@pytest.mark.parametrize(
    ("said", "secrets", "where"),
    [
        ({"audience": MAIN}, {}, "credentials"),
        ({"audience": MAIN}, {"api_key": "nodash"}, "credentials"),
        ({}, {"api_key": KEY}, "audience"),
        ({"audience": "a/b"}, {"api_key": KEY}, "audience"),
        ({"audience": MAIN, "also_erase_in": "x, ?"}, {"api_key": KEY}, "also_erase_in"),
        ({"audience": MAIN, "at_end": "archive"}, {"api_key": KEY}, "at_end"),
        ({"audience": MAIN, "status_if_new": "unsubscribed"}, {"api_key": KEY}, "status_if_new"),
    ],
)
def test_settings_that_cannot_be_name_the_place(
    said: dict[str, str | int | bool], secrets: dict[str, str], where: str
) -> None:
    """In the file or in the policy."""
    with pytest.raises(BadInput) as caught:
        Mailchimp.settings(said, secrets)
    assert where in caught.value.where
