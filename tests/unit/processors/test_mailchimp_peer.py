"""Mailchimp's own description finds nothing wrong with our requests or the stand-in's answers."""

from __future__ import annotations

import pytest

from processors.answers import Done
from processors.calls import Call, Erase, Write
from processors.conformance import parties
from processors.mailchimp import Mailchimp
from processors.mailchimp_api import member_id
from schemas.ids import Micros
from tests.support import peers
from tests.support.beside import beside
from tests.support.mailchimp_judge import MailchimpJudge

pytestmark = [pytest.mark.servers, pytest.mark.timeout(900)]


def put(values: dict[str, str], *blank: str, vendor_id: str | None = None, again: bool = False) -> Write:
    """Return a write."""
    return Write(key="k", vendor_id=vendor_id, version=1, set=values, blank=blank, purposes=(), again=again)


async def test_every_request_and_answer_is_as_mailchimp_describes_them() -> None:
    """Made, blanked, moved, unsubscribed, brought back, deleted, read, and asked for in vain."""
    judge = MailchimpJudge(peers.mailchimp_spec())
    party, verdicts = beside(parties.shipped("mailchimp"), judge)
    stand = await party.start(lambda: Micros(0))
    one = party.make(stand.url, lambda: Micros(0))
    assert isinstance(one, Mailchimp)
    ann, new = member_id("ann@example.org"), "new@example.org"
    calls: list[Call] = [
        put({"email": "ann@example.org", "name": "Ann"}),
        put({}, "name", vendor_id=ann),
        put({"email": new}, vendor_id=ann),
        Erase(key="k", vendor_id=member_id(new), version=2, cause="withdrawal"),
        put({"email": new}, vendor_id=member_id(new), again=True),
        Erase(key="k", vendor_id=member_id(new), version=3, cause="erasure"),
        Erase(key="k", vendor_id=f"{ann} {'0' * 32}", version=4, cause="erasure"),
    ]
    try:
        await one.check()
        for call in calls:
            assert isinstance(await one.call(call), Done)
        assert await one.present("k", ann) == frozenset()
        await one.call(put({"email": new}))
    finally:
        await one.close()
        await stand.stop()
    assert list(verdicts.faults) == []
    assert len(judge.seen) >= 6
