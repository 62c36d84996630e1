"""The Kickbox connector against the stand-in that ships, by real HTTP; and what it makes of answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from processors.answers import Answer, Done, Pause, Permanent, Retry
from processors.calls import Erase, Write
from processors.fakes.faults import Fault, FaultKind
from processors.fakes.kickbox import Kickbox as Fake
from processors.fakes.kickbox import start
from processors.fakes.serving import Running
from processors.http import Reply
from processors.kickbox import MANIFEST, UNSURE, Kickbox, refused
from schemas.errors import BadInput, LapseError
from schemas.ids import Micros
from schemas.times import SECOND

NOW = Micros(1_790_000_000_000_000)
KEY = "live_canarykey"


def verify(address: str | None, **more: str) -> Write:
    """Return a write that brings an address, and more than that."""
    values = more if address is None else {"email": address, **more}
    return Write(key="k", vendor_id=None, version=1, set=values, blank=(), purposes=())


@dataclass
class Account:
    """A stand-in and its connector."""

    running: Running
    connector: Kickbox

    @property
    def fake(self) -> Fake:
        """The stand-in itself."""
        assert isinstance(self.running.state, Fake)
        return self.running.state


@pytest.fixture
async def account() -> AsyncIterator[Account]:
    """Run an account with credits."""
    running = await start(credentials={"api_key": KEY})
    said: dict[str, str | int | bool] = {"base_url": running.url, "allow_private": True}
    settings = Kickbox.settings(said, {"api_key": KEY})
    one = Kickbox(processor="check", settings=settings, fields=MANIFEST.fields, wall=lambda: NOW)
    yield Account(running=running, connector=one)
    await one.close()
    await running.stop()


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("ann@example.org", "deliverable"),
        (" Ann+news@example.org ", "deliverable"),
        ("undeliverable@example.org", "undeliverable"),
        ("no address", "undeliverable"),
        ("accept-all@example.org", "risky"),
    ],
)
async def test_what_was_found_out_comes_back_and_nothing_is_kept(
    account: Account, address: str, found: str
) -> None:
    """`success` is about the call; the verdict is what counts, and there is nothing to take back of it."""
    answer = await account.connector.call(verify(address, name="Ann"))
    assert isinstance(answer, Done)
    assert (answer.outcome, answer.found, answer.kept, answer.vendor_id) == ("delivered", found, False, None)
    assert len(answer.evidence) == 32
    assert account.fake.counts["verified"] == 1
    assert account.fake.held() == []


async def test_what_kickbox_cannot_tell_is_asked_a_few_times_without_stopping_others(
    account: Account,
) -> None:
    """It is well, and takes no credit for it."""
    answer = await account.connector.call(verify("unknown@example.org"))
    assert answer == Retry(code="vendor_unsure", tries=UNSURE, well=True)
    assert account.fake.credits == 100_000


async def test_nothing_goes_out_without_an_address_and_nothing_is_erased(account: Account) -> None:
    """An erasure is told `not_applicable`: no result can be named there."""
    erased = await account.connector.call(Erase(key="k", vendor_id=None, version=1, cause="erasure"))
    for answer in (erased, await account.connector.call(verify(None, name="Ann"))):
        assert isinstance(answer, Done)
        assert (answer.outcome, answer.found) == ("not_applicable", None)
    assert await account.connector.present("k", None) is None
    assert sum(account.fake.counts.values()) == 0


async def test_an_account_without_credits_stops_the_connector(account: Account) -> None:
    """As a wrong key does: both need somebody to look."""
    account.fake.credits = 1
    assert isinstance(await account.connector.call(verify("ann@example.org")), Done)
    assert isinstance(await account.connector.call(verify("ben@example.org")), Pause)
    assert account.fake.counts["verified"] == 1


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("5xx", Retry(code="vendor_down")),
        ("html", Retry(code="vendor_answer")),
        ("400", Retry(code="vendor_answer", tries=12)),
        ("401", Pause(code="vendor_login", after=Micros(600 * SECOND))),
        ("redirect", Pause(code="vendor_redirect", after=Micros(600 * SECOND))),
        ("lost_answer", Retry(code="vendor_timeout")),
    ],
)
async def test_each_misbehaviour_has_its_class(account: Account, kind: FaultKind, answer: Answer) -> None:
    """And the next call is whole again."""
    account.fake.faults.order(Fault(kind=kind, times=2))
    assert await account.connector.call(verify("ann@example.org")) == answer
    account.fake.faults.order(Fault(kind=kind, times=0))
    assert isinstance(await account.connector.call(verify("ann@example.org")), Done)


async def test_too_many_at_once_are_told_so_and_the_manifest_stays_below(account: Account) -> None:
    """25 requests may be under way."""
    account.fake.faults.order(Fault(kind="slow", times=30, seconds=0.1))
    calls = [account.connector.call(verify(f"p{n}@example.org")) for n in range(30)]
    answers = await asyncio.gather(*calls)
    assert any(isinstance(a, Retry) and a.code == "vendor_busy" and not a.landed for a in answers)
    assert MANIFEST.in_flight <= 25


def test_what_kickbox_refuses_for_good_is_not_asked_again() -> None:
    """400 and 415 with its own words; without them somebody else may have spoken."""
    for status in (400, 415):
        said = Reply(status=status, headers={}, body=b'{"success": false, "message": "no"}')
        assert isinstance(refused(said, NOW), Permanent)
        assert isinstance(refused(Reply(status=status, headers={}, body=b""), NOW), Retry)


async def test_the_check_asks_for_the_balance_alone(account: Account) -> None:
    """A wrong key is said; a vendor that does not answer, too."""
    await account.connector.check()
    assert account.fake.counts["verified"] == 0
    account.fake.faults.order(Fault(kind="401"))
    with pytest.raises(LapseError, match="vendor_login"):
        await account.connector.check()
    account.fake.faults.order(Fault(kind="html"))
    with pytest.raises(LapseError, match="vendor_answer"):
        await account.connector.check()


@pytest.mark.parametrize("key", ["", "two words", "line\nbreak"])
def test_a_key_that_cannot_be_sent_is_refused(key: str) -> None:
    """Before anything is."""
    with pytest.raises(BadInput):
        Kickbox.settings({}, {"api_key": key})


def test_the_key_is_in_no_repr() -> None:
    """Settings may be shown."""
    assert "canary" not in repr(Kickbox.settings({}, {"api_key": KEY}))
