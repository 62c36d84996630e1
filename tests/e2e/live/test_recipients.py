"""Recipients on the running system: the examples as a team runs them, the partner, the clear topic."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.e2e.live.system import Person, System, allows, somebody
from tests.e2e.live.wire import Message
from tests.support.live import REPOSITORY, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

DEMO = REPOSITORY / "policies" / "demo.yaml"
EXAMPLES = REPOSITORY / "examples"
READ_SECONDS = "6"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The demo's policy with its fake partner, on a clock that stands still until a test advances it."""
    with System(
        tmp_path_factory.mktemp("recipients") / "data", DEMO, clock="manual"
    ).from_nothing() as system:
        yield system


@pytest.fixture(scope="module")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The JavaScript example, installed from its lock without running anybody's scripts."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    copy = tmp_path_factory.mktemp("javascript") / "example"
    shutil.copytree(EXAMPLES / "javascript", copy, ignore=shutil.ignore_patterns("node_modules"))
    done = subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=copy,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        pytest.skip("npm ci cannot reach a registry")
    return copy


def consume(system: System, language: str, folder: Path, processor: str = "crm") -> list[dict[str, Any]]:
    """Run an example and return what it printed."""
    command = {
        "python": [sys.executable, str(EXAMPLES / "python" / "consumer.py")],
        "javascript": ["node", str(folder / "consumer.mjs")],
    }[language]
    done = subprocess.run(
        [*command, str(system.data / "run.json"), processor, READ_SECONDS],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def submit(system: System, person: Person, *consents: Mapping[str, Any]) -> None:
    """Send a form as of the system's clock, which these tests move ahead of the host's."""
    system.submit(person, *consents, server=True, collected_at=system.run["clock"]["now"])


def held(system: System) -> list[dict[str, Any]]:
    """What the fake partner holds."""
    url = system.run["processors"]["partner"]["fake_url"]
    return list(system.http("GET", f"{url}/_held").json()["objects"])


def fault(system: System, kind: str, times: int) -> None:
    """Let the fake partner misbehave."""
    url = system.run["processors"]["partner"]["fake_url"]
    answer = system.http("PUT", f"{url}/_fault", {"kind": kind, "times": times, "seed": 3})
    assert answer.status == 200


def holds(system: System, person: Person) -> bool:
    """Whether the partner has this person's name."""
    return any(each["fields"].get("name") == person.name for each in held(system))


def shelves(system: System, person: Person) -> dict[str, dict[str, str]]:
    """Where this person stands at each stand-in: objects by id, what they hold as text."""
    found = {}
    for name, each in system.run["processors"].items():
        if each.get("fake_url"):
            objects = system.http("GET", f"{each['fake_url']}/_held").json()["objects"]
            texts = {str(one["id"]): json.dumps(one["fields"]) for one in objects}
            found[name] = {key: text for key, text in texts.items() if person.email in text}
    return found


def kind(message: Message) -> str:
    """What a clear record says it is."""
    return dict(message.headers)["lapse-type"].decode()


def body(message: Message) -> dict[str, Any]:
    """A clear record."""
    return dict(json.loads(message.value or b"{}"))


def test_a_correction_reaches_every_recipient_and_ends_nobody_there(demo: System) -> None:
    """The new value takes the old one's place in the very objects; an erasure before it would be for good."""
    person, right = somebody(), somebody().name
    submit(demo, person, *allows("marketing_email"))
    demo.quiet()
    before = shelves(demo, person)
    named = {name for name, objects in before.items() if person.name in str(objects)}
    assert named >= {"partner"}, before.keys()
    demo.do("subject", "correct", person.who, "--set", f"name={right}", "--reason", "asked", "--yes")
    until(lambda: person.name not in str(shelves(demo, person)), 30, "the old name is gone everywhere")
    demo.quiet()
    after = shelves(demo, person)
    assert {name: set(objects) for name, objects in after.items()} == {
        name: set(objects) for name, objects in before.items()
    }
    assert {name for name, objects in after.items() if right in str(objects)} == named


def test_an_unsubscription_at_the_vendor_is_a_withdrawal_everywhere(demo: System) -> None:
    """As Mailchimp tells it, secret in the address; with another secret nothing is believed."""
    person = somebody()
    submit(demo, person, *allows("marketing_email"))
    demo.quiet()
    file = demo.data / "keys" / "processors" / "newsletter.mailchimp.fake"
    told = {
        "type": "unsubscribe",
        "fired_at": f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M:%S}",
        "data[email]": person.email,
        "data[list_id]": "demo000001",
    }
    form, url = urlencode(told).encode(), f"{demo.run['urls']['keys']}/in/newsletter?secret="
    assert demo.http("GET", url).status == 200
    assert demo.http("POST", f"{url}guess", form).status == 403
    secret = json.loads(file.read_text())["hook_secret"]
    assert demo.http("POST", f"{url}{secret}", form).status == 200
    assert demo.http("POST", f"{url}{secret}", form).status == 200, "again, as vendors do"
    until(lambda: stated(demo, person, "marketing_email") == "denied", 30, "the withdrawal is applied")
    demo.quiet()
    causes = {(message.record or {}).get("cause") for message in demo.lapses("crm")}
    assert "withdrawal" in causes, "everybody who had it is told"


