"""From a submission to a delivery opened late, by a stranger with INTERFACE.md and docs/wire.md in hand."""

from __future__ import annotations

import json
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.live.system import EVERYTHING, Person, System, allows, somebody
from tests.e2e.live.wire import Message, Record, asked, micros

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

TEN_MINUTES = 600 * 1_000_000
HOUR = 6 * TEN_MINUTES
GIF_BYTES = 43
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@dataclass(frozen=True, kw_only=True)
class Sent:
    """One form on its whole way."""

    person: Person
    event_id: str
    shown: dict[str, Any]
    delivered: Message
    delivery: Record


@pytest.fixture(scope="module")
def sent(steady: System) -> Sent:
    """Send one form of somebody who allows everything, and wait as the documentation says."""
    person = somebody()
    event_id = steady.submit(person, *allows("marketing_email", "mail_insight"))
    steady.quiet()
    shown = steady.outcome(event_id)
    delivered = steady.deliveries(shown, "crm")
    assert len(delivered) == 1
    assert delivered[0].record is not None
    return Sent(
        person=person, event_id=event_id, shown=shown, delivered=delivered[0], delivery=delivered[0].record
    )


def test_an_accepted_form_is_routed_and_shown_with_its_reasons(sent: Sent) -> None:
    """`records show` names outcome, purposes, each processor's grants and refusals, and every offset."""
    shown = sent.shown
    assert (shown["event_id"], shown["outcome"], shown["code"]) == (sent.event_id, "routed", None)
    assert {link["purpose"] for link in shown["links"]} == set(EVERYTHING) - {"mail_insight"}
    verdicts = {verdict["processor"]: verdict for verdict in shown["verdicts"]}
    granted = {name: {g["purpose"] for g in verdict["grants"]} for name, verdict in verdicts.items()}
    assert granted == {
        "crm": {"answer_request", "marketing_email"},
        "mail": {"marketing_email"},
        "warehouse": {"marketing_email"},
    }
    refused = {(name, r["purpose"], r["code"]) for name, v in verdicts.items() for r in v["refusals"]}
    assert ("crm", "tax_records", "not_granted") in refused
    assert shown["revision"] == sent.delivery["revision"]
    assert len(shown["offsets"]["decisions"]) == 1
    assert len(shown["offsets"]["records.long"]) == 1


def test_a_delivery_opens_at_the_key_endpoint_and_holds_what_was_granted(steady: System, sent: Sent) -> None:
    """The processor's own credentials read its topic; docs/wire.md opens each part; nothing more is in it."""
    crm = steady.keys("crm").open(sent.delivery)
    assert crm.pop("collected_at").endswith(("Z", "+00:00"))
    assert crm == sent.person.fields
    mail = steady.keys("mail").open(steady.delivery(sent.event_id, "mail"))
    mail.pop("collected_at", None)
    assert mail == {"email": sent.person.email, "name": sent.person.name}


def test_grants_end_when_their_bucket_is_due(sent: Sent) -> None:
    """A grant's `use_until` is its period's start plus the retention of the policy."""
    hours = {"answer_request": 6, "marketing_email": 8}
    for grant in sent.delivery["grants"]:
        until = grant["period"] * TEN_MINUTES + hours[grant["purpose"]] * HOUR
        assert micros(grant["use_until"]) == until
        assert grant["terms"] >= 1
    assert {grant["purpose"] for grant in sent.delivery["grants"]} == set(hours)


def test_a_delivery_is_keyed_by_a_pseudonym_and_carries_no_name(sent: Sent) -> None:
    """The message's key is the subject_ref, each part has one category, and no byte of it is in clear."""
    assert sent.delivered.key == sent.delivery["subject_ref"]
    assert all(len(part["categories"]) == 1 for part in sent.delivery["compartments"])
    assert sent.delivered.value is not None
    assert not [value for value in sent.person.values if value in sent.delivered.value]


