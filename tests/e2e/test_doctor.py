"""The doctor on a real system in which much is amiss at once: each trouble is found, and says what to do."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition

from lapse.broker.acls import binding, exactly
from lapse.broker.connection import Credentials
from lapse.broker.principals import Operation, Resource, Right
from lapse.doctor import Finding, examine
from lapse.main import Installation, installation
from tests.e2e.live.system import STEADY, System, allows, somebody
from tests.support.live import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

GROUP = Right(resource=Resource.GROUP, name="lapse.route", operation=Operation.READ)
PLANNED = {"connect": "READ topic processor.*"}
GARBAGE = 260
MINUTES_AGO = 120_000_000


@dataclass
class Ward:
    """A system, what was done to it, and what the doctor found meanwhile and afterwards."""

    system: System
    ill: dict[str, Finding] = field(default_factory=dict)
    cured: dict[str, Finding] = field(default_factory=dict)
    codes: list[int] = field(default_factory=list)

    def examine(self) -> dict[str, Finding]:
        """Every finding by its check."""
        with installation(self.system.data) as here:
            return {finding.check: finding for finding in examine(here)}

    def vault(self, statement: str, *values: object) -> None:
        """Change the vault's file behind everybody's back."""
        connection = sqlite3.connect(self.system.data / "vault" / "vault.db", timeout=20)
        with connection:
            connection.execute(statement, values)
        connection.close()

    def stop(self, role: str) -> int:
        """Freeze a role; its process id."""
        pid = self.system.roles()[role]
        os.kill(pid, signal.SIGSTOP)
        return pid


def lose(here: Installation, system: System) -> None:
    """Let `mail` have read nothing but its first record, and its topic forget the second unread."""
    consumer = system.kafka("mail").consumer("processor.mail")
    places = system.kafka("auditor").records("RecordDelivered", "processor.mail")
    partition = places[0].partition
    consumer.commit(offsets=[TopicPartition("processor.mail", partition, 0)], asynchronous=False)
    consumer.close()
    here.admin("admin").delete_records({("processor.mail", partition): -1})


def spoil(ward: Ward) -> None:
    """Everything at once, each on a part of its own."""
    system = ward.system
    for _ in range(3):
        system.submit(somebody(), *allows("marketing_email"))
    system.still()
    system.kafka("superuser").send("intake.form", *[b"garbage"] * GARBAGE)
    system.still()
    ward.stop("expire")
    ward.stop("keys")
    with installation(system.data) as here:
        admin = here.admin("admin")
        admin._client.delete_acls([exactly(binding("route", GROUP))])  # noqa: SLF001 - what no verb of ours does
        admin.put_users([Credentials(username="processor.warehouse", password="changed behind our back")])
        admin.configure_topic("decisions", {"retention.ms": "3600000"})
        lose(here, system)
    os.kill(system.roles()["route"], signal.SIGKILL)
    ward.vault("UPDATE bucket SET due = due - ? WHERE state = 'open'", 10 * 86_400_000_000)
    key = b"\0" * 8
    ward.vault("INSERT INTO outbox VALUES (1, 'X', 'lifecycle', 0, ?, ?, 1)", key, b"owed")
    until(lambda: waits(ward, "route", "READ ACL on the group"), 60, "route says what it waits for")


def waits(ward: Ward, role: str, text: str) -> bool:
    """Whether a role's word names this."""
    path = ward.system.data / "state" / f"{role}.json"
    return path.exists() and text in path.read_text()


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    """One system: spoilt and examined, then started anew and examined again."""
    ward = Ward(System(tmp_path_factory.mktemp("doctor") / "data", STEADY))
    try:
        ward.system.init()
        ward.system.start()
        spoil(ward)
        ward.ill = ward.examine()
        yield ward
    finally:
        with contextlib.suppress(OSError, KeyError):
            for role in ("expire", "keys"):
                os.kill(ward.system.roles()[role], signal.SIGCONT)
        ward.system.end()


TROUBLES = {
    "role expire": "frozen",
    "role keys": "frozen",
    "role route": "READ ACL on the group",
    "rights route": "READ group lapse.route",
    "login processor.warehouse": "does not accept",
    "topic decisions": "retention.ms",
    "quarantine": f"{GARBAGE} inputs",
    "backlog mail": "deleted before they were read",
    "expiry": "overdue",
    "outbox": "owed",
}


@pytest.mark.parametrize(("check", "text"), TROUBLES.items())
def test_a_trouble_of_a_real_system_is_found(ward: Ward, check: str, text: str) -> None:
    """What was done to broker, vault and processes is named, with the place and what to do."""
    found = ward.ill[check]
    assert not found.ok
    assert text in found.figure
    assert found.where and found.do


def test_what_was_left_alone_is_well(ward: Ward) -> None:
    """Nothing is called amiss that is not."""
    amiss = {check for check, found in ward.ill.items() if not found.ok}
    assert amiss - {"disk"} == set(TROUBLES)  # how full this machine's disk is, no test decides


def test_with_the_vault_gone_the_doctor_says_so_and_makes_no_empty_one(ward: Ward) -> None:
    """The missing file is one finding; what stands on it is unknown; nothing is put in its place."""
    vault = ward.system.data / "vault" / "vault.db"
    vault.rename(vault.with_name("away.db"))
    try:
        found = ward.examine()
        assert not vault.exists()
    finally:
        vault.with_name("away.db").rename(vault)
    assert "the vault's file is gone" in found["vault"].figure
    assert {found[name].state for name in ("expiry", "policy", "topics")} == {"unknown"}


def test_when_all_is_stopped_it_says_what_to_start_and_exits_one(ward: Ward) -> None:
    """No roles and no broker are two findings; the exit code is 1, in JSON as on a terminal."""
    for role in ("expire", "keys"):
        os.kill(ward.system.roles()[role], signal.SIGCONT)
    ward.system.stop()
    done = ward.system.lapse("doctor")
    checks = {row["check"]: row for row in done.json()["checks"]}
    assert (done.code, done.json()["ok"]) == (1, False)
    assert "lapse up" in checks["roles"]["do"]
    assert checks["broker"]["figure"].startswith("not_running")
    shown = ward.system.lapse("doctor", json_output=False)
    assert shown.code == 1
    assert "✗ broker" in shown.out and "need somebody" in shown.out


def test_a_new_start_puts_users_rights_and_topics_right(ward: Ward) -> None:
    """`up` mends what it can: passwords, rights and retentions are as planned again."""
    ward.vault("DELETE FROM outbox WHERE id = 1")
    ward.system.start()
    found = ward.examine()
    for check in ("login processor.warehouse", "rights route", "topic decisions", "outbox"):
        assert check not in found or found[check].ok, found[check]
    assert Path(ward.system.data / "state" / "route.json").exists()
