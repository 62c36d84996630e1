"""The alert rules: each is well formed, fires when it should and only then, and has its paragraph."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.docs.pages import OPERATING, ROOT
from tests.unit.docs.test_names import _metrics

RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
GROUPS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"]
ALERTS: dict[str, dict[str, Any]] = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed (Debian: apt install prometheus)"
)
LATE, ROWS = "2h", 121
"""When each case is looked at, and the samples, one a minute, until then."""

Series = dict[str, str]
"""Series and its values in promtool's notation."""


def steady(value: float) -> str:
    """The same value all the time."""
    return f"{value}x{ROWS}"


STEP = f"0x{ROWS - 6} 3x6"
"""A counter that moves a few minutes before the look."""
FIRST = f"_x{ROWS - 6} 1x6"
"""A labelled counter whose first event comes a few minutes before the look."""
TICK = "lapse_expiry_last_tick_timestamp_seconds"
LOST = 'lapse_collector_lost_total{reason="full"}'
RECEIPT = 'lapse_receipts_total{processor="crm",outcome="failed_permanent"}'
TASK = 'lapse_tasks_open{processor="crm",kind="late"}'
BAD, GOOD = 'lapse_outcomes_total{outcome="quarantined",code="bot"}', 'lapse_outcomes_total{outcome="routed"}'

FIRES: dict[str, list[Series]] = {
    "LapseRoleDown": [{'up{job="lapse",role="tag"}': steady(0)}],
    "LapseRoleWaits": [{'lapse_role_ready{role="tag"}': steady(0)}],
    "LapseFindings": [{'lapse_findings_total{what="x"}': STEP}, {'lapse_findings_total{what="x"}': FIRST}],
    "LapseBug": [{'lapse_outcomes_total{outcome="quarantined",code="bug"}': FIRST}],
    "LapseExpiryStopped": [{TICK: steady(100)}, {"up": steady(1)}],
    "LapseKeysOverdue": [{"lapse_expiry_overdue_seconds": steady(300)}],
    "LapseBrakeHolds": [{'lapse_brake{brake="clock"}': steady(1)}],
    "LapseOutboxStuck": [{"lapse_outbox_oldest_seconds": steady(90)}],
    "LapseSpooling": [{"lapse_collector_kafka_well": steady(0)}],
    "LapseSpoolFills": [
        {"lapse_collector_spool_bytes": steady(60), "lapse_collector_spool_limit_bytes": steady(100)}
    ],
    "LapseEventsLost": [{LOST: FIRST}, {LOST: STEP}, {"lapse_collector_spool_damaged_total": STEP}],
    "LapseIntakeUnread": [{'lapse_intake_unread_seconds{topic="intake.form"}': steady(22_000)}],
    "LapseQuarantineGrows": [{BAD: f"0+2x{ROWS}", GOOD: f"0+10x{ROWS}"}],
    "LapseRecipientBehind": [{'lapse_processor_old_backlog_records{processor="crm"}': steady(1)}],
    "LapseRecipientPaused": [{'lapse_connector_paused{processor="crm"}': steady(1)}],
    "LapseErasureRefused": [{RECEIPT: FIRST}, {RECEIPT: STEP}],
    "LapseTaskOpen": [{TASK: steady(1)}],
    "LapseLettersWait": [{"lapse_letters_waiting": steady(2)}],
    "LapseRequestOverdue": [{'lapse_requests_overdue{right="access"}': steady(1)}],
    "LapseDiskFills": [{'lapse_disk_free_ratio{folder="data"}': steady(0.05)}],
}
SILENT: dict[str, list[Series]] = {
    "LapseRoleDown": [{'up{job="lapse",role="tag"}': steady(1), 'up{job="other"}': steady(0)}],
    "LapseRoleWaits": [{'lapse_role_ready{role="tag"}': f"1x{ROWS - 1} 0"}],
    "LapseFindings": [{'lapse_findings_total{what="x"}': steady(7)}],
    "LapseBug": [{'lapse_outcomes_total{outcome="quarantined",code="bug"}': steady(2)}],
    "LapseExpiryStopped": [{TICK: f"0+60x{ROWS}"}],
    "LapseKeysOverdue": [{"lapse_expiry_overdue_seconds": steady(0.02)}],
    "LapseBrakeHolds": [{'lapse_brake{brake="clock"}': steady(0)}],
    "LapseOutboxStuck": [{"lapse_outbox_oldest_seconds": steady(5)}],
    "LapseSpooling": [{"lapse_collector_kafka_well": steady(1)}],
    "LapseSpoolFills": [
        {"lapse_collector_spool_bytes": steady(40), "lapse_collector_spool_limit_bytes": steady(100)}
    ],
    "LapseEventsLost": [{LOST: steady(3), "lapse_collector_spool_damaged_total": steady(1)}],
    "LapseIntakeUnread": [{'lapse_intake_unread_seconds{topic="intake.form"}': steady(60)}],
    "LapseQuarantineGrows": [{BAD: f"0+2x{ROWS}", GOOD: f"0+90x{ROWS}"}, {BAD: f"_x100 0+2x{ROWS - 100}"}],
    "LapseRecipientBehind": [{'lapse_processor_old_backlog_records{processor="crm"}': steady(0)}],
    "LapseRecipientPaused": [{'lapse_connector_paused{processor="crm"}': f"0x{ROWS - 9} 1x9"}],
    "LapseErasureRefused": [{'lapse_receipts_total{processor="crm",outcome="completed"}': STEP}],
    "LapseTaskOpen": [{TASK: steady(0)}],
    "LapseLettersWait": [{"lapse_letters_waiting": f"0x{ROWS - 3} 1x3"}],
    "LapseRequestOverdue": [{'lapse_requests_overdue{right="access"}': steady(0)}],
    "LapseDiskFills": [{'lapse_disk_free_ratio{folder="data"}': steady(0.4)}],
}


