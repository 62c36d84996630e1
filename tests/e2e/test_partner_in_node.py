"""Our events and erasures, judged in another language by packages others wrote; their answers by ours."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from processors.answers import Done
from processors.calls import Erase, Write
from processors.tokens import make_secret
from processors.webhook import Webhook, WebhookSettings
from schemas.ids import Micros
from tests.support.peers import node_partner
from vault.clock import wall

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

KEY = "ab" * 16


@pytest.fixture(scope="module")
def receiver() -> Path:
    """The receiver, installed from its lock without running anybody's scripts."""
    return node_partner()


async def test_another_author_finds_our_requests_valid(receiver: Path, tmp_path: Path) -> None:
    """Signature, CloudEvent and OpenDSR request hold for the other side; its signed answer holds for us."""
    secret, secret_file = make_secret(), tmp_path / "partner.webhook"
    secret_file.write_text(f"{make_secret()}\n{secret}\n")  # in a rotation the partner still has the old one
    node = await asyncio.create_subprocess_exec("node", str(receiver), secret, stdout=asyncio.subprocess.PIPE)
    assert node.stdout is not None

    async def said() -> dict[str, Any]:
        assert node.stdout is not None
        return dict(json.loads(await asyncio.wait_for(node.stdout.readline(), 30)))

    settings = WebhookSettings(
        url=f"http://127.0.0.1:{(await said())['port']}/events", secret_file=secret_file, allow_private=True
    )
    partner = Webhook(processor="partner", settings=settings, wall=wall)
    values = {"name": "Änn \U0001f600 \u2028", "note": '"<&>"\\'}
    write = Write(
        key=KEY, vendor_id=None, version=5, set=values, blank=("phone",), purposes=(("p", Micros(0)),)
    )
    try:
        answer = await partner.call(write)
        event = await said()
        assert isinstance(answer, Done), event
        assert (event["signed"], event["valid"]) == (True, True)
        assert event["event"]["data"]["set"] == values
        assert event["event"]["subject"] == KEY
        assert event["event"]["sequence"] == f"{5:020d}"
        answer = await partner.call(Erase(key=KEY, vendor_id=None, version=6, cause="withdrawal"))
        erasure = (await said())["erasure"]
        assert isinstance(answer, Done)
        assert answer.outcome == "completed"
        assert erasure["extensions"]["lapse"]["cause"] == "withdrawal"
    finally:
        node.terminate()
        await node.wait()
        await partner.close()
