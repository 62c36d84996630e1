"""The outage's judge finds each kind of fault, and its load waits for nobody."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from benchmarks.flood import Asked, Flood
from benchmarks.load import request
from benchmarks.outage import Acknowledged, Times, acknowledged, disordered, figures, lost

ANSWER = b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\nok"


def told(event_id: str, sent: float, answered: float) -> Acknowledged:
    """An event of a 202."""
    return Acknowledged(event_id=event_id, sent=sent, answered=answered, stored="kafka")


def test_every_event_of_a_202_counts_and_no_other_does() -> None:
    """Answers with one id and with several; a 503 and no answer promise nothing."""
    asked = [
        Asked(due=0, sent=1, answered=2, status=202, body=b'{"event_id":"a","stored":"kafka"}'),
        Asked(due=0, sent=1, answered=2, status=202, body=b'{"event_ids":["b","c"],"stored":"spool"}'),
        Asked(due=0, sent=1, answered=2, status=503, body=b'{"title":"unavailable"}'),
        Asked(due=0, sent=1),
    ]
    found = acknowledged(asked)
    assert [(each.event_id, each.stored) for each in found] == [
        ("a", "kafka"),
        ("b", "spool"),
        ("c", "spool"),
    ]


def test_an_acknowledged_event_that_lies_nowhere_is_lost() -> None:
    """What lies there and was told to nobody does not make up for it."""
    assert lost([told("a", 0, 1), told("b", 0, 1)], {("t", 0): ["a", "x"]}) == 1


@pytest.mark.parametrize(
    ("intake", "wrong"),
    [
        (["a", "b"], 0),
        (["b", "a"], 1),
        (["a", "b", "a"], 0),  # sent again: only the first time counts
        (["x", "a", "b"], 0),  # nobody was told of x
    ],
)
def test_what_was_answered_before_another_was_sent_lies_before_it(intake: list[str], wrong: int) -> None:
    """Where a was over before b began, only b before a is wrong."""
    assert disordered([told("a", 0, 1), told("b", 2, 3)], {("t", 0): intake}) == wrong


def test_requests_under_way_together_have_no_order_nor_have_partitions() -> None:
    """Neither requests that overlap nor those in other partitions can be wrong."""
    assert disordered([told("a", 0, 2), told("b", 1, 3)], {("t", 0): ["b", "a"]}) == 0
    assert disordered([told("a", 0, 1), told("b", 2, 3)], {("t", 0): ["b"], ("t", 1): ["a"]}) == 0


def test_figures_count_what_was_lost_twice_and_refused() -> None:
    """Each fault has its row."""
    times = Times(killed=1, back=5, drained=7, worked=0.5)
    body = b'{"event_id":"%s","stored":"spool"}'
    asked = [
        Asked(due=2, sent=2, answered=3, status=202, body=body % b"a"),
        Asked(due=3, sent=3, answered=4, status=202, body=body % b"b"),
        Asked(due=4, sent=4, answered=4, status=503),
    ]
    found = {each.what: each.figure for each in figures(asked, {("t", 0): ["a", "a"]}, times)}
    assert found["acknowledged events lost"] == 1
    assert found["events on intake twice"] == 1
    assert found["requests refused (503)"] == 1
    assert found["seconds from its return until the spool was empty"] == 2


async def test_a_server_that_answers_nobody_is_asked_at_the_same_rate() -> None:
    """A hundred requests are under way together, each on a connection of its own."""
    asked, answering, gone = asyncio.Semaphore(0), asyncio.Event(), asyncio.Semaphore(0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.release()
        await answering.wait()
        writer.write(ANSWER)
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        gone.release()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    flood = Flood(port, [request("GET", "/")], rate=1_000, seconds=0.1)
    running = asyncio.create_task(flood.run())
    for _ in range(100):
        await asyncio.wait_for(asked.acquire(), 20)
    answering.set()
    found = await running
    for _ in range(100):
        await asyncio.wait_for(gone.acquire(), 20)
    server.close()
    assert [each.status for each in found] == [202] * 100
    assert all(each.due <= each.sent <= each.answered for each in found)
