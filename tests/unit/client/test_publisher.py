"""The publisher's promises: ids, batches, retries, full queues, flushing, forking, and what fails at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from lapse.collector.summary import summary
from lapse_client import (
    AsyncPublisher,
    Consent,
    ConsentStated,
    CookieObserved,
    EmailOpened,
    FormSubmitted,
    Identifier,
    Invalid,
    Policy,
    Publisher,
    QueueFull,
    Rules,
    Turned,
    Undelivered,
    Visit,
    visit,
)
from lapse_client.http import HttpTransport, fetch_policy
from lapse_client.records import Publishable
from lapse_client.transport import MemoryTransport, Result
from schemas import models
from tests.unit.collector.harness import TOKEN, Running, demo_plans

REPOSITORY = Path(__file__).parents[3]
POLICY = Policy.from_json(msgspec.json.encode(summary(demo_plans().latest)))
QUICK = Rules(linger=0.01, backoff=0.01)
FORM = FormSubmitted(form="request-demo", fields={"email": "jo@example.org"})
COOKIE = CookieObserved(name="view", url="https://www.demo.example/a")


class Heard:
    """A delivery callback that remembers."""

    def __init__(self) -> None:
        self.answers: dict[bytes, Exception | None] = {}

    def __call__(self, event: Publishable, error: Exception | None) -> None:
        """Remember."""
        assert event.event_id not in self.answers, "each event is told once"
        self.answers[event.event_id] = error


def form(**members: object) -> FormSubmitted:
    """Another form."""
    return FormSubmitted(form="request-demo", fields={"email": "jo@example.org"}, **members)  # type: ignore[arg-type]


# ---- over HTTP, to the real collector ----------------------------------------------------------------------
def test_everything_arrives_as_it_was_published(edge: Running, url: str) -> None:
    """Forms, browser events and consents reach the collector with their ids, times and consents."""
    heard = Heard()
    with Publisher.over_http(url, TOKEN, site="www", on_delivery=heard, rules=QUICK) as publisher:
        sent = form(
            collected_at=1_700_000_000_000_000,
            consents=[Consent(purpose="marketing_email", granted=True)],
            notice="v7",
            signals=["gpc"],
        )
        ids = [publisher.publish(sent)]
        ids += publisher.publish_many(
            msgspec.structs.replace(COOKIE, event_id=os.urandom(16), cookie_id=f"c{n}") for n in range(120)
        )
        said = ConsentStated(
            identifiers=[Identifier(kind="email", value="jo@example.org")],
            consents=[Consent(purpose="marketing_email", granted=False)],
            via="form",
        )
        ids.append(publisher.publish(said))
        assert publisher.flush(20)
    assert heard.answers == {bytes.fromhex(each): None for each in ids}
    records = {record.event_id.hex(): record for record in edge.records()}  # type: ignore[attr-defined]
    assert set(records) == set(ids)
    got = records[ids[0]]
    assert isinstance(got, models.FormSubmitted)
    assert (got.collected_at, got.notice, got.signals) == (1_700_000_000_000_000, "v7", ["gpc"])
    assert got.consents == [models.ConsentStatement(purpose="marketing_email", granted=True, notice="v7")]
    assert got.identifiers == [models.Identifier(kind="email", value="jo@example.org")]
    signal_got = records[ids[-1]]
    assert isinstance(signal_got, models.SignalReceived)
    assert signal_got.via == "form"


def test_one_bad_event_does_not_take_its_neighbours(edge: Running, url: str) -> None:
    """In a batch of browser events the refused one is told so, with code and place; the others arrive."""
    heard = Heard()
    with Publisher.over_http(url, TOKEN, site="www", on_delivery=heard, rules=QUICK) as publisher:
        bad = msgspec.structs.replace(COOKIE, event_id=b"b" * 16, properties={"hue": "x"})
        good = [msgspec.structs.replace(COOKIE, event_id=os.urandom(16)) for _ in range(5)]
        publisher.publish_many([*good, bad])
        assert publisher.flush(20)
    error = heard.answers[b"b" * 16]
    assert isinstance(error, Turned)
    assert (error.code, error.where) == ("unknown_field", "/events/0/properties/hue")
    assert len(edge.sent) == 5


def test_what_http_cannot_carry_is_said(url: str) -> None:
    """An open seen by a server of one's own goes over Kafka."""
    heard = Heard()
    with Publisher.over_http(url, TOKEN, site="www", on_delivery=heard) as publisher:
        publisher.publish(EmailOpened(event_id=b"o" * 16, token="t"))
    assert isinstance(heard.answers[b"o" * 16], Turned)


