"""Addresses that lead inside (SSRF): refused in a policy, and again at every connect."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from processors.addresses import check_url, public
from processors.answers import Pause
from processors.calls import Write
from processors.tokens import make_secret
from processors.webhook import Webhook, WebhookSettings
from schemas.errors import BadInput
from schemas.ids import Micros

INSIDE = [
    "127.0.0.1", "127.255.255.254", "0.1.2.3", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "192.0.0.1", "192.88.99.1", "198.18.0.1", "203.0.113.1", "224.0.0.1", "240.0.0.1",
    "255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1", "2002:7f00:1::",
    "2002:a9fe:a9fe::", "2001:0:7f00:1::", "2001:db8::1", "3fff::1", "fc00::1", "fd00:ec2::254", "fe80::1",
    "fec0::1", "ff02::1", "100::1",
]  # fmt: skip
SPELLED = [
    "https://2130706433/", "https://0x7f000001/", "https://0177.0.0.1/", "https://127.1/", "https://127.0.0.1./",
    "https://1.2.3.4.5/",
]  # fmt: skip
"""Loopback to a resolver, though no address as Python writes it."""


@pytest.mark.parametrize("address", INSIDE)
def test_no_literal_address_inside_passes(address: str) -> None:
    """However it is written; a policy that names one does not load."""
    assert not public(address)
    url = f"https://[{address}]/x" if ":" in address else f"https://{address}/x"
    with pytest.raises(BadInput) as refused:
        check_url(url, allow_private=False, where="webhook.url")
    assert refused.value.code == "address_refused"
    assert address not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "gopher://x.example/", "ftp://x.example/", "//x.example/", "http://x.example/",
        "https://user:pw@x.example/", "https://x.example:99999/", "https://[::1", "https://", "javascript:1",
        "https://x.example:0/", *SPELLED,
    ],
)  # fmt: skip
def test_only_https_without_credentials_is_called(url: str) -> None:
    """Other schemes, clear http, a log-in in the address, ports nobody has."""
    with pytest.raises(BadInput):
        check_url(url, allow_private=False, where="webhook.url")


@pytest.fixture
async def inside(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[bytes]]:
    """Something that listens on loopback, as the admin port or a metadata service does; what reaches it."""
    reached: list[bytes] = []

    async def heard(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append(await reader.read(10))
        writer.close()

    server = await asyncio.start_server(heard, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    genuine = socket.getaddrinfo

    def rebound(host: str | bytes, _port: Any, *more: Any, **named: Any) -> Any:
        """Every name leads inside, at the moment of the call."""
        return genuine("127.0.0.1", port, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", rebound)
    yield reached
    server.close()
    await server.wait_closed()


@pytest.fixture
def secret(tmp_path: Path) -> Iterator[Path]:
    """A partner's secret."""
    path = tmp_path / "partner.webhook"
    path.write_text(make_secret() + "\n")
    yield path


@pytest.mark.parametrize("url", ["https://partner.example/events", "https://localhost/"])
async def test_a_name_that_leads_inside_at_the_time_of_the_call_is_not_connected_to(
    inside: list[bytes], secret: Path, url: str
) -> None:
    """DNS rebinding: the name was fine in the policy; the address it has now is refused, the call waits."""
    hook = Webhook(
        processor="partner", settings=WebhookSettings(url=url, secret_file=secret), wall=lambda: Micros(1)
    )
    call = Write(key="00", vendor_id=None, version=1, set={"email": "a@b.example"}, blank=(), purposes=())
    answer = await hook.call(call)
    await hook.close()
    assert isinstance(answer, Pause)
    assert answer.code == "address_refused"
    assert inside == []
