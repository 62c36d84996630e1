"""Stripe's own mock on a free port: it knows every parameter of the interface, and keeps nothing."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from tests.support.peers import stripe_mock

KEY = "sk_test_12345678"
"""Any key of this form will do."""


@asynccontextmanager
async def running_stripe_mock() -> AsyncIterator[str]:
    """Run it and give its address; skip the test where it cannot be had."""
    program = stripe_mock()
    with socket.create_server(("127.0.0.1", 0)) as free:
        at = f"127.0.0.1:{free.getsockname()[1]}"
    process = subprocess.Popen(  # noqa: ASYNC220  # started and not waited for
        [program, "-beta", "-http-addr", at], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(30), aiohttp.ClientSession(trust_env=False) as http:
            while True:
                try:
                    async with http.get(f"http://{at}/"):
                        break
                except aiohttp.ClientError:
                    assert process.poll() is None, "stripe-mock ended at start"
                    await asyncio.sleep(0.05)
        yield f"http://{at}"
    finally:
        process.kill()
        process.wait()
