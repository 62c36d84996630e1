"""Opening: what the vault sealed the client opens with the endpoint's key, and with nothing else."""

from __future__ import annotations

import json
import os
import threading
from base64 import b64decode, b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest

from lapse.keyservice.shapes import read_keys
from lapse_client import Delivery, Invalid, KeysUnavailable, Turned, decode
from lapse_client.opening import MOST, KeyClient, associated, unseal
from schemas import codec, models
from schemas.ids import DeliveryId, Handle, Micros, Period, Sequence, SubjectRef, Terms
from vault.keys import delivery_kek, delivery_root, unwrap
from vault.sealing import DeliveredPart, DeliveryHeader, delivery_aad, seal_delivery

K = bytes(range(32))
ID = DeliveryId(b"d" * 16)
GRANTS = [
    models.Grant(
        purpose=purpose,
        period=Period(-3 + n),
        terms=Terms(1),
        handle=Handle(bytes([n]) * 16),
        decided=Sequence(7),
        use_until=Micros(5_000_000),
    )
    for n, purpose in enumerate(("answer_request", "marketing_email"))
]


def sealed(delivery_id: DeliveryId = ID) -> Delivery:
    """A delivery of two compartments, sealed by the vault, as a consumer reads it."""
    header = DeliveryHeader(delivery_id, 1, "form/request-demo", GRANTS)
    parts = [
        DeliveredPart("user.contact.email", [0, 1], {"email": "jo@example.org"}),
        DeliveredPart("user.name", [0], {"name": "Jo Ä", "collected_at": "2026-01-01T00:00:00Z"}),
    ]
    record = models.RecordDelivered(
        delivery_id=delivery_id,
        subject_ref=SubjectRef(b"s" * 16),
        revision=1,
        source="form/request-demo",
        schema_id=1,
        compartments=seal_delivery(header, parts, [K, K], "crm", os.urandom),
        grants=GRANTS,
    )
    found = decode(codec.encode(record))
    assert isinstance(found, Delivery)
    return found


def key_of(delivery: Delivery, n: int) -> bytes:
    """What the key endpoint would answer for a compartment."""
    compartment = delivery.compartments[n]
    place = (DeliveryId(delivery.delivery_id), delivery.revision, n, compartment.categories[0])
    key = unwrap(delivery_kek(delivery_root(K, "crm"), *place), compartment.wraps[0].key)
    assert key is not None
    return key


class Endpoint(BaseHTTPRequestHandler):
    """A key endpoint that opens compartment 0 and answers as its server's script says."""

    server: Server

    def do_POST(self) -> None:
        """Answer `POST /v1/keys`, reading with the real endpoint's own shapes."""
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.server.script:
            self.send_response(self.server.script.pop(0))
            self.end_headers()
            return
        asked = read_keys(body)
        self.server.asked.append(len(asked))
        results: list[dict[str, Any]] = []
        for each in asked:
            wrap = b64decode(each.compartments[0].wraps[0].key)
            kek = delivery_kek(delivery_root(K, "crm"), each.id_bytes, each.revision, 0, "user.contact.email")
            clear = unwrap(kek, wrap)
            assert clear is not None
            key = b64encode(clear).decode()
            closed = {"code": "withdrawn", "cause": "withdrawal", "since": None}
            compartments = [{"n": 0, "key": key, "use_until": "x"}, {"n": 1, "closed": closed}]
            results.append({"delivery_id": each.delivery_id, "revision": 1, "compartments": compartments})
        answer = json.dumps({"as_of": "x", "results": results}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """The endpoint's server, with what it was asked and what it should answer first."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Endpoint)
        self.asked: list[int] = []
        self.script: list[int] = []


@pytest.fixture
def endpoint() -> Iterator[Server]:
    """A running key endpoint."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def client(endpoint: Server) -> KeyClient:
    """A client of it."""
    return KeyClient(f"http://127.0.0.1:{endpoint.server_port}", "lk_crm_x", retries=1)


def test_the_context_is_the_vaults() -> None:
    """The associated data is computed as the vault computes it."""
    delivery = sealed()
    header = DeliveryHeader(ID, 1, "form/request-demo", GRANTS)
    for n, compartment in enumerate(delivery.compartments):
        assert associated(delivery, n, compartment) == delivery_aad(header, n, compartment.categories)


def test_the_right_key_opens_and_nothing_else_does() -> None:
    """Another key, a flipped bit, another place or another grant: nothing."""
    delivery = sealed()
    assert unseal(delivery, 0, key_of(delivery, 0)) == {"email": "jo@example.org"}
    assert unseal(delivery, 1, key_of(delivery, 1)) == {
        "name": "Jo Ä",
        "collected_at": "2026-01-01T00:00:00Z",
    }
    assert unseal(delivery, 0, key_of(delivery, 1)) is None
    first = delivery.compartments[0]
    for at in (0, 20, len(first.sealed) - 1):
        flipped = bytearray(first.sealed)
        flipped[at] ^= 1
        broken = msgspec.structs.replace(first, sealed=bytes(flipped))
        assert (
            unseal(msgspec.structs.replace(delivery, compartments=[broken]), 0, key_of(delivery, 0)) is None
        )
    later = [msgspec.structs.replace(each, use_until=9) for each in delivery.grants]
    assert unseal(msgspec.structs.replace(delivery, grants=later), 0, key_of(delivery, 0)) is None


def test_deliveries_open_in_batches(endpoint: Server) -> None:
    """At most 500 in one request, in order; what is closed says its code."""
    deliveries = [sealed(DeliveryId(n.to_bytes(16, "big"))) for n in range(MOST + 3)]
    with client(endpoint) as keys:
        opened = list(keys.open(deliveries))
    assert endpoint.asked == [MOST, 3]
    assert [each.delivery.delivery_id for each in opened] == [each.delivery_id for each in deliveries]
    assert {each.fields["email"] for each in opened} == {"jo@example.org"}
    assert all(
        [(c.n, c.code, c.cause) for c in each.closed] == [(1, "withdrawn", "withdrawal")] for each in opened
    )
    assert "jo@" not in repr(opened[0])


def test_an_endpoint_that_is_busy_is_asked_again(endpoint: Server) -> None:
    """429 and 503 are retried; other refusals are not; nobody there is KeysUnavailable."""
    endpoint.script = [503]
    with client(endpoint) as keys:
        assert len(list(keys.open([sealed()]))) == 1
        endpoint.script = [401]
        with pytest.raises(Turned):
            list(keys.open([sealed()]))
        endpoint.script = [503, 429]
        with pytest.raises(KeysUnavailable):
            list(keys.open([sealed()]))
        assert list(keys.open([])) == []
    with KeyClient("http://127.0.0.1:9", "x", retries=0) as nobody, pytest.raises(KeysUnavailable):
        list(nobody.open([sealed()]))


def test_a_delivery_that_contradicts_itself_is_refused(endpoint: Server) -> None:
    """A wrap for a grant that is not there is not asked about."""
    delivery = sealed()
    with client(endpoint) as keys, pytest.raises(Invalid):
        list(keys.open([msgspec.structs.replace(delivery, grants=[])]))


def test_keys_are_base64_of_32_bytes() -> None:
    """A key of another length opens nothing and breaks nothing."""
    assert unseal(sealed(), 0, b64decode("AAAA")) is None
