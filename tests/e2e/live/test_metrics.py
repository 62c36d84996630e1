"""Every process shows metrics a Prometheus can read, and none of them names a person."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.live.system import MARK, System, somebody

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

ROLES = ("collector", "tag", "route", "govern", "expire", "connect", "keys")


@pytest.mark.parametrize("role", ROLES)
def test_a_roles_metrics_parse_and_hold_nothing_personal(steady: System, role: str) -> None:
    """The page at run.json's address parses, has a family of Lapse's own, and no mark of a person."""
    event_id = steady.submit(somebody())
    steady.still()
    page = steady.http("GET", steady.run["urls"]["metrics"][role])
    assert page.status == 200
    families = list(text_string_to_metric_families(page.body.decode()))
    assert [family for family in families if family.name.startswith("lapse_")]
    assert all(family.documentation for family in families if family.name.startswith("lapse_"))
    assert MARK.encode() not in page.body
    assert event_id.encode() not in page.body


PROMTOOL = shutil.which("promtool")


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: apt install prometheus)")
@pytest.mark.parametrize("role", ROLES)
def test_promtool_finds_nothing_to_say_about_a_roles_page(steady: System, role: str) -> None:
    """Names, types and help texts follow Prometheus' conventions."""
    page = steady.http("GET", steady.run["urls"]["metrics"][role]).body
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, "check", "metrics"], input=page, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_role_says_whether_it_is_ready(steady: System) -> None:
    """`metrics.json` names every role's page in Prometheus' own shape, and each page has its word."""
    targets = json.loads((steady.data / "metrics.json").read_text())
    assert {each["labels"]["role"] for each in targets} >= set(ROLES)
    for each in targets:
        page = steady.http("GET", f"http://{each['targets'][0]}/metrics").body.decode()
        assert f'lapse_role_ready{{role="{each["labels"]["role"]}"}} 1.0' in page


def test_outcomes_and_deliveries_are_counted(steady: System) -> None:
    """A routed form raises route's counters by one per processor."""

    def counted(name: str) -> float:
        page = steady.http("GET", steady.run["urls"]["metrics"]["route"]).body.decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            if sample.name == name
        )

    steady.still()
    before = counted("lapse_deliveries_total")
    steady.submit(somebody(), form="get-in-touch")
    steady.still()
    assert counted("lapse_deliveries_total") == before + 1