def test_a_wrong_token_is_for_good(url: str) -> None:
    """401 is not tried again."""
    with closing(HttpTransport(url, "nope")) as transport:
        results = transport.send([FORM])
    assert [getattr(each, "code", None) for each in results] == ["unauthorized"]
    assert isinstance(results[0], Turned)


def test_nobody_there_is_for_later() -> None:
    """A collector that does not answer is worth another try."""
    with closing(HttpTransport("http://127.0.0.1:9", TOKEN)) as transport:
        (result,) = transport.send([FORM])
    assert isinstance(result, Undelivered)
    assert not isinstance(result, Turned)


def test_the_policy_is_fetched_from_the_collector(url: str) -> None:
    """What the collector serves is what the client checks against; nobody there is said."""
    assert fetch_policy(url) == POLICY
    with pytest.raises(Undelivered):
        fetch_policy("http://127.0.0.1:9")
    with pytest.raises(Invalid):
        Policy.from_json("{}")


async def test_asyncio_awaits_durability(edge: Running, url: str) -> None:
    """`deliver` returns when the collector has it and raises when it refuses; `publish` does not wait."""
    async with AsyncPublisher(Publisher.over_http(url, TOKEN, site="www", rules=QUICK)) as publisher:
        event_id = await publisher.deliver(form())
        assert event_id in {each.event_id.hex() for each in edge.sent}
        with pytest.raises(Turned):
            await publisher.deliver(FormSubmitted(form="nope", fields={}))
        ids = await publisher.publish_many([form(), form()])
        await publisher.publish(form())
        assert await publisher.flush(20)
        assert set(ids) < {each.event_id.hex() for each in edge.sent}


# ---- the queue ---------------------------------------------------------------------------------------------
class Scripted(MemoryTransport):
    """A transport that answers from a script, then well; remembers its batches."""

    def __init__(self, *script: Result, gate: threading.Event | None = None) -> None:
        super().__init__()
        self.script = list(script)
        self.gate = gate
        self.batches: list[int] = []

    def send(self, batch: Sequence[Publishable]) -> list[Result]:
        """Answer."""
        if self.gate is not None:
            assert self.gate.wait(20)
        self.batches.append(len(batch))
        result = self.script.pop(0) if self.script else None
        if result is None:
            return super().send(batch)
        return [result] * len(batch)


def test_a_batch_goes_at_a_hundred_or_half_a_second() -> None:
    """A full batch goes at once; a lone event after the linger, without a flush."""
    gate = threading.Event()
    transport = Scripted(gate=gate)
    publisher = Publisher(lambda: transport, site="www", rules=Rules(linger=0.05))
    for _ in range(250):
        publisher.publish(form())
    gate.set()
    assert publisher.flush(10)
    assert transport.batches == [100, 100, 50]
    publisher.publish(form())
    until(lambda: len(transport.events) == 251)
    assert (Rules().batch, Rules().linger, Rules().retries, Rules().queue) == (100, 0.5, 3, 10_000)
    assert publisher.close()


def until(done: Callable[[], bool]) -> None:
    """Wait for a condition."""
    end = time.monotonic() + 10
    while not done():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_failures_are_retried_under_the_same_id() -> None:
    """Three retries; then the callback hears why. What is refused for good is not retried."""
    later, never = Undelivered("x", code="unavailable"), Turned("x", code="bad_argument")
    heard = Heard()
    transport = Scripted(later, later, later)
    with Publisher(lambda: transport, site="www", rules=QUICK, on_delivery=heard) as publisher:
        first = publisher.publish(form())
        assert publisher.flush(10)
        assert [each.event_id.hex() for each in transport.events] == [first]
        transport.script = [later] * 4
        second = publisher.publish(form())
        assert publisher.flush(10)
        transport.script = [never]
        third = publisher.publish(form())
        assert publisher.flush(10)
    assert transport.batches == [1] * 9
    assert heard.answers == {
        bytes.fromhex(first): None,
        bytes.fromhex(second): later,
        bytes.fromhex(third): never,
    }


