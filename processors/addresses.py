"""Which addresses a connector may call: public ones over HTTPS, in the URL and at every connect.

A policy names a partner's URL, and a name may resolve to anything at any time; without the second check it
could lead a signed request to the metadata service of a cloud or to our own admin port (server-side request
forgery).
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from schemas.errors import BadInput

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_NEVER = tuple(
    map(
        ipaddress.ip_network,
        # Deprecated or for documentation, and taken for global by Python's table: site-local (RFC 3879), the
        # relays of 6to4 (RFC 7526), examples (RFC 9637).
        ("fec0::/10", "192.88.99.0/24", "3fff::/20"),
    )
)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII | re.IGNORECASE)
"""A last label that makes a host an IPv4 address to a resolver (WHATWG URL, 3.5): `127.1`, `0x7f`."""
_PORTS = range(1, 65536)


class AddressRefused(OSError):
    """The name leads to an address that must not be called; an OSError, for it is raised while connecting."""


def public(address: str) -> bool:
    """Return whether an IP address may be called: global unicast, also where it is embedded in another."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    return all(_unicast(each) for each in _embedded(ip))


def _unicast(ip: IPAddress) -> bool:
    if any(ip in network for network in _NEVER):
        return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


def _embedded(ip: IPAddress) -> Sequence[IPAddress]:
    """Return the address, or the IPv4 address it carries inside (mapped, 6to4, Teredo, NAT64)."""
    if isinstance(ip, ipaddress.IPv4Address):
        return (ip,)
    if ip.ipv4_mapped is not None:
        return (ip.ipv4_mapped,)
    if ip in _NAT64:
        return (ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF),)
    inside = [*([ip.sixtofour] if ip.sixtofour else []), *(ip.teredo or ())]
    return (ip, *inside)


def check_url(url: str, *, allow_private: bool, where: str) -> str:
    """Return the URL if a connector may be given it; else `BadInput`: scheme, host or a literal address."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if (
        not host
        or parts.scheme not in ("https", "http")
        or parts.username
        or (port is not None and port not in _PORTS)
    ):
        raise BadInput("address_refused", "not an http(s) address without credentials in it", where)
    if parts.scheme == "http" and not allow_private:
        raise BadInput("address_refused", "only https is called", where, "use an https address")
    try:
        literal = public(host)
    except ValueError:
        if _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
            raise BadInput("address_refused", "an address in a spelling of its own", where) from None
        return url  # a name: what it resolves to is checked whenever it is connected to
    if not literal and not allow_private:
        raise BadInput("address_refused", "a private address", where, "use a public address")
    return url


AddrInfo = tuple[int, int, int, str, Any]


def guarded_socket(*, allow_private: bool) -> Callable[[AddrInfo], socket.socket]:
    """Return a socket factory for aiohttp that refuses at connect time what `public` refuses."""

    def make(info: AddrInfo) -> socket.socket:
        family, kind, protocol, _, address = info
        if not allow_private and not public(str(address[0])):
            raise AddressRefused("address_refused")
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made

    return make
