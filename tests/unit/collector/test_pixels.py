"""The clear gif: one answer for every token, and one event for every authentic open."""

from __future__ import annotations

import asyncio
import statistics
import time
import timeit
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from lapse.collector import Limits, metrics
from lapse.collector.framing import Spooled
from lapse.collector.opens import GIF
from schemas.models import EmailOpened
from schemas.plan import Plans
from tests.unit.collector.harness import PIXEL_KEYS, Running, demo_plans, problem, running, settings, token
from vault import tokens
from vault.tokens import open_ids

pytestmark = pytest.mark.asyncio(loop_scope="module")
HEADERS = {
    "content-type": "image/gif",
    "content-length": "43",
    "cache-control": "no-store, no-cache, must-revalidate, private, max-age=0",
    "pragma": "no-cache",
    "expires": "0",
}
FORGED = token()[:-1] + ("A" if token()[-1] != "A" else "B")
TOKENS = [token(), token(-30), FORGED, "x", "x" * 5000, "%20", "a/b", "", "%ff"]


async def settle(edge: Running, count: int) -> None:
    """Wait for the opens that are kept behind the answers."""
    for _ in range(200):
        if len(edge.sent) >= count:
            return
        await asyncio.sleep(0.01)


def gone(edge: Running) -> float:
    """Counted losses."""
    del edge
    return sum(
        sample.value
        for metric in metrics.LOST.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    )


@pytest.mark.parametrize("text", TOKENS)
async def test_every_token_gets_the_same_answer(edge: Running, text: str) -> None:
    """Good, expired, forged and malformed tokens get identical bytes and headers, and no cookie."""
    for method in ("GET", "HEAD"):
        response = await edge.http.request(method, f"/o/{text}.gif")
        headers = dict(response.headers)
        headers.pop("date")
        assert (response.status_code, headers) == (200, HEADERS)
        assert response.content == (GIF if method == "GET" else b"")


async def test_an_open_is_kept_with_its_evidence(edge: Running) -> None:
    """Kind, address and agent; the event id is one of those its message can have."""
    before = int(time.time())
    message_id = b"o" * 16
    text = token(message_id=message_id)
    await edge.http.get(f"/o/{text}.gif", headers={"user-agent": "Thunderbird"})
    await settle(edge, 1)
    (record,) = edge.records()
    assert isinstance(record, EmailOpened)
    assert (record.token, record.site, record.open_kind) == (text, "www", "direct")
    assert (record.ip, record.user_agent) == ("127.0.0.1", "Thunderbird")
    assert record.event_id in set(open_ids(PIXEL_KEYS, message_id, before, int(time.time())))
    assert edge.sent[0].topic == "intake.email-open"


async def test_an_expired_token_is_published_and_a_forged_one_is_not(edge: Running) -> None:
    """Expiry is judged, and said, downstream; a forgery is nobody's message. HEAD publishes nothing."""
    await edge.http.get(f"/o/{FORGED}.gif")
    await edge.http.head(f"/o/{token()}.gif")
    await edge.http.get(f"/o/{token(-30)}.gif")
    await settle(edge, 1)
    await asyncio.sleep(0.05)
    assert len(edge.sent) == 1


async def test_a_flood_of_one_message_is_told_apart_and_bounded(edge: Running) -> None:
    """Sixteen opens of one message in one second are sixteen events; more are a counted loss."""
    edge_clock = edge.collector.edge.now
    at = edge_clock()
    edge.collector.edge.now = lambda: at
    lost = gone(edge)
    try:
        for _ in range(20):
            await edge.http.get(f"/o/{token(message_id=b'f' * 16)}.gif")
        await settle(edge, 16)
    finally:
        edge.collector.edge.now = edge_clock
    assert len(edge.sent) == len({each.event_id for each in edge.sent}) == 16
    assert gone(edge) - lost == 4


async def test_other_methods_and_names_are_not_gifs(edge: Running) -> None:
    """POST is refused; what does not end in .gif is nowhere."""
    problem(await edge.http.post(f"/o/{token()}.gif"), 405, "bad_method")
    assert (await edge.http.get(f"/o/{token()}")).status_code == 405