def test_the_decision_is_on_the_log_before_its_delivery(steady: System, sent: Sent) -> None:
    """The decision's LogAppendTime is not later than the delivery's (invariant 10)."""
    decided = steady.kafka("auditor").at("decisions", sent.shown["offsets"]["decisions"])[0]
    assert decided.at_ms <= sent.delivered.at_ms
    assert decided.record is not None
    entries = [e for e in decided.record["entries"] if e["record_id"].hex() == sent.shown["record_id"]]
    assert [entry["outcome"] for entry in entries] == ["routed"]


def test_plan_numbers_on_the_log_resolve_at_the_admin_api(steady: System, sent: Sent) -> None:
    """`GET /v1/plans/1` turns the numbers of decisions into the names `records show` prints."""
    plan = steady.admin("/v1/plans/1").json()
    names = {purpose["number"]: purpose["name"] for purpose in plan["purposes"]}
    decided = steady.kafka("auditor").at("decisions", sent.shown["offsets"]["decisions"])[0]
    assert decided.record is not None
    entry = next(e for e in decided.record["entries"] if e["record_id"].hex() == sent.shown["record_id"])
    assert [names[link["purpose"]] for link in entry["links"]] == [
        link["purpose"] for link in sent.shown["links"]
    ]
    assert steady.admin("/v1/plans/99").status == 404


def test_a_clear_topic_holds_only_what_was_granted(steady: System, sent: Sent) -> None:
    """The `kafka` connector writes the country for the warehouse, and nothing else of the person."""
    delivery_id = steady.delivery(sent.event_id, "warehouse")["delivery_id"].hex().encode()
    written = [each.value for each in steady.kafka("superuser").read("plain.warehouse") if each.value]
    mine = [value for value in written if delivery_id in value]
    assert len(mine) == 1
    fields = json.loads(mine[0])["fields"]
    fields.pop("collected_at", None)
    assert fields == {"country": "DE"}


def test_results_keep_the_order_and_the_tampered_looks_unknown(steady: System, sent: Sent) -> None:
    """A changed handle, an unknown delivery and another's each get one closed answer in its place."""
    right, turned, foreign = asked(sent.delivery), asked(sent.delivery), asked(sent.delivery)
    for part in turned["compartments"]:
        for wrap in part["wraps"]:
            wrap["handle"] = "00" * 16
    foreign["delivery_id"] = "ab" * 16
    keys = steady.keys("crm")
    status, answer = keys.post("/v1/keys", json.dumps({"deliveries": [turned, right, foreign]}).encode())
    assert status == 200
    assert [r["delivery_id"] for r in answer["results"]] == [
        d["delivery_id"] for d in (turned, right, foreign)
    ]
    assert all("revision" in result for result in answer["results"])
    closed = [part["closed"] for n in (0, 2) for part in answer["results"][n]["compartments"]]
    assert {(c["code"], c["cause"], c["since"]) for c in closed} == {("unknown", closed[0]["cause"], None)}
    assert all("key" in part for part in answer["results"][1]["compartments"])


def test_another_processors_delivery_is_not_yours(steady: System, sent: Sent) -> None:
    """A delivery that leaked to another processor opens nothing for it."""
    assert {c["code"] for c in steady.keys("mail").closed(sent.delivery)} == {"not_yours"}


def test_the_key_endpoint_refuses_whole_requests_with_few_codes(steady: System, sent: Sent) -> None:
    """Not JSON is 400, a wrong token 401, 501 deliveries 413."""
    keys, one = steady.keys("crm"), asked(sent.delivery)
    assert keys.post("/v1/keys", b"{")[0] == 400
    assert keys.post("/v1/keys", json.dumps({"deliveries": [{"delivery_id": 1}]}).encode())[0] == 400
    assert keys.post("/v1/keys", json.dumps({"deliveries": [one] * 501}).encode())[0] == 413
    assert keys.post("/v1/keys", json.dumps({"deliveries": []}).encode())[0] == 200
    stranger = type(keys)(url=keys.url, ca_file=keys.ca_file, token="lk_crm_" + "A" * 43)
    assert stranger.post("/v1/keys", b'{"deliveries":[]}')[0] == 401