def test_every_alert_has_a_case_for_firing_and_one_for_silence() -> None:
    """No rule is shipped that nobody has seen fire, or that might always fire."""
    assert set(FIRES) == set(SILENT) == set(ALERTS)


@needs_promtool
def test_the_rules_are_well_formed() -> None:
    """`promtool check rules` takes the file."""
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, "check", "rules", str(RULES)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_every_alert_fires_when_it_should_and_only_then(tmp_path: Path) -> None:
    """`promtool test rules`: all cases in one run, each with series of its own."""
    assert PROMTOOL is not None
    cases = [
        _case(alert, series, fires)
        for table, fires in ((FIRES, True), (SILENT, False))
        for alert, listed in table.items()
        for series in listed
    ]
    file = tmp_path / "cases.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": cases}))
    done = subprocess.run([PROMTOOL, "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _case(alert: str, series: Series, fires: bool) -> dict[str, Any]:
    firing = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)'
    return {
        "name": f"{alert} {'fires' if fires else 'is silent'}",
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {"expr": firing, "eval_time": LATE, "exp_samples": [{"labels": "{}", "value": int(fires)}]}
        ],
    }


@pytest.mark.parametrize("alert", sorted(ALERTS))
def test_every_alert_has_a_paragraph_in_the_runbook(alert: str) -> None:
    """Its `runbook` leads to a heading of docs/operating.md, and that paragraph names the alert."""
    page, _, anchor = ALERTS[alert]["annotations"]["runbook"].partition("#")
    assert page == "docs/operating.md"
    parts = re.split(r"^#{2,3} ", OPERATING, flags=re.MULTILINE)
    [paragraph] = [part for part in parts if _anchor(part.splitlines()[0]) == anchor]
    assert f"`{alert}`" in paragraph


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_every_metric_of_a_rule_is_one_of_ours() -> None:
    """A rule on a metric that nobody sets would be silent for ever."""
    text = " ".join(str(rule["expr"]) for rule in ALERTS.values())
    assert set(re.findall(r"\blapse_[a-z_]+", text)) <= set(_metrics())


def test_every_alert_says_how_urgent_it_is() -> None:
    """page: somebody looks now; ticket: somebody looks today."""
    assert {rule["labels"]["severity"] for rule in ALERTS.values()} == {"page", "ticket"}
    assert all(rule["annotations"]["summary"] for rule in ALERTS.values())
