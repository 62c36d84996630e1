"""What groups leave unread, measured against what the topic keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lapse import backlog
from lapse.backlog import Backlog, Place
from lapse.layout import Layout
from lapse.main import shipped_policy
from schemas.policy import compile_plan, load

PLAN = compile_plan(load(shipped_policy("company").read_text(), where="company"))
NOW = 1_000_000.0
BARE = Layout(Path("nowhere"))
"""A data folder with no vendor's credentials in it."""
FORM, CRM = ("intake.form", 0), ("processor.salesforce", 0)


@dataclass
class Log:
    """A broker's administration; `old` is the first offset that is younger than half of what is kept."""

    starts: dict[Place, int] = field(default_factory=dict)
    ends: dict[Place, int] = field(default_factory=dict)
    old: dict[Place, int] = field(default_factory=dict)
    done: dict[str, dict[Place, int]] = field(default_factory=dict)
    asked: dict[str, float] = field(default_factory=dict)

    def offsets(self, topics: Sequence[str], *, earliest: bool = False) -> Mapping[Place, int]:
        """Starts or ends."""
        found = self.starts if earliest else self.ends
        return {place: at for place, at in found.items() if place[0] in topics}

    def offsets_at(self, topics: Sequence[str], seconds: float) -> Mapping[Place, int]:
        """Where half of the retention ends."""
        self.asked |= dict.fromkeys(topics, NOW - seconds)
        return {place: at for place, at in self.old.items() if place[0] in topics}

    def committed(self, groups: Sequence[str]) -> Mapping[str, Mapping[Place, int]]:
        """What the groups have committed."""
        return {name: self.done.get(name, {}) for name in groups}


def look(log: Log, topic: str) -> Backlog:
    """What is found about one topic."""
    (found,) = [each for each in backlog.look(PLAN, BARE, log, NOW) if each.topic == topic]
    return found


def test_a_group_that_keeps_up_leaves_nothing_old() -> None:
    """What was read is not unread, however old it is."""
    log = Log(starts={FORM: 0}, ends={FORM: 9}, old={FORM: 8}, done={"lapse.tag": {FORM: 9}})
    found = look(log, "intake.form")
    assert (found.group, found.unread, found.old, found.lost) == ("lapse.tag", 0, 0, 0)
    assert log.asked["intake.form"] == found.kept / 2 == 1.5 * 86_400


def test_what_waits_for_half_of_its_time_is_old() -> None:
    """Of ten unread records the six older ones are counted."""
    log = Log(starts={FORM: 5}, ends={FORM: 20}, old={FORM: 16}, done={"lapse.tag": {FORM: 10}})
    found = look(log, "intake.form")
    assert (found.unread, found.old, found.lost) == (10, 6, 0)


def test_what_the_topic_took_before_it_was_read_is_lost() -> None:
    """The group stands before the log's start."""
    log = Log(starts={CRM: 7}, ends={CRM: 9}, old={CRM: 7}, done={"lapse.connect": {CRM: 4}})
    found = look(log, "processor.salesforce")
    assert (found.unread, found.old, found.lost) == (2, 0, 3)


def test_a_recipient_that_never_came_is_behind_from_the_start_of_its_log() -> None:
    """Nothing committed: everything that is there is unread, and nothing counts as lost."""
    log = Log(starts={CRM: 7}, ends={CRM: 9}, old={CRM: 8})
    found = look(log, "processor.salesforce")
    assert (found.unread, found.old, found.lost) == (2, 1, 0)


def test_recipients_that_the_policy_suspends_are_not_waited_for() -> None:
    """Every intake topic and every other recipient is looked at."""
    readers = backlog.readers(PLAN, BARE)
    assert "processor.former-partner" not in readers
    assert readers["processor.salesforce"] == "lapse.connect"
    assert readers["processor.partner"] == "lapse.connect"
    assert {topic for topic in readers if topic.startswith("intake.")} == {
        "intake.form",
        "intake.email-open",
        "intake.cookie",
        "intake.signal",
    }


def test_one_of_ours_that_lost_its_credentials_has_read_what_we_read_for_it() -> None:
    """It is behind from there, and not from the start of its topic."""
    log = Log(starts={CRM: 0}, ends={CRM: 9}, old={CRM: 8}, done={"lapse.connect": {CRM: 6}})
    assert (look(log, "processor.salesforce").unread, look(log, "processor.salesforce").old) == (3, 2)


def test_for_whom_cannot_be_called_yet_a_day_is_long() -> None:
    """Or half of what the topic keeps, where that is less."""
    log = Log(starts={CRM: 0}, ends={CRM: 9}, old={CRM: 2})
    found = backlog.unset(PLAN, ["salesforce"], log, NOW, 86_400.0)["salesforce"]
    assert (found.group, found.unread, found.old) == ("lapse.connect", 9, 2)
    assert log.asked["processor.salesforce"] == 86_400.0 < found.kept / 2
    backlog.unset(PLAN, ["salesforce"], log, NOW, 10**9)
    assert log.asked["processor.salesforce"] == found.kept / 2