def test_a_receipt_is_taken_and_lies_on_receipts(steady: System, sent: Sent) -> None:
    """`POST /v1/receipts` puts what a processor answers onto `receipts` under its own name."""
    about = sent.delivery["delivery_id"].hex()
    body = {"receipts": [{"about": about, "outcome": "delivered"}]}
    assert steady.keys("crm").post("/v1/receipts", json.dumps(body).encode())[0] in (200, 202)
    found = [m.record for m in steady.kafka("auditor").records("ReceiptGiven", "receipts") if m.record]
    mine = [r for r in found if r["about"].hex() == about and r["processor"] == "crm"]
    assert [r["outcome"] for r in mine] == ["delivered"]


def test_schemas_health_and_openapi_answer_without_credentials(steady: System) -> None:
    """Schema ids resolve in Confluent's shape; health, readiness and the OpenAPI document are public."""
    catalogue = json.loads(Path(steady.run["catalogue"]).read_text())
    for number, entry in catalogue.items():
        answer = steady.http("GET", steady.url("keys", f"/schemas/ids/{number}"))
        assert answer.status == 200
        assert json.loads(answer.json()["schema"])["name"] == entry["name"]
    assert steady.http("GET", steady.url("keys", "/schemas/ids/9999")).status == 404
    for name, path in (
        ("collector", "/healthz"),
        ("collector", "/readyz"),
        ("keys", "/healthz"),
        ("admin", "/healthz"),
    ):
        assert steady.http("GET", steady.url(name, path)).status == 200, (name, path)
    openapi = steady.http("GET", steady.url("keys", "/openapi.json")).json()
    assert {"/v1/keys", "/v1/receipts"} <= set(openapi["paths"])


def test_a_site_learns_what_became_of_its_own_event_alone(steady: System, sent: Sent) -> None:
    """The site's token gets outcome and code; another site's token a 404; none a 401."""
    path = f"/v1/events/{sent.event_id}"
    assert steady.admin(path, steady.site_token("www")).json() == {
        "event_id": sent.event_id,
        "outcome": "routed",
        "code": None,
    }
    assert steady.admin(path, steady.site_token("shop")).status == 404
    assert steady.admin(path, "st_www_wrong").status == 401
    assert steady.admin("/v1/events/" + "00" * 16).status == 404
    assert steady.admin("/v1/events/xyz").status == 400
    assert steady.admin("/v1/lag", steady.site_token("www")).status in (401, 403)


def test_a_dry_run_says_what_would_happen_and_publishes_nothing(steady: System) -> None:
    """`?dry_run=1` names outcome, purposes and processors; no intake offset moves."""
    person = somebody()
    steady.still()
    before = steady.kafka("superuser").ends("intake.form")
    body = {"fields": person.fields, "consents": allows("marketing_email")}
    answer = steady.form("request-demo?dry_run=1", body)
    said = answer.json()
    assert (answer.status, said["dry_run"], said["outcome"]) == (200, True, "routed")
    held = {purpose["purpose"] for purpose in said["purposes"] if purpose["held"]}
    assert held == {"answer_request", "marketing_email", "tax_records"}
    assert person.email.encode() not in answer.body
    assert steady.kafka("superuser").ends("intake.form") == before
    assert steady.do("subject", "show", person.who)["purposes"] == []


