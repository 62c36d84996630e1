"""Whatever has a name has a line in docs/operating.md: settings, verbs, metrics, topics, codes, checks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import typer
from prometheus_client.metrics import MetricWrapperBase

import lapse.collector.metrics
import lapse.rolestate
import processors.metrics
import streams.metrics
from lapse import doctor
from lapse.cli.app import INTERRUPTED, app
from lapse.layout import ROLES
from lapse.main import shipped_policy
from lapse.settings import Settings
from schemas import errors
from schemas.policy import compile_plan, load
from schemas.topics import topic_plan
from tests.unit.docs.pages import OPERATING, PAGES, ROOT, Shown, commands, spans

NAMED = set(spans(OPERATING))
ELSEWHERE = {"LAPSE_JAVA"}
"""Read by the search for Java and by the container's start script, not by the settings."""
TESTS = {"LAPSE_SOAK_MINUTES"}
"""Read by tests alone."""
CLIENTS = {"LAPSE_COLLECTOR", "LAPSE_SITE_KEY", "LAPSE_SITE_TOKEN"}
"""What the page for publishers calls its own shell variables."""
METRICS: tuple[ModuleType, ...] = (
    streams.metrics,
    lapse.collector.metrics,
    processors.metrics,
    lapse.rolestate,
)


def _settings() -> set[str]:
    return {f"LAPSE_{field.upper()}" for field in Settings.model_fields}


def _verbs(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each verb's words and its command; Typer brings a Click of its own, whose types it does not export."""
    inner = getattr(group, "commands", None)
    if inner is None:
        yield path, group
        return
    for name, command in inner.items():
        if not command.hidden:
            yield from _verbs(command, (*path, name))


VERBS = dict(_verbs(typer.main.get_command(app)))


def _metrics() -> dict[str, str]:
    """Metric name -> the variable it is kept in."""
    found = {}
    for module in METRICS:
        for variable, metric in vars(module).items():
            if isinstance(metric, MetricWrapperBase):
                (family,) = metric.describe()
                found[family.name + "_total" * (family.type == "counter")] = variable
    return found


def _topics() -> set[str]:
    """Topic names of both shipped policies, with what varies as the page writes it."""
    found = set()
    for policy in ("company", "demo"):
        plan = compile_plan(load(shipped_policy(policy).read_text(), where=policy))
        for topic in topic_plan(plan):
            name = re.sub(r"^(processor|plain)\..+", r"\1.<name>", topic.name)
            found.add(re.sub(r"^records\..+", "records.<horizon>", name))
    return found


@pytest.mark.parametrize("setting", sorted(_settings()))
def test_every_setting_is_documented(setting: str) -> None:
    """Whoever reads the page knows every variable that changes something."""
    assert setting in NAMED


def test_no_setting_is_documented_that_is_not_there() -> None:
    """A variable that a page names is read by somebody."""
    named = {word for page in PAGES for word in re.findall(r"LAPSE_[A-Z_]+[A-Z]", page.read_text())}
    assert named - _settings() - ELSEWHERE - CLIENTS - TESTS - {"LAPSE_KAFKA_LIBS"} == set()


@pytest.mark.parametrize("verb", [" ".join(path) for path in VERBS])
def test_every_verb_has_an_example(verb: str) -> None:
    """The page shows a call of it."""
    assert any(span == f"lapse {verb}" or span.startswith(f"lapse {verb} ") for span in NAMED)


@pytest.mark.parametrize(
    "shown", sorted(set(commands())), ids=lambda shown: f"{shown.page}: {' '.join(shown.words)}"
)
def test_a_command_that_a_page_shows_exists(shown: Shown) -> None:
    """Its verb is one of ours, and so is every option."""
    groups = {path[0] for path in VERBS}
    words = [word for word in shown.words if not word.startswith("-")]
    if not words or (len(words) == 1 and words[0] in groups and (words[0],) not in VERBS):
        return
    path = next((path for path in VERBS if tuple(words[: len(path)]) == path), None)
    assert path is not None
    known = {
        option for parameter in VERBS[path].params for option in (*parameter.opts, *parameter.secondary_opts)
    }
    used = {word.partition("=")[0] for word in shown.words if word.startswith("-") and not word[1:].isdigit()}
    assert used - known - {"--help"} == set()


@pytest.mark.parametrize("metric", sorted(_metrics()))
def test_every_metric_is_documented(metric: str) -> None:
    """Its name stands in the table of metrics."""
    assert metric in NAMED


@pytest.mark.parametrize("metric", sorted(_metrics()))
def test_every_metric_is_moved_by_somebody(metric: str) -> None:
    """A metric that nothing counts would be read as 'all is well'."""
    variable = _metrics()[metric]
    sources = [
        path for folder in ("streams", "lapse", "processors") for path in (ROOT / folder).rglob("*.py")
    ]
    moved = rf"\b{variable}\b(\.labels\(|\.inc\(|\.set\(|\.observe\(|\.time\()"
    assert any(re.search(moved, path.read_text()) for path in sources)


def test_no_metric_is_documented_that_is_not_there() -> None:
    """What the page tells to watch exists."""
    assert {word for word in NAMED if re.fullmatch(r"lapse_[a-z_]+", word)} == set(_metrics())


@pytest.mark.parametrize("topic", sorted(_topics()))
def test_every_topic_is_documented(topic: str) -> None:
    """Its name stands in the table of topics."""
    assert topic in NAMED


def test_every_exit_code_is_documented() -> None:
    """The table has the codes of the error tree, and those of the shell."""
    kinds: list[type[errors.LapseError]] = [errors.LapseError, *errors.LapseError.__subclasses__()]
    codes = {0, 1, INTERRUPTED} | {kind.exit_code for kind in kinds}
    table = OPERATING[OPERATING.index("## Exit codes") : OPERATING.index("## Metrics")]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == codes


def test_every_check_of_doctor_is_documented() -> None:
    """The table has each name a finding can carry."""
    sources = [path.read_text() for path in (ROOT / "lapse" / "doctor").glob("*.py")]
    said = r'(?:bad|well|to_do)\(\s*f?"([^"]+)"|name(?:, \w+)* = f"([^"]+)"'
    assert len(sources) > 5
    found = {a or b for source in sources for a, b in re.findall(said, source)}
    named = {re.sub(r"\{.*\}", "<name>", check) for check in found}
    assert named | set(doctor.CHECKS) - {"backlogs"} <= NAMED


def test_every_role_is_named() -> None:
    """The page lists the processes the supervisor keeps."""
    assert " ".join(ROLES) in NAMED
