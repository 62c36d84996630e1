"""Stripe's own judge of parameters, `stripe-mock`, finds nothing wrong with what we send."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import aiohttp
import pytest

from processors.answers import Done, Permanent, Retry
from processors.stripe import MANIFEST, Stripe
from tests.unit.processors.vendors import NOW, done, erase, write

MOCK = shutil.which("stripe-mock", path=f"{os.environ.get('PATH', '')}:{Path.home()}/go/bin")
pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(MOCK is None, reason="go install github.com/stripe/stripe-mock@v0.203.0"),
]
Made = Callable[[Mapping[str, str]], Stripe]
ALL = {name: "x@example.org" if name == "email" else "DE" for name in MANIFEST.fields}


@pytest.fixture
async def peer() -> AsyncIterator[Made]:
    """Return a maker of connectors on a mock that is up."""
    assert MOCK is not None
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    at = f"127.0.0.1:{port}"
    mock = subprocess.Popen(  # noqa: ASYNC220  # started and not waited for
        [MOCK, "-beta", "-http-addr", at], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    said: dict[str, str | int | bool] = {
        "base_url": f"http://{at}",
        "allow_private": True,
        "redaction_version": "2026-06-24.preview",
    }
    all_made: list[Stripe] = []

    def make(fields: Mapping[str, str]) -> Stripe:
        settings = Stripe.settings(said, {"api_key": "sk_test_12345678"})
        all_made.append(Stripe(processor="stripe", settings=settings, fields=fields, wall=lambda: NOW))
        return all_made[-1]

    try:
        async with asyncio.timeout(30), aiohttp.ClientSession(trust_env=False) as http:
            while True:
                try:
                    async with http.get(f"http://{at}/"):
                        break
                except aiohttp.ClientError:
                    await asyncio.sleep(0.05)
        yield make
    finally:
        for made in all_made:
            await made.close()
        mock.kill()
        mock.wait()


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
