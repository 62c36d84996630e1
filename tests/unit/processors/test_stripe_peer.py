"""Stripe's own judge of parameters, `stripe-mock`, finds nothing wrong with what we send."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping

import pytest

from processors.answers import Done, Permanent, Retry
from processors.stripe import MANIFEST, Stripe
from tests.support.stripe_mock import KEY, running_stripe_mock
from tests.unit.processors.vendors import NOW, done, erase, write

pytestmark = [pytest.mark.servers, pytest.mark.timeout(900)]
Made = Callable[[Mapping[str, str]], Stripe]
ALL = {name: "x@example.org" if name == "email" else "DE" for name in MANIFEST.fields}


@pytest.fixture
async def peer() -> AsyncIterator[Made]:
    """Return a maker of connectors on a mock that is up."""
    all_made: list[Stripe] = []
    async with running_stripe_mock() as url:
        said: dict[str, str | int | bool] = {
            "base_url": url,
            "allow_private": True,
            "redaction_version": "2026-06-24.preview",
        }

        def make(fields: Mapping[str, str]) -> Stripe:
            settings = Stripe.settings(said, {"api_key": KEY})
            all_made.append(Stripe(processor="stripe", settings=settings, fields=fields, wall=lambda: NOW))
            return all_made[-1]

        yield make
        for made in all_made:
            await made.close()


async def test_every_request_is_one_that_stripe_takes(peer: Made) -> None:
    """Write, update, clear, erase, redact, follow, check: each parameter is known and well-formed."""
    stripe = peer(MANIFEST.fields)
    await stripe.check()
    first = done(await stripe.call(write(ALL)))
    assert first.outcome == "delivered"
    cleared = write({"name": "Ann"}, blank=["email", "street", "order"], vendor_id=first.vendor_id)
    assert done(await stripe.call(cleared)).vendor_id == first.vendor_id
    kept = done(await stripe.call(erase(vendor_id=first.vendor_id)))
    assert kept.outcome == "overwritten_only"  # the mock shows a charge whoever is asked for
    asked = done(await stripe.call(erase(vendor_id=first.vendor_id, cause="erasure")))
    assert asked.outcome == "accepted_async"
    assert asked.request is not None
    assert isinstance(await stripe.follow(asked.request), Done | Retry)


async def test_what_stripe_does_not_know_it_refuses_for_good(peer: Made) -> None:
    """The judge is awake: a parameter of no name is a refusal, not a retry."""
    answer = await peer({"name": "nickname_of_nobody"}).call(write({"name": "Ann"}))
    assert isinstance(answer, Permanent)
