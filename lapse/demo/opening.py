"""Opening deliveries as any outsider would: docs/wire.md and the key endpoint, none of Lapse's own keys."""

from __future__ import annotations

import base64
import hmac
import json
import ssl
import struct
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas.errors import Unavailable
from schemas.models import RecordDelivered

MOST = 500
"""Deliveries in one request."""


class KeyEndpoint:
    """`POST /v1/keys` with one recipient's token."""

    def __init__(self, url: str, token: str, ca_file: str) -> None:
        self._url, self._token = url.rstrip("/") + "/v1/keys", token
        context = ssl.create_default_context(cafile=ca_file)
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )

    def ask(self, deliveries: Sequence[RecordDelivered]) -> Iterator[dict[str, Any]]:
        """One result per delivery, in order: `{compartments: [{n, key} | {n, closed}]}`."""
        for start in range(0, len(deliveries), MOST):
            yield from self._post([in_question(delivery) for delivery in deliveries[start : start + MOST]])

    def _post(self, asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
        request = urllib.request.Request(  # noqa: S310 - the address comes from the run file
            self._url,
            data=json.dumps({"deliveries": asked}).encode(),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
        )
        try:
            with self._opener.open(request, timeout=30) as answer:
                return list(json.load(answer)["results"])
        except (urllib.error.URLError, TimeoutError, OSError) as error:
            raise Unavailable("unavailable", "the key endpoint does not answer", self._url) from error


def in_question(delivery: RecordDelivered) -> dict[str, Any]:
    """One delivery in the body of `POST /v1/keys` (docs/wire.md)."""
    return {
        "delivery_id": delivery.delivery_id.hex(),
        "revision": delivery.revision,
        "source": delivery.source,
        "compartments": [
            {
                "n": n,
                "wraps": [
                    {
                        "purpose": delivery.grants[wrap.grant].purpose,
                        "period": delivery.grants[wrap.grant].period,
                        "terms": delivery.grants[wrap.grant].terms,
                        "handle": delivery.grants[wrap.grant].handle.hex(),
                        "key": base64.b64encode(wrap.key).decode(),
                    }
                    for wrap in compartment.wraps
                ],
            }
            for n, compartment in enumerate(delivery.compartments)
        ],
    }


def opened(keys: KeyEndpoint, deliveries: Sequence[RecordDelivered]) -> list[dict[int, dict[str, str]]]:
    """What can be read of each delivery at this moment, by compartment; empty where nothing opens."""
    return [
        _parts(delivery, result) for delivery, result in zip(deliveries, keys.ask(deliveries), strict=True)
    ]


def closed_codes(result: dict[str, Any]) -> list[str | None]:
    """Per compartment: None where a key was given, else the code of the refusal."""
    return [None if "key" in part else part["closed"]["code"] for part in result["compartments"]]


def _parts(delivery: RecordDelivered, result: dict[str, Any]) -> dict[int, dict[str, str]]:
    return {
        part["n"]: json.loads(unseal(delivery, part["n"], base64.b64decode(part["key"])))
        for part in result["compartments"]
        if "key" in part
    }


def unseal(delivery: RecordDelivered, n: int, key: bytes) -> bytes:
    """Check the commitment, then decrypt; ValueError where it does not open."""
    sealed = delivery.compartments[n].sealed
    commitment, nonce, ciphertext = sealed[:16], sealed[16:28], sealed[28:]
    if not hmac.compare_digest(hmac.digest(key, b"lapse/v1/commit" + nonce, sha256)[:16], commitment):
        raise ValueError("the commitment names another key")
    try:
        return AESGCM(key).decrypt(nonce, ciphertext, _aad(delivery, n))
    except InvalidTag:
        raise ValueError("the sealed bytes were changed") from None


def _aad(delivery: RecordDelivered, n: int) -> bytes:
    categories = delivery.compartments[n].categories
    parts = [
        b"lapse/v1/delivery",
        delivery.delivery_id,
        struct.pack(">I", delivery.revision),
        _text(delivery.source),
    ]
    parts += [
        struct.pack(">HH", n, len(categories)),
        *map(_text, categories),
        struct.pack(">H", len(delivery.grants)),
    ]
    for grant in delivery.grants:
        parts += [_text(grant.purpose), struct.pack(">qI", grant.period, grant.terms), grant.handle]
        parts.append(struct.pack(">Qq", grant.decided, grant.use_until))
    return b"".join(parts)


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack(">H", len(raw)) + raw