def stated(system: System, person: Person, purpose: str) -> str | None:
    """What the vault has of a person's word about a purpose."""
    [rows] = system.do("subject", "show", person.who).values()
    return next((each["state"] for each in rows if each["purpose"] == purpose), None)


def test_a_recalled_partner_gives_everything_back_and_there_is_a_report(demo: System, tmp_path: Path) -> None:
    """The report says what it held and what it answered, and nothing of anybody."""
    person = somebody()
    submit(demo, person)
    until(lambda: holds(demo, person), 60, "the partner holds it")
    demo.do("processor", "recall", "partner", "--reason", "a test of the recall")
    page = tmp_path / "recall.html"
    try:
        until(lambda: recall(demo, page)["state"] == "complete", 60, "everything was given back")
        assert not holds(demo, person)
        found = recall(demo, page)
        assert found["held"]["objects"] >= 1 and sum(found["answered"].values()) >= 1
        assert found["open"] == {"objects": 0, "not_asked_yet": 0}
        assert "a test of the recall" in page.read_text()
        assert not any(value.decode() in page.read_text() for value in person.values)
        assert demo.do("task", "list", "--processor", "partner")["tasks"] == []
    finally:
        demo.do("processor", "resume", "partner")


def test_what_nobody_answers_is_a_task_until_somebody_shows_that_it_is_done(demo: System) -> None:
    """The CRM has a consumer of its own, which does not run: its recall is late, and closed by hand."""
    demo.do("processor", "recall", "crm", "--reason", "a test of tasks")
    try:
        demo.do("clock", "advance", "PT60S", "--confirm")
        until(lambda: bool(late(demo)), 60, "the recall is late")
        [name] = late(demo)
        shown = demo.do("task", "done", name, "--evidence", "ab" * 32, "--yes")
        assert shown["state"] == "done"
        assert name not in late(demo)
        assert demo.do("recall", "show", "crm")["closed_by_hand"] == "ab" * 32
        assert demo.lapse("task", "done", name, "--evidence", "ab" * 32, "--yes").code == 3
    finally:
        demo.do("processor", "resume", "crm")


def late(system: System) -> list[str]:
    """The recalls nobody has answered in time."""
    rows = system.do("task", "list", "--processor", "crm")["tasks"]
    return [row["task"] for row in rows if row["cause"] == "recall" and row["kind"] == "late"]


