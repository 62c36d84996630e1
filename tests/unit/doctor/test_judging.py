"""What the doctor makes of readings: each trouble has a finding that says what, where and what to do."""

from __future__ import annotations

import io
from collections.abc import Iterable

import pytest
from rich.console import Console

from lapse.backlog import Backlog
from lapse.collector.settings import SpoolSettings
from lapse.doctor import CHECKS, Finding, judging, sheet
from lapse.doctor.examining import Check, examine
from lapse.doctor.finding import bad, well
from lapse.doctor.of_host import SPOOL_BYTES, SPOOL_SECONDS
from schemas.errors import Unavailable

HOUR, DAY = 3600.0, 86_400.0


def word(role: str = "tag", *, ready: bool = True, waits: str | None = None, answers: bool = True) -> Finding:
    """The first finding about one role's word."""
    said = judging.RoleWord(role=role, ready=ready, waiting_for=waits, answers=answers, log="logs/tag.log")
    return next(iter(judging.roles([said])))


def backlog(topic: str, **counts: int) -> Finding:
    """The first finding about one backlog."""
    given = {"unread": 10, "old": 0, "lost": 0, **counts}
    read = Backlog(group="lapse.tag", topic=topic, kept=3 * DAY, **given)
    return next(iter(judging.backlogs([read])))


def disk(free: int) -> Finding:
    """The finding about a disk of a thousand bytes."""
    return next(iter(judging.disks([judging.Disk(folders="data", free=free, total=1000, where="/data")])))


def clock(**more: float) -> Finding:
    """The finding about clocks, the host's being at 1000."""
    return judging.clock(judging.Clocks(host=1000.0, vault=more.pop("vault", 1000.0), **more))


def first(found: Iterable[Finding]) -> Finding:
    """The first of some findings."""
    return next(iter(found))


TROUBLES = {
    "a role waits": (word(ready=False, waits="the broker"), "waits for the broker"),
    "a role has said nothing": (word(ready=False), "nothing yet"),
    "a role is frozen": (word(answers=False), "frozen"),
    "wrong credentials": (first(judging.logins({"tag": "not accepted"}, 8, "b:9")), "not accepted"),
    "a missing right": (first(judging.rights({"tag": ["READ group lapse.tag"]}, {})), "READ group lapse.tag"),
    "many missing rights": (first(judging.rights({"tag": list("abcde")}, {})), "and 2 more"),
    "a right nobody planned": (
        first(judging.rights({}, {"crm": ["READ topic intake.form"]})),
        "nobody planned",
    ),
    "a disk nearly full": (disk(90), "9% free"),
    "a clock behind the vault's": (clock(vault=1010.0), "10 s from the vault's"),
    "a clock that went back": (clock(kept=1030.0), "30 s behind what it said before"),
    "a clock behind the broker's": (clock(appended=1020.0), "20 s behind the broker's"),
    "a clock ahead of the broker's": (clock(ahead=40.0), "40 s ahead of the broker's"),
    "intake near its cap": (
        backlog("intake.form", old=3),
        "3 of 10 unread records are older than half of 3 d",
    ),
    "intake taken by its cap": (
        backlog("intake.form", lost=4),
        "4 records were deleted before they were read",
    ),
    "an old backlog": (backlog("processor.crm", old=10), "10 of 10"),
    "a request overdue": (first(judging.requests({"access": (3, 2)})), "2 not answered in time"),
    "expiry overdue": (judging.expiry(2, 61.0, 0.1, "l"), "2 keys overdue"),
    "a dead man": (judging.expiry(0, 0.0, 90.0, "l"), "last looked at the clock 1.5 min ago"),
    "a stuck outbox": (judging.outbox(7, 61.0), "7 messages owed"),
    "a growing quarantine": (judging.quarantine(300, 20), "300 inputs in the last hour"),
    "a filled spool": (judging.spool(100, HOUR, 1000, 2 * HOUR, "spool"), "50% of what it takes"),
    "a group far behind": (first(judging.lags({"lapse.tag": 100_000})), "100000 records behind"),
    "a certificate near its end": (judging.certificate(12.0, "tls.pem"), "ends in 12 days"),
    "a certificate past its end": (judging.certificate(-1.0, "tls.pem"), "has ended"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_trouble_is_found_and_says_what_where_and_what_to_do(trouble: str) -> None:
    """Every finding that needs somebody is complete, and its text names the trouble."""
    found, text = TROUBLES[trouble]
    assert not found.ok
    assert text in found.figure
    assert found.where
    assert found.do


@pytest.mark.parametrize(
    "found",
    [
        word(),
        word(waits="Kafka; events are kept in the spool"),
        first(judging.logins({}, 8, "b:9")),
        first(judging.rights({}, {})),
        disk(100),
        clock(vault=1004.9, kept=990.0, appended=999.0, ahead=-60.0),
        backlog("intake.form"),
        judging.expiry(1, 59.0, 59.0, "l"),
        judging.expiry(0, 0.0, None, "l"),
        judging.outbox(7, 59.0),
        first(judging.requests({"access": (3, 0)})),
        judging.quarantine(249, 0),
        judging.quarantine(300, 300),
        judging.spool(0, 0.0, 1000, HOUR, "spool"),
        first(judging.lags({"lapse.tag": 99_999})),
        first(judging.lags({})),
        judging.certificate(30.0, "tls.pem"),
    ],
)
def test_just_inside_its_bound_nothing_is_amiss(found: Finding) -> None:
    """The limits are where the documents say."""
    assert found.ok


def unset(**changes: object) -> Finding:
    """The finding about a recipient without credentials."""
    given = {"tried": False, "waiting": 3, "old": 0, "held": 0, **changes}
    read = judging.Unset(name="crm", lacks="no credentials", where="policy 1", do="put them there", **given)  # type: ignore[arg-type]
    return judging.unset(read)


def test_what_is_not_set_up_yet_is_to_do_and_no_fault() -> None:
    """A list for whoever has just begun, also while a few records wait."""
    for waiting, words in ((0, "nothing waits for it"), (3, "3 records wait for it, sealed")):
        found = unset(waiting=waiting)
        assert (found.state, found.ok) == ("to do", True)
        assert words in found.figure and found.do == "put them there"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"old": 2}, "2 of them for too long"),
        ({"held": 1}, "what it holds (1 object) cannot be erased"),
        ({"tried": True}, "no credentials"),
    ],
)
def test_what_is_not_set_up_is_a_fault_once_something_suffers(changes: dict[str, object], text: str) -> None:
    """Records wait too long, copies cannot be taken back, or somebody believes that it works."""
    found = unset(**changes)
    assert (found.state, found.ok) == ("BAD", False)
    assert text in found.figure
    assert ("lapse processor suspend crm" in (found.do or "")) == ("old" in changes)