async def test_headers_that_contradict_each_other_still_get_the_gif(edge: Running) -> None:
    """A gif is owed whatever else is wrong with the request."""
    answer = await edge.raw(
        f"GET /o/{token()}.gif HTTP/1.1\r\nHost: x\r\nOrigin: a\r\nOrigin: b\r\n".encode()
        + b"Connection: close\r\n\r\n"
    )
    assert answer.endswith(GIF)


async def test_no_answer_waits_for_what_is_kept(edge: Running) -> None:
    """With a Kafka that takes a quarter of a second every token is still answered at once, and no sooner."""

    async def slow(events: Sequence[Spooled]) -> list[Spooled]:
        await asyncio.sleep(0.25)
        edge.producer.sent.extend(events)
        return []

    texts = {"good": token(), "expired": token(-30), "forged": FORGED, "malformed": "x"}
    times: dict[str, list[float]] = {name: [] for name in texts}
    edge.producer.send = slow  # type: ignore[method-assign]  # a slow Kafka
    try:
        for _ in range(10):
            for name, text in texts.items():
                began = time.perf_counter()
                await edge.http.get(f"/o/{text}.gif")
                times[name].append(time.perf_counter() - began)
    finally:
        del edge.producer.send
    assert max(statistics.median(each) for each in times.values()) < 0.1
    await settle(edge, 20)


async def test_reading_a_token_costs_the_same_whatever_it_is() -> None:
    """The fastest of many runs differs by little: no early way out tells a real token from another."""

    def cost(text: str) -> float:
        runs = timeit.repeat(
            lambda: tokens.read(text, PIXEL_KEYS, ("shop", "www")),
            number=200,
            repeat=15,
            timer=time.process_time,
        )
        return min(runs)

    costs = [cost(text) for text in (token(), token(-30), FORGED, "x", "B" * 48)]
    # An early way out would save four in five: the rest is the machine's unrest.
    assert max(costs) < 2 * min(costs)


async def test_a_pixel_never_waits_and_counts_what_it_loses(tmp_path: Path) -> None:
    """With Kafka away and no room in the spool the gif comes all the same, and the loss is counted."""
    small = settings(tmp_path)
    small = replace(small, spool=replace(small.spool, max_bytes=1))
    async with running(tmp_path, away=True, with_settings=small) as edge:
        edge.collector.edge.delivery._spool._waiting = 1  # noqa: SLF001 - a spool that is full from the start
        lost = gone(edge)
        response = await edge.http.get(f"/o/{token()}.gif")
        assert (response.status_code, response.content) == (200, GIF)
        for _ in range(100):
            if gone(edge) > lost:
                break
            await asyncio.sleep(0.01)
        assert gone(edge) == lost + 1
        problem(await edge.form(), 503, "unavailable")
        edge.collector.edge.delivery._spool._waiting = 0  # noqa: SLF001 - the same


async def test_too_many_in_flight_are_a_counted_loss(tmp_path: Path) -> None:
    """What is answered and not yet durable is bounded."""
    none = settings(tmp_path, Limits(pixels_in_flight=0))
    async with running(tmp_path, with_settings=none) as edge:
        lost = gone(edge)
        assert (await edge.http.get(f"/o/{token()}.gif")).content == GIF
        await asyncio.sleep(0.05)
        assert gone(edge) == lost + 1
        assert edge.sent == []


async def test_aggregate_mode_records_neither_address_nor_agent(tmp_path: Path) -> None:
    """Where the policy counts per campaign alone, what identifies is not even published."""
    plan = replace(demo_plans().latest, pixel_mode="aggregate")
    async with running(tmp_path, policy=Plans([plan])) as edge:
        await edge.http.get(f"/o/{token()}.gif", headers={"user-agent": "Thunderbird"})
        await settle(edge, 1)
        (record,) = edge.records()
        assert isinstance(record, EmailOpened)
        assert (record.ip, record.user_agent) == (None, None)


async def test_a_trusted_proxy_says_who_opened(tmp_path: Path) -> None:
    """The address is the client's, not the proxy's."""
    proxied = replace(settings(tmp_path), trusted_proxies=(ip_network("127.0.0.0/8"),))
    async with running(tmp_path, with_settings=proxied) as edge:
        await edge.http.get(f"/o/{token()}.gif", headers={"x-forwarded-for": "203.0.113.5"})
        await settle(edge, 1)
        (record,) = edge.records()
        assert isinstance(record, EmailOpened)
        assert record.ip == "203.0.113.5"