def test_event_ids_belong_to_the_site_that_chose_them(steady: System) -> None:
    """Two servers may use the same event id: two events, each with its own outcome."""
    event_id = "5e" * 16
    ids = {}
    for site in ("www", "shop"):
        body = {"event_id": event_id, "fields": somebody().fields, "consents": []}
        headers = {"Authorization": f"Bearer {steady.site_token(site)}"}
        answer = steady.http("POST", steady.url("collector", "/f/request-demo"), body, headers)
        assert (answer.status, answer.json()["event_id"]) == (202, event_id)
    steady.still()
    for site in ("www", "shop"):
        ids[site] = steady.do("records", "show", "--event", event_id, "--site", site)["record_id"]
    assert ids["www"] != ids["shop"]


def test_an_opened_mail_is_found_by_its_message(steady: System, sent: Sent) -> None:
    """A minted token's gif is fetched; `records show --message` finds the open, and `mail` may read it."""
    minted = steady.do("token", "mint", "--site", "www", "--days", "7", "--for", sent.person.who)
    old = steady.do("token", "mint", "--site", "www", "--days", "-1", "--for", sent.person.who)
    for token in (minted["token"], old["token"], "A" * 48):
        gif = steady.http("GET", steady.url("collector", f"/o/{token}.gif"), None, {"User-Agent": FIREFOX})
        assert (gif.status, gif.headers["content-type"], len(gif.body)) == (200, "image/gif", GIF_BYTES)
    steady.still()
    opens = steady.do("records", "show", "--message", minted["message_id"])["events"]
    assert [each["outcome"] for each in opens] == ["routed"]
    late = steady.do("records", "show", "--message", old["message_id"])["events"]
    assert [(each["outcome"], each["code"]) for each in late] == [("discarded", "token_expired")]
    opened = steady.keys("mail").open(steady.delivery(opens[0]["event_id"], "mail"))
    assert opened["open_kind"] == "direct"


def test_a_page_view_follows_what_the_banner_said(steady: System) -> None:
    """Necessary purposes need no consent, analytics does, and a GPC signal denies it."""
    allowed, refused, signalled = somebody(), somebody(), somebody()
    yes = steady.browse(allowed, *allows("analytics"))
    no = steady.browse(refused, *allows("analytics", granted=False))
    gpc = steady.browse(signalled, *allows("analytics"), signals=["gpc"])
    steady.still()
    held = {e: {link["purpose"] for link in steady.outcome(e)["links"]} for e in (yes, no, gpc)}
    assert held == {yes: {"site_security", "analytics"}, no: {"site_security"}, gpc: {"site_security"}}


def test_the_run_file_is_complete_and_private(steady: System) -> None:
    """run.json, roles.json and every credential are 0600 and say what INTERFACE.md lists."""
    run = steady.run
    named = {"version", "run_id", "pid", "ready_at", "bootstrap", "security", "cluster_id", "urls", "ca_file"}
    named |= {"admin_token_file", "schemas_dir", "catalogue", "vault", "keys_dir", "logs_dir", "policy"}
    named |= {"processors", "topics", "clock", "sites", "broker"}
    assert named <= set(run)
    assert {"protocol", "mechanism", "ca", "auditor_file", "superuser_file"} <= set(run["security"])
    assert set(run["policy"]) == {"version", "sha256", "file"}
    assert run["clock"]["mode"] == "system"
    assert all({"topic", "group", "credentials_file"} <= set(each) for each in run["processors"].values())
    roles = steady.roles()
    assert {
        "collector",
        "tag",
        "route",
        "govern",
        "expire",
        "connect",
        "keys",
        "broker",
        "supervisor",
    } <= set(roles)
    assert len(set(roles.values())) == len(roles)
    assert {f"intake.{k}" for k in ("form", "email-open", "cookie", "signal")} | {
        "decisions",
        "lifecycle",
        "control",
        "receipts",
        "residue",
        "quarantine",
        "plain.warehouse",
        "processor.crm",
    } <= set(run["topics"])
    private = [steady.data / "run.json", steady.data / "roles.json", Path(run["admin_token_file"])]
    private += [path for path in Path(run["keys_dir"]).rglob("*") if path.is_file() and path.suffix != ".pem"]
    for path in private:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
