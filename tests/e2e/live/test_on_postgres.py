"""The whole system with its vault on a real PostgreSQL: a stranger sees what SQLite shows, but one word."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.e2e.live.system import STEADY, System, allows, somebody
from tests.support.live import search_bytes
from tests.support.postgres import FAST, Server

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(480)]

PASSWORD = "a-pässword/of:its@own"
QUOTED = "a-p%C3%A4ssword%2Fof%3Aits%40own"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server that asks for a password."""
    made = Server(*FAST)
    hba = made.data / "pg_hba.conf"
    hba.write_text(f"local lapse lapse scram-sha-256\n{hba.read_text()}")
    made.start()
    with psycopg.connect(made.url(), autocommit=True) as setting_up:
        setting_up.execute(f"CREATE ROLE lapse LOGIN PASSWORD '{PASSWORD}'".encode())
        setting_up.execute("CREATE DATABASE lapse OWNER lapse ENCODING 'UTF8'")
    yield made
    made.remove()


@pytest.fixture(scope="module")
def on_postgres(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system whose vault is there, its clock standing still."""
    url = f"postgresql://lapse:{QUOTED}@/lapse?host={server.folder}"
    folder = tmp_path_factory.mktemp("postgres") / "data"
    system = System(folder, STEADY, clock="manual", environment={"LAPSE_VAULT": url})
    try:
        system.init()
        system.start()
        system.environment = {}  # what follows finds the vault by the folder alone
        yield system
    finally:
        system.end()


def test_a_form_goes_through_and_lapses(on_postgres: System) -> None:
    """It opens while it is due, and after that and after an erasure it does not."""
    first, second = somebody(), somebody()
    events = [on_postgres.submit(each, *allows("marketing_email")) for each in (first, second)]
    on_postgres.quiet()
    deliveries = [on_postgres.deliveries(on_postgres.outcome(e), "crm")[0].record for e in events]
    assert all(deliveries)
    kept, erased = (each for each in deliveries if each is not None)
    for person, delivery in ((first, kept), (second, erased)):
        assert on_postgres.keys("crm").open(delivery).items() >= person.fields.items()
    on_postgres.do("subject", "erase", second.who, "--reason", "asked", "--yes")
    on_postgres.quiet()
    assert on_postgres.keys("crm").closed(erased)
    on_postgres.do("clock", "advance", "PT9H", "--confirm")
    assert on_postgres.keys("crm").closed(kept)
    rows = on_postgres.do("bucket", "list", "--purpose", "answer_request")["buckets"]
    assert {row["state"] for row in rows} == {"hidden"}
    on_postgres.do("epoch", "turn")
    rows = on_postgres.do("bucket", "list", "--purpose", "answer_request")["buckets"]
    assert {row["state"] for row in rows} == {"destroyed"}


def test_the_password_stands_in_one_file(on_postgres: System, server: Server) -> None:
    """Neither the run file nor a log nor the marker has it; `doctor` finds the vault well."""
    assert on_postgres.run["vault"] == {
        "kind": "postgresql",
        "url": f"postgresql://lapse@/lapse?host={server.folder}",
    }
    where = search_bytes([PASSWORD.encode(), QUOTED.encode()], [on_postgres.data])
    assert [path.name for path in where] == ["vault.password"]
    assert not Path(on_postgres.data / "vault" / "vault.db").exists()
    checks = {row["check"]: row for row in on_postgres.lapse("doctor").json()["checks"]}
    assert "fsync is off" in checks["vault server"]["figure"], "this test's server is in a hurry"
    assert checks["vault"]["state"] == "ok" and checks["vault"]["figure"].startswith("postgresql")
