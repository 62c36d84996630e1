"""The client's ids from a registry, on a server of this process."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from lapse_client import CookieObserved, Invalid, Registry, Undelivered
from lapse_client.encoding import catalogue, encode

EVENT = CookieObserved(
    name="page_view", url="https://www.example/", site="www", collected_at=1_700_000_000_000_000
)


@contextmanager
def registry(answers: dict[str, tuple[int, Any]]) -> Iterator[tuple[str, list[Any]]]:
    """A server that answers these paths: its address, and what it was asked."""
    asked: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            asked.append(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
            status, body = answers.get(self.path, (404, {"error_code": 40401}))
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = _answer

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/api", asked
        finally:
            server.shutdown()
            thread.join()


def test_an_event_is_written_under_the_registrys_id() -> None:
    """The registry is asked once, with the compact text; only the id in front differs."""
    with registry({"/api/subjects/lapse.v1.CookieObserved": (200, {"id": 70_001})}) as (url, asked):
        ids = Registry(url)
        values = [encode(EVENT, ids) for _ in range(2)]
    assert values[0][1:5] == (70_001).to_bytes(4, "big")
    assert encode(EVENT)[1:5] == catalogue()["CookieObserved"]["id"].to_bytes(4, "big")
    assert [value[5:] for value in values] == [encode(EVENT)[5:]] * 2
    assert len(asked) == 1
    assert ": " not in json.loads(asked[0])["schema"].split('"doc"')[0]


def test_a_name_is_found_behind_an_id() -> None:
    """With the namespace beside the name or inside it."""
    for schema in (
        {"name": "RecordDelivered", "namespace": "lapse.v1"},
        {"name": "lapse.v1.RecordDelivered"},
    ):
        with registry({"/api/schemas/ids/7": (200, {"schema": json.dumps(schema)})}) as (url, _):
            assert Registry(url).name_of(7) == "RecordDelivered"


def test_a_registry_that_cannot_tell_leaves_the_event_undelivered() -> None:
    """Unknown, broken or away: to be tried again, never written under a guessed id."""
    broken = registry({"/api/subjects/lapse.v1.CookieObserved": (500, {})})
    with broken as (url, _), pytest.raises(Undelivered, match="500"):
        encode(EVENT, Registry(url))
    with pytest.raises(Undelivered, match="no answer"):
        encode(EVENT, Registry(url))
    with pytest.raises(Invalid):
        Registry("ftp://registry.example")