def test_the_service_says_how_long_to_wait() -> None:
    """Retry-After is honoured, up to the longest backoff."""
    transport = Scripted(Undelivered("x", retry_after=0.3))
    with Publisher(lambda: transport, site="www", rules=QUICK) as publisher:
        began = time.monotonic()
        publisher.publish(form())
        assert publisher.flush(10)
        assert time.monotonic() - began >= 0.3


def full(when: str, heard: Heard) -> tuple[Publisher, threading.Event, Scripted]:
    """A publisher whose queue of three is full and whose transport waits."""
    gate = threading.Event()
    transport = Scripted(gate=gate)
    rules = Rules(queue=3, when_full=when, batch=1, linger=0.0)  # type: ignore[arg-type]  # one of three words
    publisher = Publisher(lambda: transport, site="www", rules=rules, on_delivery=heard)
    publisher.publish(form(event_id=b"0" * 16))
    until(lambda: publisher._outbox._under_way == 1)  # noqa: SLF001 - the first is under way
    for n in range(1, 4):
        publisher.publish(form(event_id=str(n).encode() * 16))
    return publisher, gate, transport


def test_a_full_queue_raises() -> None:
    """By default the caller is told, and what waits is kept."""
    publisher, gate, transport = full("raise", Heard())
    with pytest.raises(QueueFull):
        publisher.publish(form())
    assert len(publisher) == 4
    gate.set()
    assert publisher.close()
    assert len(transport.events) == 4


def test_a_full_queue_blocks() -> None:
    """The caller waits until there is room."""
    publisher, gate, transport = full("block", Heard())
    threading.Timer(0.1, gate.set).start()
    publisher.publish(form())
    assert publisher.close()
    assert len(transport.events) == 5


def test_a_full_queue_drops_the_oldest() -> None:
    """The oldest gives way, and its callback hears so."""
    heard = Heard()
    publisher, gate, transport = full("drop_oldest", heard)
    publisher.publish(form())
    assert isinstance(heard.answers[b"1" * 16], QueueFull)
    gate.set()
    assert publisher.close()
    assert len(transport.events) == 4


def test_a_closed_publisher_takes_nothing_and_tells_what_it_left() -> None:
    """After close nothing is taken; what there was no time for is told to its callback."""
    heard = Heard()
    publisher, gate, _ = full("raise", heard)
    assert not publisher.close(0.05)
    with pytest.raises(QueueFull):
        publisher.publish(form())
    assert [isinstance(heard.answers[str(n).encode() * 16], Undelivered) for n in (1, 2, 3)] == [True] * 3
    gate.set()


# ---- what fails at once ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("event", "code"),
    [
        (FormSubmitted(form="nope", fields={}), "unknown_form"),
        (FormSubmitted(form="request-demo", fields={"shoe": "x"}), "unknown_field"),
        (form(consents=[Consent(purpose="nope", granted=True)]), "unknown_purpose"),
        (form(site="shop"), "unknown_source"),
        (form(event_id=b"short"), "bad_argument"),
        (form(collected_at=2**62), "bad_argument"),
        (msgspec.structs.replace(COOKIE, properties={"hue": "x"}), "unknown_field"),
        (msgspec.structs.replace(COOKIE, consents=[Consent(purpose="x", granted=False)]), "unknown_purpose"),
        (ConsentStated(identifiers=[], consents=[Consent(purpose="x", granted=True)]), "unknown_purpose"),
    ],
)
def test_what_the_policy_does_not_know_fails_at_publish(event: Publishable, code: str) -> None:
    """The caller hears it here and now, without a value in the text, and nothing is queued."""
    publisher, kept = Publisher.in_memory(site="www", policy=POLICY)
    with pytest.raises(Invalid) as refused:
        publisher.publish(event)
    with pytest.raises(Invalid):
        publisher.publish_many([FORM, event])
    assert refused.value.code == code
    assert "shoe" not in str(refused.value)
    assert publisher.flush(1)
    assert kept.events == []


