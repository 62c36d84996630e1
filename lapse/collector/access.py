"""Who may publish, and from where a request really comes: site credentials, origins, trusted proxies."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from ipaddress import IPv6Address, ip_address
from socket import AF_INET, inet_pton

from lapse.collector.http import Address, Headers, Problem, Request
from lapse.collector.settings import Network
from schemas.plan import PolicyPlan

_BEARER = "bearer "
_CHALLENGE: Headers = ((b"www-authenticate", b'Bearer realm="lapse"'),)
_ALLOWED_HEADERS = b"content-type, idempotency-key, x-lapse-site-key, authorization"
_V4_PREFIX, _V6_PREFIX = 24, 56


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteCredential:
    """A site's public key for browsers and its secret bearer token (`st_<site>_...`) for servers."""

    site: str
    key: str
    token: str = field(repr=False)


def _digest(secret: str) -> bytes:
    return sha256(secret.encode()).digest()


class Credentials:
    """Finds the site a request speaks for."""

    def __init__(self, sites: Iterable[SiteCredential]) -> None:
        known = list(sites)
        self._keys = {each.key: each.site for each in known}
        # Looked up by digest: how long a look-up takes then says nothing about a secret.
        self._tokens = {_digest(each.token): each.site for each in known}
        self.sites = tuple(sorted({each.site for each in known}))

    def site_of(self, request: Request) -> tuple[str, bool]:
        """The site, and whether a server speaks for it; raises Problem 401."""
        authorization = request.headers.get("authorization")
        if authorization is not None:
            bearer = authorization[: len(_BEARER)].lower() == _BEARER
            site = self._tokens.get(_digest(authorization[len(_BEARER) :].strip())) if bearer else None
            return self._known(site), True
        return self._known(self.site_of_key(request)), False

    def site_of_key(self, request: Request) -> str | None:
        """The site whose public key stands in the header or the address (`?k=`), if there is one."""
        key = request.headers.get("x-lapse-site-key") or request.query.get("k", "")
        return self._keys.get(key)

    @staticmethod
    def _known(site: str | None) -> str:
        if site is None:
            raise Problem(
                401, "unauthorized", "the credential is missing or not a site's", headers=_CHALLENGE
            )
        return site


@lru_cache(maxsize=1024)
def parse_address(text: str) -> Address | None:
    """An address, an IPv4 one also where it is mapped into IPv6; None for anything else."""
    text = text.strip()
    try:
        # It takes what `ipaddress` takes, in a tenth of the time, and that has one spelling.
        return Address(4, int.from_bytes(inet_pton(AF_INET, text), "big"), text)
    except (OSError, ValueError):
        return _parse_other(text)


def _parse_other(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    found = (address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address
    return Address(found.version, int(found), str(found))


Ranges = tuple[tuple[int, int, int], ...]
"""Networks as version, first and last address."""


def ranges(networks: Iterable[Network]) -> Ranges:
    """Return networks as `client_address` compares them."""
    return tuple((each.version, int(each.network_address), int(each.broadcast_address)) for each in networks)


def client_address(peer: str | None, forwarded: str | None, trusted: Ranges) -> Address | None:
    """The nearest address that is no trusted proxy's, read from the right of `X-Forwarded-For`."""
    address = parse_address(peer or "")
    if address is None:
        return None
    if trusted and forwarded is not None:
        for hop in reversed(forwarded.split(",")):
            version, number, _ = address
            if not any(version == of and first <= number <= last for of, first, last in trusted):
                break
            before = parse_address(hop)
            if before is None:
                break
            address = before
    return address


def prefix_of(address: Address | None) -> tuple[int, int] | None:
    """What one subscriber usually has: a /24 of IPv4, a /56 of IPv6; None without an address."""
    if address is None:
        return None
    version, number, _ = address
    return version, number >> (32 - _V4_PREFIX if version == 4 else 128 - _V6_PREFIX)


def cors(headers: Mapping[str, str], plan: PolicyPlan, site: str | None) -> Headers:
    """What lets a page of an allowed origin read the answer, of any site's where `site` is None."""
    origin = headers.get("origin")
    if origin is None:
        return ()
    vary = ((b"vary", b"Origin"),)
    plans = plan.sites.values() if site is None else filter(None, (plan.sites.get(site),))
    if any(origin in each.origins for each in plans):
        return ((b"access-control-allow-origin", origin.encode("latin-1")), *vary)
    return vary


def preflight(headers: Mapping[str, str], plan: PolicyPlan, site: str | None, methods: bytes) -> Headers:
    """The answer to a browser's question before it sends; a preflight carries no site key in a header."""
    allowed = cors(headers, plan, site)
    if len(allowed) < 2:
        return allowed
    return (
        *allowed,
        (b"access-control-allow-methods", methods),
        (b"access-control-allow-headers", _ALLOWED_HEADERS),
        (b"access-control-max-age", b"600"),
    )
