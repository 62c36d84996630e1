"""What was readable before its bucket is due is readable nowhere after, and everybody is told."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from tests.e2e.live.system import Person, System, allows, somebody
from tests.e2e.live.wire import Message, Record, micros

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

TEN_MINUTES = dt.timedelta(minutes=10)


def now(system: System) -> dt.datetime:
    """The vault's time as the run file has it."""
    return dt.datetime.fromisoformat(system.run["clock"]["now"])


def submit(system: System, person: Person, *purposes: str, ago: str = "PT0S", **extra: Any) -> str:
    """A server sends a person's form as collected at the manual clock's now, or some hours before."""
    at = now(system) - dt.timedelta(hours=int(ago[2:-1])) if ago != "PT0S" else now(system)
    event_id = system.submit(person, *allows(*purposes), server=True, collected_at=at.isoformat(), **extra)
    system.still()
    return event_id


def advance(system: System, by: str) -> dt.datetime:
    """Move the clock, confirmed."""
    said = system.do("clock", "advance", by, "--confirm")
    assert dt.datetime.fromisoformat(said["now"]) == now(system)
    return now(system)


def reached(lapse: Record, delivery: Record) -> set[str]:
    """The purposes of a delivery that a lapse reaches, as docs/wire.md says."""
    name, scope = lapse["scope"]
    ended = set()
    for grant in delivery["grants"]:
        if grant["decided"] >= lapse["reaches"]:
            continue
        bucket = name.endswith("Bucket") and all(grant[k] == scope[k] for k in ("purpose", "period", "terms"))
        person = name.endswith("Subject") and scope["subject_ref"] == delivery["subject_ref"]
        record = name.endswith("Record") and scope["delivery_id"] == delivery["delivery_id"]
        if (
            bucket
            or name.endswith("Processor")
            or ((person or record) and grant["purpose"] in scope["purposes"])
        ):
            ended.add(grant["purpose"])
    return ended


def behind(delivered: Message, lapses: list[Message]) -> list[Record]:
    """The lapses that lie in a delivery's partition after it."""
    after = [m for m in lapses if m.partition == delivered.partition and m.offset > delivered.offset]
    return [m.record for m in after if m.record is not None]


def test_an_unconfirmed_jump_is_refused_and_time_stands_still(manual: System) -> None:
    """`clock advance` without `--confirm` exits 3; `now` does not move, and what was open still opens."""
    event_id = submit(manual, somebody())
    before = now(manual)
    done = manual.lapse("clock", "advance", "PT7H")
    assert done.code == 3
    assert {"code", "what", "where", "do"} <= set(done.error())
    assert now(manual) == before
    assert manual.keys("crm").open(manual.delivery(event_id))
    assert manual.lapse("clock", "advance", "soon", "--confirm").code == 2
    assert manual.lapse("clock", "advance", "-PT1H", "--confirm").code == 2


def test_time_alone_moves_nothing_until_the_due_instant(manual: System) -> None:
    """A fraction of a second may be advanced; before due, the delivery opens whole."""
    person = somebody()
    event_id = submit(manual, person)
    start = now(manual)
    assert advance(manual, "PT0.5S") - start == dt.timedelta(seconds=0.5)
    opened = manual.keys("crm").open(manual.delivery(event_id))
    assert opened.items() >= person.fields.items()


def test_after_due_only_what_another_purpose_justifies_opens(manual: System) -> None:
    """Six hours end the request, eight the news: between them e-mail and name open, then nothing."""
    person = somebody()
    event_id = submit(manual, person, "marketing_email")
    shown = manual.outcome(event_id)
    delivered = manual.deliveries(shown, "crm")[0]
    assert delivered.record is not None
    delivery = delivered.record
    advance(manual, "PT6H")
    opened = manual.keys("crm").open(delivery)
    opened.pop("collected_at", None)
    assert opened == {"email": person.email, "name": person.name}
    closed = [p["closed"] for p in manual.keys("crm").ask([delivery])[0]["compartments"] if "closed" in p]
    assert closed
    assert all(
        c["cause"] == "retention" and c["code"] in ("expired", "destroyed") and c["since"] for c in closed
    )
    told = [reached(lapse, delivery) for lapse in behind(delivered, manual.lapses("crm"))]
    assert {"answer_request"} in told
    assert {"marketing_email"} not in told
    advance(manual, "PT2H")
    assert all(c["cause"] == "retention" for c in manual.keys("crm").closed(delivery))
    assert {"marketing_email"} in [
        reached(lapse, delivery) for lapse in behind(delivered, manual.lapses("crm"))
    ]