def test_the_spools_bounds_are_the_collectors() -> None:
    """The doctor compares with what the collector really takes."""
    bounds = SpoolSettings.__dataclass_fields__
    assert (bounds["max_bytes"].default, bounds["max_age_seconds"].default) == (SPOOL_BYTES, SPOOL_SECONDS)


def test_what_is_away_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that cannot look is a finding; those that stand on it are unknown; the others still run."""

    def away(_here: object) -> list[Finding]:
        raise Unavailable("not_running", "no broker listens", "127.0.0.1:9", "start it")

    table = {
        "broker": Check(away),  # type: ignore[arg-type]  # a list iterates as well
        "topics": Check(away, ("broker",)),  # type: ignore[arg-type]  # never called
        "lag": Check(away, ("topics",)),  # type: ignore[arg-type]  # never called
        "disk": Check(lambda _here: iter([well("disk", "50% free")])),
    }
    monkeypatch.setattr("lapse.doctor.examining.CHECKS", table)
    found = examine(None)  # type: ignore[arg-type]  # no check looks at it
    assert [(each.check, each.state) for each in found] == [
        ("broker", "BAD"),
        ("topics", "unknown"),
        ("lag", "unknown"),
        ("disk", "ok"),
    ]
    assert found[0].where == "127.0.0.1:9"


def test_every_need_is_a_check_that_comes_before() -> None:
    """The order of the answer is the order of dependence."""
    seen: set[str] = set()
    for name, check in CHECKS.items():
        assert set(check.needs) <= seen
        seen.add(name)


def test_the_sheet_shows_what_is_amiss_first_and_no_control_characters() -> None:
    """Findings stand on top, each with where and what to do; hostile names are made plain."""
    console = Console(width=100, record=True, file=io.StringIO())
    named = bad("topic evil\x1b[31m", "differs", where="evil", do="look")
    console.print(sheet([well("vault", "opens"), named]))
    text = console.export_text()
    assert text.index("✗ topic evil\\x1b[31m") < text.index("✓ vault")
    assert "do" in text and "look" in text and "\x1b" not in text
    assert "1 of 2 need somebody" in text


def test_the_sheet_lists_what_is_to_be_set_up_and_is_well() -> None:
    """Each with what to do, apart from the rest."""
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(sheet([well("vault", "opens"), unset()]))
    text = console.export_text()
    assert text.index("○ recipient crm") < text.index("put them there") < text.index("✓ vault")
    assert "all 1 well; 1 to set up when you are ready" in text


def test_what_recipients_left_undone_is_said_of_each() -> None:
    """A task is somebody's; without an officer nobody is told of it."""
    crm, summary = judging.tasks({"crm": {"late": 2, "failed": 0}, "mail": {"late": 0}}, letters=0, told=True)
    assert (crm.state, crm.figure) == ("BAD", "2 late") and summary.ok
    *_, nobody = judging.tasks({"crm": {"late": 1}}, letters=0, told=False)
    assert nobody.state == "BAD" and "LAPSE_OFFICER" in (nobody.do or "")
    [quiet] = judging.tasks({"crm": {"late": 0}}, letters=3, told=False)
    assert quiet.ok and "3 letters" in quiet.figure