def recall(system: System, page: Path) -> dict[str, Any]:
    """How the partner's recall stands."""
    return system.do("recall", "show", "partner", "--report", str(page))


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_an_example_consumer_opens_late_and_drops_what_lapsed(
    demo: System, language: str, request: pytest.FixtureRequest
) -> None:
    """In another language and with nothing of ours it reads, opens, and after the due date holds nothing."""
    folder = request.getfixturevalue("node_modules") if language == "javascript" else EXAMPLES
    person = somebody()
    submit(demo, person, *allows("marketing_email"))
    demo.quiet()
    [mine] = [o for o in consume(demo, language, folder) if o["fields"].get("email") == person.email]
    assert mine["fields"]["message"] == person.message
    assert mine["closed"] == []
    demo.do("consent", "withdraw", person.who, "marketing_email")
    [mine] = [o for o in consume(demo, language, folder) if o["fields"].get("email") == person.email]
    assert mine["closed"] == []  # the answer to the person still needs it
    demo.do("clock", "advance", "PT60S", "--confirm")
    demo.quiet()
    assert person.email not in json.dumps(consume(demo, language, folder))


@pytest.mark.parametrize(("trouble", "killed"), [("5xx", False), ("429", False), ("lost_answer", True)])
def test_a_partner_in_trouble_still_ends_with_exactly_what_it_may_have(
    demo: System, trouble: str, killed: bool
) -> None:
    """Faults, and a connect role killed in the middle of them: everything arrives, everything leaves."""
    people = [somebody() for _ in range(4)]
    fault(demo, trouble, 3)
    for person in people[:2]:
        submit(demo, person)
    if killed:
        demo.kill_role("connect")
    for person in people[2:]:
        submit(demo, person)
    until(lambda: all(holds(demo, p) for p in people), 90, "the partner holds everybody")
    fault(demo, trouble, 3)
    demo.do("clock", "advance", "PT30S", "--confirm")
    until(lambda: not any(holds(demo, p) for p in people), 90, "the partner has erased everybody")
    demo.quiet()


def test_a_suspended_partner_gets_nothing_new_but_its_lapses(demo: System) -> None:
    """What it holds is still taken back; what came meanwhile arrives on resumption, if it still lives."""
    before = somebody()
    submit(demo, before)
    demo.quiet()
    assert holds(demo, before)
    demo.do("processor", "suspend", "partner", "--reason", "test")
    try:
        during = somebody()
        submit(demo, during)
        demo.do("subject", "erase", before.who, "--reason", "asked", "--yes")
        demo.quiet()
        until(lambda: not holds(demo, before), 30, "erased at the partner")
        assert not holds(demo, during)
    finally:
        demo.do("processor", "resume", "partner")


def test_on_the_clear_topic_no_record_lies_behind_its_lapse(demo: System) -> None:
    """`plain.<name>` carries what the grant allows, then the lapse, in one partition and in this order."""
    person = somebody()
    submit(demo, person, *allows("marketing_email"))
    demo.quiet()
    demo.do("clock", "advance", "PT60S", "--confirm")
    demo.quiet()
    messages = demo.kafka("superuser").read("plain.warehouse")
    clear = [m for m in messages if kind(m) == "RecordOpened"]
    assert any(body(m)["fields"]["country"] == person.country for m in clear)
    assert all(set(body(m)["fields"]) <= {"country", "collected_at"} for m in clear)
    for record in clear:
        uses = {p["purpose"] for p in body(record)["purposes"]}
        after = [m for m in messages if m.partition == record.partition and m.offset > record.offset]
        assert uses <= {body(m)["scope"].get("purpose") for m in after if kind(m) == "Depersonalized"}


def test_onboarding_hands_over_all_that_a_team_needs(demo: System) -> None:
    """Facts as JSON, without a secret in them."""
    facts = demo.do("processor", "onboard", "crm")
    assert facts["topic"] == "processor.crm"
    assert len(facts["how"]) == 10
    assert "token" not in facts and "password" not in facts
    assert demo.http("GET", facts["endpoints"]["openapi"]).status == 200
    for number in facts["schemas"].values():
        assert demo.http("GET", facts["endpoints"]["schemas"].replace("{id}", str(number))).status == 200