def test_a_bucket_is_destroyed_and_recorded_for_ever(manual: System) -> None:
    """The bucket's row says destroyed with its tally; lifecycle has one entry with that count and a root."""
    event_id = submit(manual, somebody())
    link = next(x for x in manual.outcome(event_id)["links"] if x["purpose"] == "answer_request")
    bucket = {name: link[name] for name in ("purpose", "period", "terms")}

    def row() -> dict[str, Any]:
        rows = manual.do("bucket", "list", "--purpose", "answer_request")["buckets"]
        return dict(next(each for each in rows if bucket.items() <= each.items()))

    assert row()["state"] == "open"
    due = dt.datetime.fromisoformat(row()["due"])
    assert dt.timedelta(0) < due - now(manual) <= dt.timedelta(hours=6)
    advance(manual, "PT6H")
    assert row()["state"] == "destroyed"
    found = [m.record for m in manual.kafka("auditor").records("Depersonalized", "lifecycle") if m.record]
    mine = [r for r in found if r["scope"][0].endswith("Bucket") and bucket.items() <= r["scope"][1].items()]
    assert len(mine) == 1
    assert mine[0]["cause"] == "retention"
    assert mine[0]["records"] == row()["tally"] >= 1
    proven = manual.do("lifecycle", "verify")
    assert proven["lapses"] >= 1 and proven["records"] >= mine[0]["records"] and proven["wrong"] == 0
    assert micros(mine[0]["effective_at"]) >= round(due.timestamp() * 1_000_000)
    tail = manual.do("lifecycle", "tail", "-n", "10000")["lifecycle"]
    assert any(
        each["lapse_id"] == mine[0]["lapse_id"].hex() for each in tail if each["what"] == "depersonalized"
    )


def test_a_processor_that_asks_for_it_is_told_per_delivery(manual: System) -> None:
    """`lapse: per_delivery` writes one lapse for each delivery, behind it, in its partition."""
    event_id = submit(manual, somebody(), "marketing_email")
    delivered = manual.deliveries(manual.outcome(event_id), "mail")[0]
    assert delivered.record is not None
    advance(manual, "PT8H")
    manual.still()
    mine = [
        lapse
        for lapse in behind(delivered, manual.lapses("mail"))
        if lapse["scope"][0].endswith("Record")
        and lapse["scope"][1]["delivery_id"] == delivered.record["delivery_id"]
    ]
    assert [lapse["scope"][1]["purposes"] for lapse in mine] == [["marketing_email"]]


def test_what_arrives_after_its_time_is_turned_away(manual: System) -> None:
    """A form older than its purpose's time is discarded as lapsed and leaves no person behind."""
    advance(manual, "PT8H")
    person = somebody()
    event_id = submit(manual, person, ago="PT7H", form="get-in-touch")
    ended = manual.ended(event_id)
    assert (ended["outcome"], ended["code"]) == ("discarded", "lapsed")
    assert "processor.crm" not in manual.outcome(event_id)["offsets"]


