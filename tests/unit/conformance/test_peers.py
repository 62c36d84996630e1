"""What connectors send in every situation, judged by servers, libraries and descriptions of other authors."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from processors.conformance import IDS, Party, parties, play
from processors.tokens import make_secret
from tests.support import peers
from tests.support.beside import Verdicts, another_server, beside, printing_its_port
from tests.support.mailchimp_judge import MailchimpJudge
from tests.support.stripe_mock import KEY, running_stripe_mock

pytestmark = [pytest.mark.servers, pytest.mark.timeout(900)]
MOST = 2
"""Variants of a situation that are played here: what is judged is each kind of request, not each order."""


async def all_held(party: Party, verdicts: Verdicts, names: Sequence[str] = IDS) -> None:
    """Play situations; none fails, and nobody found fault with a single request."""
    for name in names:
        result = await play(party, name, most=MOST)
        assert result.held != "failed", "\n".join((name, result.why, *result.trace))
        assert list(verdicts.faults) == [], name
    assert verdicts.seen > 5 * len(names)


async def test_stripe_takes_every_request_of_every_situation() -> None:
    """`stripe-mock` knows each parameter, redaction jobs among them."""
    async with (
        running_stripe_mock() as url,
        another_server("stripe-mock", url, headers={"Authorization": f"Bearer {KEY}"}) as judge,
    ):
        await all_held(*beside(parties.shipped("stripe"), judge))
        redacting = parties.shipped("stripe", redaction_version="2026-06-24.preview")
        await all_held(*beside(redacting, judge), ("receipts",))


async def test_mailchimp_describes_every_request_of_every_situation() -> None:
    """And every answer of the stand-in is one that Mailchimp describes."""
    judge = MailchimpJudge(peers.mailchimp_spec())
    await all_held(*beside(parties.shipped("mailchimp"), judge))
    assert len(judge.seen) >= 5


async def test_every_request_to_a_partner_is_valid_in_two_other_languages() -> None:
    """Signatures and CloudEvents by npm's packages, signatures by the library for Go."""
    secret = make_secret()
    node, go = peers.node_partner(), peers.go_partner()
    async with (
        printing_its_port("node", node, secret) as at_node,
        printing_its_port(go, secret) as at_go,
        another_server("node", at_node) as one,
        another_server("go", at_go) as two,
    ):
        await all_held(*beside(parties.partner(secret), one, two))


async def test_a_judge_is_awake() -> None:
    """A partner under another secret finds fault with the first request."""
    async with (
        printing_its_port(peers.go_partner(), make_secret()) as url,
        another_server("go", url) as judge,
    ):
        party, verdicts = beside(parties.partner(make_secret()), judge)
        await play(party, "lapse_before", most=MOST)
    assert "no matching signature" in "".join(verdicts.faults)