def test_the_policy_names_the_identifiers() -> None:
    """A form's sender is read from its fields, so that Kafka gets what the collector would have added."""
    publisher, kept = Publisher.in_memory(site="www", policy=POLICY, rules=QUICK)
    publisher.publish(FormSubmitted(form="request-demo", fields={"email": " a@example.org ", "phone": ""}))
    publisher.publish(EmailOpened(token="t"))
    assert publisher.flush(5)
    (first, _) = kept.events
    assert isinstance(first, FormSubmitted)
    assert first.identifiers == [Identifier(kind="email", value="a@example.org")]


def test_the_double_fails_as_told() -> None:
    """Tests of one's own can see how the application bears a failure."""
    heard = Heard()
    publisher, kept = Publisher.in_memory(site="www", rules=QUICK, on_delivery=heard)
    kept.failing = Turned("x", code="unknown_form")
    event_id = publisher.publish(form())
    assert publisher.flush(5)
    assert heard.answers == {bytes.fromhex(event_id): kept.failing}


def test_the_visit_is_filled_in() -> None:
    """Cookie, address and agent go into browser events, signals into forms too; old consents nowhere."""
    publisher, kept = Publisher.in_memory(site="www", rules=QUICK)
    served = Visit(
        cookie_id="c1", consents={"analytics": True}, signals=("gpc",), ip="203.0.113.5", user_agent="UA"
    )
    with visit(served):
        publisher.publish(form(signals=["gpc"]))
        publisher.publish(COOKIE)
        publisher.publish(msgspec.structs.replace(COOKIE, cookie_id="mine"))
    assert publisher.flush(5)
    first, second, third = kept.events
    assert isinstance(first, FormSubmitted)
    assert isinstance(second, CookieObserved)
    assert isinstance(third, CookieObserved)
    assert (first.signals, first.consents) == (["gpc"], [])
    assert (second.cookie_id, second.ip, second.user_agent, second.signals) == (
        "c1",
        "203.0.113.5",
        "UA",
        ["gpc"],
    )
    assert second.consents == []
    assert third.cookie_id == "mine"


def test_records_are_silent() -> None:
    """No repr of an event shows a value."""
    assert "jo@" not in repr(FORM)
    assert "jo@" not in repr([Identifier(kind="email", value="jo@example.org")])


# ---- processes ---------------------------------------------------------------------------------------------
SCRIPT = """
import os, signal, sys, time
from lapse_client import FormSubmitted, Publisher, Rules
url, token, how = sys.argv[1:]
publisher = Publisher.over_http(url, token, site="www", rules=Rules(linger=30))
def publish(name):
    publisher.publish(FormSubmitted(form="request-demo", fields={"email": "a@example.org", "name": name}))
publish("parent")
if how == "exit":
    sys.exit(0)
if how == "term":
    print("ready", flush=True)
    time.sleep(30)
if how == "fork":
    child = os.fork()
    publish("child" if child == 0 else "parent again")
    assert publisher.flush(10)
    if child:
        os.waitpid(child, 0)
"""


def names_after(url: str, edge: Running, how: str) -> list[str]:
    """What arrived from a process of its own that ended in this way."""
    child = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, url, TOKEN, how], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    if how == "term":
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGTERM)
    code = child.wait(30)
    child.stdout.close()
    assert code == (-signal.SIGTERM if how == "term" else 0)
    return sorted(record.fields["name"] for record in edge.records())  # type: ignore[attr-defined]  # forms


def test_a_process_that_ends_flushes(edge: Running, url: str) -> None:
    """At exit what waits is sent."""
    assert names_after(url, edge, "exit") == ["parent"]


def test_sigterm_flushes(edge: Running, url: str) -> None:
    """A terminated process sends what waits, and still dies of SIGTERM."""
    assert names_after(url, edge, "term") == ["parent"]


def test_a_forked_worker_has_a_queue_of_its_own(edge: Running, url: str) -> None:
    """Prefork servers: the child sends its own events, the parent's are sent once, by the parent."""
    assert names_after(url, edge, "fork") == ["child", "parent", "parent again"]