def test_every_delivery_that_is_due_is_closed_and_followed_by_its_lapse(manual: System) -> None:
    """A day later no delivery opens, and each grant has its lapse behind it (4 and 9)."""
    for _ in range(5):
        submit(manual, somebody(), "marketing_email")
    advance(manual, "P1D")
    examined = 0
    for name in ("crm", "mail", "warehouse"):
        messages = manual.kafka(name).read(f"processor.{name}")
        lapses = [m for m in messages if m.name == "Depersonalized"]
        deliveries = [m for m in messages if m.name == "RecordDelivered" and m.record]
        assert deliveries
        for message in deliveries:
            assert message.record is not None
            assert len(manual.keys(name).closed(message.record)) == len(message.record["compartments"])
            ended = {p for lapse in behind(message, lapses) for p in reached(lapse, message.record)}
            assert ended == {grant["purpose"] for grant in message.record["grants"]}
            examined += 1
    assert examined >= 15
    assert {row["state"] for row in manual.do("bucket", "list")["buckets"]} == {"destroyed"}


def test_who_comes_back_after_an_erasure_is_somebody_new(manual: System) -> None:
    """Past the clamp a form starts a person who shares no pseudonym with the erased one (7 and 8)."""
    person = somebody()
    old = manual.delivery(submit(manual, person))
    manual.do("subject", "erase", person.who, "--reason", "asked", "--yes")
    advance(manual, "PT6M")
    new = manual.delivery(submit(manual, person))
    assert new["subject_ref"] != old["subject_ref"]
    assert manual.keys("crm").open(new)["email"] == person.email
    manual.keys("crm").closed(old)
    late = manual.submit(
        person, server=True, collected_at=(now(manual) - dt.timedelta(minutes=6)).isoformat()
    )
    assert manual.ended(late)["code"] == "erased"


# ---- holds -------------------------------------------------------------------------------------------------
def test_a_hold_keeps_one_persons_purpose_past_its_time_under_its_id_alone(manual: System) -> None:
    """Held data closes for processors when due, opens under the hold, and never after its release (13)."""
    kept, other = somebody(), somebody()
    held = submit(manual, kept)
    submit(manual, other)
    placed = manual.do("hold", "place", kept.who, "--purpose", "answer_request", "--reason", "case 7")
    delivery = manual.delivery(held)
    assert manual.keys("crm").open(delivery)
    advance(manual, "PT6H")
    manual.keys("crm").closed(delivery)
    opened = manual.lapse("hold", "open", placed["hold_id"], "--reason", "case 7, court order")
    assert opened.code == 0, opened.err
    assert kept.email in opened.out
    assert kept.message in opened.out
    assert other.email not in opened.out
    revealed = [m.record for m in manual.kafka("auditor").records("FieldsRevealed", "decisions") if m.record]
    assert manual.outcome(held)["record_id"] in {r["record_id"].hex() for r in revealed}
    manual.do("hold", "release", placed["hold_id"], "--yes")
    refused = manual.lapse("hold", "open", placed["hold_id"], "--reason", "again")
    assert refused.code == 3
    assert kept.email not in refused.out + refused.err
    assert placed["hold_id"] not in str(manual.do("hold", "list")["holds"])


def test_a_held_persons_erasure_leaves_the_hold_readable_and_nothing_else(manual: System) -> None:
    """An erasure under a hold closes the data for everybody but the hold."""
    person = somebody()
    event_id = submit(manual, person)
    delivery = manual.delivery(event_id)
    placed = manual.do("hold", "place", person.who, "--purpose", "answer_request", "--reason", "case 8")
    manual.do("subject", "erase", person.who, "--reason", "asked", "--yes")
    manual.keys("crm").closed(delivery)
    assert person.email in manual.lapse("hold", "open", placed["hold_id"], "--reason", "case 8").out
    manual.do("hold", "release", placed["hold_id"], "--yes")
    assert manual.lapse("hold", "open", placed["hold_id"], "--reason", "again").code == 3


def test_an_unknown_hold_is_not_found(manual: System) -> None:
    """A hold nobody placed exits 4, an id that is none exits 2."""
    assert manual.lapse("hold", "open", "00" * 16, "--reason", "x").code == 4
    assert manual.lapse("hold", "release", "00" * 16, "--yes").code == 4
    assert manual.lapse("hold", "open", "zz", "--reason", "x").code == 2
