"""Opening deliveries at the moment of use: keys come from the key endpoint in batches and are not kept.

Needs the extra `open`. The bytes are described in docs/wire.md; this module derives no key.
"""

import hmac
import ssl
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lapse_client.errors import Invalid, KeysUnavailable, Turned
from lapse_client.records import Compartment, Delivery

MOST = 500
"""Deliveries in one request to the key endpoint."""
_LATER = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """Why a compartment does not open: its code, and what lies behind it where that may be said."""

    n: int
    code: str
    cause: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A delivery, opened as far as it may be; use `fields` now, and ask again next time."""

    delivery: Delivery
    fields: Mapping[str, str] = field(repr=False)
    closed: tuple[Closed, ...] = ()


class _Key(msgspec.Struct, frozen=True):
    n: int
    key: str | None = None
    closed: dict[str, Any] | None = None


class _Result(msgspec.Struct, frozen=True):
    delivery_id: str
    compartments: list[_Key]


class _Answer(msgspec.Struct, frozen=True):
    results: list[_Result]


class KeyClient:
    """Asks one key endpoint as one processor: `token` is its `lk_<processor>_...`."""

    def __init__(
        self, url: str, token: str, *, ca_file: Path | None = None, timeout: float = 10.0, retries: int = 3
    ) -> None:
        """`ca_file` is the authority Lapse made (`ca.pem`); without it the machine's own are trusted."""
        trusted: ssl.SSLContext | bool = ssl.create_default_context(cafile=str(ca_file)) if ca_file else True
        self._http = httpx.Client(
            base_url=url, verify=trusted, timeout=timeout, headers={"authorization": f"Bearer {token}"}
        )
        self._retries = retries

    def open(self, deliveries: Sequence[Delivery]) -> Iterator[Opened]:
        """Open deliveries in order, at most 500 a request; raises KeysUnavailable or Turned."""
        for start in range(0, len(deliveries), MOST):
            batch = deliveries[start : start + MOST]
            for delivery, result in zip(batch, self._ask(batch).results, strict=True):
                yield _opened(delivery, result)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> "KeyClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, batch: Sequence[Delivery]) -> _Answer:
        body = msgspec.json.encode({"deliveries": [_question(delivery) for delivery in batch]})
        for attempt in range(self._retries + 1):
            if attempt:
                time.sleep(0.2 * 2**attempt)
            try:
                answer = self._http.post(
                    "/v1/keys", content=body, headers={"content-type": "application/json"}
                )
            except httpx.HTTPError:
                continue
            if answer.status_code == 200:
                return msgspec.json.decode(answer.content, type=_Answer)
            if answer.status_code not in _LATER:
                raise Turned("the key endpoint refused the request", code=f"http_{answer.status_code}")
        raise KeysUnavailable("the key endpoint does not answer", code="unavailable")


def _question(delivery: Delivery) -> dict[str, Any]:
    """A delivery as the key endpoint wants it: without anything sealed."""
    compartments = []
    for n, compartment in enumerate(delivery.compartments):
        wraps = []
        for wrap in compartment.wraps:
            if not 0 <= wrap.grant < len(delivery.grants):
                raise Invalid("a wrap names a grant that is not there", code="schema_mismatch")
            grant = delivery.grants[wrap.grant]
            wraps.append(
                {
                    "purpose": grant.purpose,
                    "period": grant.period,
                    "terms": grant.terms,
                    "handle": grant.handle.hex(),
                    "key": b64encode(wrap.key).decode(),
                }
            )
        compartments.append({"n": n, "wraps": wraps})
    return {
        "delivery_id": delivery.delivery_id.hex(),
        "revision": delivery.revision,
        "source": delivery.source,
        "compartments": compartments,
    }


def _opened(delivery: Delivery, result: _Result) -> Opened:
    fields: dict[str, str] = {}
    closed: list[Closed] = []
    for answer in result.compartments:
        if answer.key is None:
            why = answer.closed or {}
            closed.append(Closed(n=answer.n, code=str(why.get("code", "unknown")), cause=why.get("cause")))
            continue
        clear = unseal(delivery, answer.n, b64decode(answer.key))
        if clear is None:
            closed.append(Closed(n=answer.n, code="unknown"))
        else:
            fields |= clear
    return Opened(delivery=delivery, fields=fields, closed=tuple(closed))


def unseal(delivery: Delivery, n: int, key: bytes) -> dict[str, str] | None:
    """The fields of compartment `n` under its content key; None where commitment or tag are wrong."""
    compartment = delivery.compartments[n]
    commitment, nonce, sealed = compartment.sealed[:16], compartment.sealed[16:28], compartment.sealed[28:]
    expected = hmac.digest(key, b"lapse/v1/commit" + nonce, sha256)[:16]
    if not hmac.compare_digest(commitment, expected):
        return None
    try:
        clear = AESGCM(key).decrypt(nonce, sealed, associated(delivery, n, compartment))
        return msgspec.json.decode(clear, type=dict[str, str])
    except (InvalidTag, ValueError, msgspec.DecodeError):
        return None


def _text(value: str) -> bytes:
    raw = value.encode()
    return len(raw).to_bytes(2, "big") + raw


def associated(delivery: Delivery, n: int, compartment: Compartment) -> bytes:
    """The associated data of a delivered compartment (docs/wire.md, Deliveries)."""
    parts = [
        b"lapse/v1/delivery",
        delivery.delivery_id,
        delivery.revision.to_bytes(4, "big"),
        _text(delivery.source),
        n.to_bytes(2, "big"),
        len(compartment.categories).to_bytes(2, "big"),
        *(_text(category) for category in compartment.categories),
        len(delivery.grants).to_bytes(2, "big"),
    ]
    for grant in delivery.grants:
        parts += [
            _text(grant.purpose),
            grant.period.to_bytes(8, "big", signed=True),
            grant.terms.to_bytes(4, "big"),
            grant.handle,
            grant.decided.to_bytes(8, "big"),
            grant.use_until.to_bytes(8, "big", signed=True),
        ]
    return b"".join(parts)
