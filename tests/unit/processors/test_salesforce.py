"""The connector for Salesforce over its stand-in: one record per person, and nothing of them after an end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.answers import Answer, Done, Pause, Permanent, Refresh, Retry
from processors.fakes import salesforce as fake
from processors.fakes.faults import Fault, FaultKind
from processors.fakes.serving import Running
from processors.salesforce import MANIFEST, Salesforce
from processors.salesforce.wire import LIMIT
from schemas.errors import Refused, Unavailable
from tests.unit.processors.vendors import KEY, NOW, Known, done, erase, fault, retried, write

ANN = {"name": "Canary", "first_name": "Ann", "email": "ann@example.org", "city": "Ulm"}
SECRETS = {"client_id": "3MVG9" + "a" * 20, "client_secret": "b" * 32}
NOBODY = "(not given)"


@dataclass
class Set:
    """An org and how connectors are made for it."""

    running: Running
    org: fake.Org
    made: list[Salesforce]

    def again(self, secrets: dict[str, str] | None = None, **said: str | int | bool) -> Salesforce:
        """Return the connector as a restarted process has it."""
        mine = {"base_url": self.running.url, "allow_private": True, **said}
        self.made.append(
            Salesforce(
                processor="crm",
                settings=Salesforce.settings(mine, secrets or SECRETS),
                fields=MANIFEST.fields,
                wall=lambda: NOW,
            )
        )
        return self.made[-1]

    async def stop(self) -> None:
        """Close everything."""
        for each in self.made:
            await each.close()
        await self.running.stop()

    def fields(self, kind: str = "Contact") -> list[dict[str, object]]:
        """Return the fields of every record of a kind, without the external id."""
        return [
            {name: value for name, value in each["fields"].items() if name != "Subject_Key__c"}
            for each in self.org.held()
            if each["object"] == kind
        ]


async def set_up() -> Set:
    """Start an org."""
    running = await fake.start(credentials=SECRETS)
    assert isinstance(running.state, fake.Org)
    return Set(running, running.state, [])


@pytest.fixture
async def it() -> AsyncIterator[Set]:
    """An org."""
    made = await set_up()
    yield made
    await made.stop()


# ---- writing -----------------------------------------------------------------------------------------------
async def test_fields_arrive_under_salesforces_names_and_are_emptied(it: Set) -> None:
    """A write sets and empties what it names, and leaves the rest."""
    crm = it.again()
    first = done(await crm.call(write(ANN)))
    assert first.outcome == "delivered"
    assert len(first.evidence) == 32
    assert it.fields() == [
        {"FirstName": "Ann", "LastName": "Canary", "Email": "ann@example.org", "MailingCity": "Ulm"}
    ]
    second = write({"city": "Bonn"}, blank=["email", "name"], vendor_id=first.vendor_id, version=2)
    assert done(await crm.call(second)).vendor_id == first.vendor_id
    assert it.fields() == [{"FirstName": "Ann", "LastName": NOBODY, "MailingCity": "Bonn"}]
    assert await crm.present(KEY, first.vendor_id) == frozenset({"first_name", "city"})


async def test_a_record_without_a_name_gets_a_constant_and_keeps_a_name_it_has(it: Set) -> None:
    """`LastName` is mandatory: only where there is none does a constant stand there."""
    crm = it.again()
    done(await crm.call(write({"email": "ann@example.org"})))
    assert it.fields() == [{"LastName": NOBODY, "Email": "ann@example.org"}]
    done(await crm.call(write({"name": "Canary"}, version=2)))
    done(await crm.call(write({"email": "a@example.org"}, version=3)))
    assert it.fields() == [{"LastName": "Canary", "Email": "a@example.org"}]


async def test_a_lead_is_written_in_a_leads_words(it: Set) -> None:
    """Its address is called otherwise, and a company is mandatory."""
    crm = it.again(object="Lead")
    done(await crm.call(write(ANN)))
    [lead] = it.fields("Lead")
    assert lead == {
        "FirstName": "Ann",
        "LastName": "Canary",
        "Email": "ann@example.org",
        "City": "Ulm",
        "Company": NOBODY,
    }


async def _standing(crm: Salesforce, vendor_id: str) -> frozenset[str]:
    found = await crm.present(KEY, vendor_id)
    assert isinstance(found, frozenset)
    return found


async def test_a_converted_lead_is_written_at_its_contact(it: Set) -> None:
    """What was for the lead goes where its person has gone, and comes from there when it ends."""
    crm = it.again(object="Lead")
    first = done(await crm.call(write(ANN)))
    contact = it.org.rows.convert(KEY)
    moved = done(await crm.call(write({"city": "Bonn"}, vendor_id=first.vendor_id, version=2)))
    assert moved.vendor_id == contact
    assert it.fields()[0]["MailingCity"] == "Bonn"
    assert "city" in await _standing(crm, contact)
    gone = done(await crm.call(erase(vendor_id=contact)))
    assert gone.outcome == "manual_required"  # the lead could not be overwritten, and lies in the bin
    assert it.org.held() == []


async def test_a_converted_lead_leaves_the_bin_where_hard_deletes_are_allowed(it: Set) -> None:
    """Whatever the cause: only so nothing of the person is left."""
    crm = it.again(object="Lead", hard_delete=True)
    first = done(await crm.call(write(ANN)))
    it.org.rows.convert(KEY)
    gone = done(await crm.call(erase(vendor_id=first.vendor_id)))
    assert await _followed(crm, gone) == "completed"
    assert it.org.rows.bin == {}


async def test_a_blank_for_nobody_makes_nobody(it: Set) -> None:
    """Emptying a record that is not there leaves it so."""
    crm = it.again()
    assert done(await crm.call(write({}, blank=["email"]))).outcome == "already_absent"
    assert it.org.held() == []
    assert done(await crm.call(write({"order": "7"}))).outcome == "not_applicable"


async def test_old_versions_that_name_nothing_are_understood(it: Set) -> None:
    """An update answered 204 keeps the name that is known."""
    crm = it.again(api_version="v45.0")
    first = done(await crm.call(write(ANN)))
    again = done(await crm.call(write({"city": "Bonn"}, vendor_id=first.vendor_id, version=2)))
    assert again.vendor_id == first.vendor_id is not None


async def test_a_key_is_encoded(it: Set) -> None:
    """Whatever a key is made of, it stays one segment of the path."""
    crm = it.again()
    done(await crm.call(write(ANN, key="a/b c?d#e")))
    [held] = it.org.held()
    assert held["fields"]["Subject_Key__c"] == "a/b c?d#e"
    done(await crm.call(erase(key="a/b c?d#e")))
    assert it.org.held() == []


# ---- opting out --------------------------------------------------------------------------------------------
async def test_the_last_purpose_that_allows_mail_takes_it_along(it: Set) -> None:
    """A withdrawal opts out while the object stays; nothing of ours opts anybody in again."""
    crm = it.again(mail_purposes="newsletter, offers", call_purposes="calls")
    done(await crm.call(write(ANN, purposes=["newsletter", "calls"])))
    assert "HasOptedOutOfEmail" not in it.fields()[0]
    done(await crm.call(write(ANN, purposes=["calls"], version=2)))
    assert it.fields()[0]["HasOptedOutOfEmail"] is True
    assert "DoNotCall" not in it.fields()[0]
    done(await crm.call(write(ANN, purposes=["newsletter", "calls"], version=3)))
    assert it.fields()[0]["HasOptedOutOfEmail"] is True


async def test_what_our_own_end_opted_out_a_new_grant_opts_in(it: Set) -> None:
    """After an end that only overwrote, and was ours, the flags are taken back."""
    crm = it.again(individual=True)
    first = done(await crm.call(write(ANN)))
    individual = it.org.rows.introduce("Contact", KEY)
    assert first.vendor_id is not None
    it.org.rows.with_cases.add(first.vendor_id)
    assert done(await crm.call(erase(vendor_id=first.vendor_id))).outcome == "overwritten_only"
    assert it.org.rows.rows["Individual"][individual]["ShouldForget"] is True
    assert it.org.rows.rows["Individual"][individual]["LastName"] == NOBODY
    again = replace(write(ANN, version=3), again=True)
    done(await crm.call(again))
    assert "DoNotCall" not in it.fields()[0]
    assert it.org.rows.rows["Individual"][individual]["ShouldForget"] is False


# ---- retry classes -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("429", Retry(code="vendor_busy", landed=False)),
        ("5xx", Retry(code="vendor_down")),
        ("html", Retry(code="vendor_answer")),
        ("400", Retry(code="vendor_answer")),  # a 400 without Salesforce's errors is a proxy's
        ("lost_answer", Retry(code="vendor_timeout")),
        ("401", Refresh(code="vendor_login")),
    ],
)
async def test_what_may_pass_is_retried(it: Set, kind: FaultKind, answer: Answer) -> None:
    """Each class as the table of answers has it."""
    crm = it.again()
    await crm.check()
    it.org.faults.order(fault(kind))
    found = await crm.call(write(ANN))
    # how long the stand-in asks to be left alone is drawn
    assert (replace(found, after=None) if isinstance(found, Retry) else found) == answer


@pytest.mark.parametrize("hidden", [False, True])
async def test_a_row_lock_is_retried_wherever_it_is_named(it: Set, hidden: bool) -> None:
    """Also inside another error's message; nothing was done."""
    crm = it.again()
    it.org.rows.hide_locks = hidden
    it.org.rows.locks[KEY] = 1
    assert await crm.call(write(ANN)) == Retry(code="vendor_busy", landed=False)
    done(await crm.call(write(ANN)))


async def test_a_used_up_day_pauses_everything(it: Set) -> None:
    """The limit is the org's, not the object's."""
    crm = it.again()
    it.org.calls_left = 0
    assert await crm.call(write(ANN)) == Pause(code="vendor_busy", after=LIMIT)
    it.org.calls_left = None
    done(await crm.call(write(ANN)))


async def test_a_token_that_ends_is_renewed_once_for_all(it: Set) -> None:
    """Many calls meet the end of it at once; one logs in, also for who hears of the end last."""
    crm = it.again()
    await crm.check()
    it.org.expire()
    it.org.faults.order(Fault(kind="slow", seconds=0.3))

    async def one(number: int) -> Answer:
        call = write(ANN, key=f"{number:032x}")
        answer = await crm.call(call)
        if isinstance(answer, Refresh):
            await crm.refresh()
            answer = await crm.call(call)
        return answer

    assert all(isinstance(a, Done) for a in await asyncio.gather(*map(one, range(8))))
    assert it.org.counts["logins"] == 2
    assert len(it.org.held()) == 8


async def test_a_wrong_secret_pauses(it: Set) -> None:
    """A login that is refused is refused for every object."""
    crm = it.again({**SECRETS, "client_secret": "wrong"})
    answer = await crm.call(write(ANN))
    assert isinstance(answer, Pause)
    assert answer.code == "vendor_login"


@pytest.mark.parametrize(("kind", "landed"), [("5xx", False), ("html", False), ("lost_answer", False)])
async def test_a_login_that_fails_has_changed_nothing(it: Set, kind: FaultKind, landed: bool) -> None:
    """Nothing was asked of any object yet."""
    it.org.faults.order(fault(kind))
    assert retried(await it.again().call(write(ANN))).landed is landed


async def test_two_records_of_one_key_refuse_a_write_and_are_both_erased(it: Set) -> None:
    """300: which one is nobody's guess; but both go."""
    crm = it.again()
    done(await crm.call(write(ANN)))
    it.org.rows.twin(KEY)
    assert isinstance(await crm.call(write(ANN, version=2)), Permanent)
    assert done(await crm.call(erase())).outcome == "completed"
    assert it.org.held() == []


async def test_a_duplicate_rule_refuses_or_is_passed(it: Set) -> None:
    """As the policy says."""
    it.org.rows.no_duplicates = True
    crm, bold = it.again(), it.again(save_duplicates=True)
    done(await crm.call(write(ANN)))
    refused = await crm.call(write(ANN, key="other"))
    assert isinstance(refused, Permanent)
    assert len(refused.evidence) == 32
    done(await bold.call(write(ANN, key="other")))


async def test_a_refused_field_is_refused_for_good(it: Set) -> None:
    """A validation is not going to change its mind."""
    assert isinstance(await it.again().call(write({"email": "nowhere"})), Permanent)
    assert it.org.held() == []


async def test_a_hidden_external_id_pauses_and_is_never_taken_for_absence(it: Set) -> None:
    """Without the field nothing can be found, so nothing may be called absent."""
    crm = it.again(external_id_field="Wrong__c")
    for call in (write(ANN), write({}, blank=["email"]), erase()):
        answer = await crm.call(call)
        assert isinstance(answer, Pause)
        assert answer.code == "vendor_login"


# ---- erasing -----------------------------------------------------------------------------------------------
async def test_an_erased_record_leaves_constants_in_the_bin(it: Set) -> None:
    """Overwritten, deleted; asked again it is absent."""
    crm = it.again()
    first = done(await crm.call(write(ANN)))
    gone = done(await crm.call(erase(vendor_id=first.vendor_id)))
    assert gone.outcome == "completed"
    assert len(gone.evidence) == 32
    [(_, copy)] = it.org.rows.bin.values()
    assert {v for v in copy.values() if v is not None} == {first.vendor_id, KEY, NOBODY}
    assert await crm.present(KEY, first.vendor_id) == frozenset()
    absent = done(await crm.call(erase(vendor_id=first.vendor_id)))
    assert absent.outcome == "already_absent"
    assert len(absent.evidence) == 32


async def test_a_record_that_cannot_be_deleted_is_only_overwritten(it: Set) -> None:
    """Open cases keep it: nothing of the person stands there, and that is all that is said."""
    crm = it.again(blank_also="Birthdate")
    first = done(await crm.call(write(ANN)))
    assert first.vendor_id is not None
    it.org.rows.rows["Contact"][first.vendor_id]["Birthdate"] = "1990-01-01"
    it.org.rows.with_cases.add(first.vendor_id)
    assert done(await crm.call(erase(vendor_id=first.vendor_id))).outcome == "overwritten_only"
    assert it.fields() == [{"LastName": NOBODY, "HasOptedOutOfEmail": True, "DoNotCall": True}]
    assert await crm.present(KEY, first.vendor_id) == frozenset()


async def test_a_record_that_fills_itself_again_is_not_called_overwritten(it: Set) -> None:
    """A flow of the org writes the address back: that is seen, and asked again."""
    crm = it.again()
    first = done(await crm.call(write(ANN)))
    assert first.vendor_id is not None
    it.org.rows.with_cases.add(first.vendor_id)
    it.org.rows.refills = {"Email": "ann@example.org"}
    assert await crm.call(erase(vendor_id=first.vendor_id)) == Retry(code="vendor_kept")


async def test_a_record_whose_key_was_taken_off_is_found_by_its_id(it: Set) -> None:
    """Somebody cleared the external id: the id we were told still finds it."""
    crm = it.again()
    first = done(await crm.call(write(ANN)))
    assert first.vendor_id is not None
    it.org.rows.rows["Contact"][first.vendor_id]["Subject_Key__c"] = None
    assert await crm.present(KEY, first.vendor_id) == frozenset(
        {"name", "last_name", "first_name", "email", "city"}
    )
    assert done(await crm.call(erase(vendor_id=first.vendor_id))).outcome == "completed"
    assert it.org.held() == []


@pytest.mark.parametrize("takes_binned", [True, False])
async def test_an_erasure_empties_the_bin_and_follows_the_job(it: Set, takes_binned: bool) -> None:
    """Accepted first; completed when the job is, or when the bin holds constants only."""
    crm = it.again(hard_delete=True)
    it.org.bulk.takes_binned = takes_binned
    first = done(await crm.call(write(ANN)))
    gone = done(await crm.call(erase(vendor_id=first.vendor_id, cause="erasure")))
    assert gone.outcome == "accepted_async"
    assert it.org.held() == []
    assert await _followed(crm, gone) == "completed"
    assert bool(it.org.rows.bin) is not takes_binned


async def test_a_record_somebody_else_deleted_is_swept_and_else_only_absent(it: Set) -> None:
    """Their deletion left a copy with the person in it: the job takes it; without one nothing is claimed."""
    plain, crm = it.again(), it.again(hard_delete=True)
    first = done(await crm.call(write(ANN)))
    assert first.vendor_id is not None
    it.org.rows.drop("Contact", first.vendor_id)
    asked = erase(vendor_id=first.vendor_id, cause="erasure")
    assert done(await plain.call(asked)).outcome == "already_absent"
    assert await _followed(crm, done(await crm.call(asked))) == "completed"
    assert it.org.rows.bin == {}
    assert await _followed(crm, done(await crm.call(asked))) == "already_absent"


async def test_only_an_erasure_asks_for_a_hard_delete(it: Set) -> None:
    """Retention is done with an overwritten copy in the bin."""
    crm = it.again(hard_delete=True)
    first = done(await crm.call(write(ANN)))
    assert done(await crm.call(erase(vendor_id=first.vendor_id))).outcome == "completed"


async def test_without_the_permission_a_deletion_is_all(it: Set) -> None:
    """The copy in the bin holds constants."""
    crm = it.again(hard_delete=True)
    it.org.bulk.permitted = False
    first = done(await crm.call(write(ANN)))
    assert done(await crm.call(erase(vendor_id=first.vendor_id, cause="erasure"))).outcome == "completed"


@pytest.mark.parametrize("skip", range(8))
async def test_an_erasure_cut_at_any_step_ends_when_asked_again(it: Set, skip: int) -> None:
    """Lost answers in the middle leave nothing, in the bin neither."""
    crm = it.again(hard_delete=True)
    first = done(await crm.call(write(ANN)))
    it.org.faults.order(fault("lost_answer", skip=skip))
    asked = erase(vendor_id=first.vendor_id, cause="erasure")
    await crm.call(asked)
    again = done(await crm.call(asked))
    assert await _followed(crm, again) == "completed"
    assert it.org.held() == []
    assert it.org.rows.bin == {}


@pytest.mark.parametrize("state", ["Aborted", "Failed", None])
async def test_a_job_that_fails_leaves_what_was_true_before_it(it: Set, state: str | None) -> None:
    """Deleted and overwritten: completed; a copy that shows the person: a person's work."""
    crm = it.again(hard_delete=True)
    first = done(await crm.call(write(ANN)))
    gone = done(await crm.call(erase(vendor_id=first.vendor_id, cause="erasure")))
    assert gone.request is not None
    job = gone.request.split("+")[1]
    if state is None:
        del it.org.bulk.jobs[job]
    else:
        it.org.bulk.jobs[job]["state"] = state
    assert done(await crm.follow(gone.request)).outcome == "completed"
    for copies, outcome in [("dirty", "manual_required"), ("absent", "already_absent")]:
        assert done(await crm.follow(gone.request.replace("clean", copies))).outcome == outcome
    assert done(await crm.follow("what?")).outcome == "manual_required"


async def test_following_renews_the_login_by_itself(it: Set) -> None:
    """Jobs are looked at long after the token has ended."""
    crm = it.again(hard_delete=True)
    first = done(await crm.call(write(ANN)))
    gone = done(await crm.call(erase(vendor_id=first.vendor_id, cause="erasure")))
    it.org.expire()
    assert await _followed(crm, gone) == "completed"


async def test_while_the_org_is_away_nothing_can_be_looked_at(it: Set) -> None:
    """A look that cannot be taken proves no erasure."""
    crm = it.again()
    done(await crm.call(write(ANN)))
    it.org.faults.order(fault("5xx", times=3))
    assert await crm.present(KEY, None) == Retry(code="vendor_down")


async def _followed(crm: Salesforce, gone: Done) -> str:
    assert gone.request is not None, gone
    for _ in range(6):
        answer = await crm.follow(gone.request)
        if isinstance(answer, Done):
            return answer.outcome
        assert retried(answer).well
    raise AssertionError("never done")


# ---- credentials -------------------------------------------------------------------------------------------
async def test_a_check_proves_login_and_fields_and_moves_nothing(it: Set) -> None:
    """Right; without the external id; with a field that is not there; away; a wrong secret."""
    await it.again().check()
    with pytest.raises(Refused, match="Email is no unique external id"):
        await it.again(external_id_field="Email").check()
    with pytest.raises(Refused, match="Ssn__c"):
        await it.again(blank_also="Ssn__c").check()
    it.org.faults.order(fault("5xx"))
    with pytest.raises(Unavailable):
        await it.again().check()
    with pytest.raises(Refused):
        await it.again({**SECRETS, "client_id": "wrong"}).check()


async def test_nothing_of_a_person_reaches_the_log(it: Set, caplog: pytest.LogCaptureFixture) -> None:
    """On every level, through writes, faults and erasures."""
    with caplog.at_level(logging.DEBUG):
        crm = it.again()
        for kind in ("429", "5xx", "html", "lost_answer"):
            it.org.faults.order(fault(kind, skip=1))
            await crm.call(write(ANN))
        await crm.call(erase(cause="erasure"))
    assert not any(value in caplog.text for value in [*ANN.values(), KEY, *SECRETS.values()])


# ---- everything at once ------------------------------------------------------------------------------------
STEP = st.tuples(
    st.sampled_from(["write", "again", "erase", "erase for good", "restart", "expire", "lock"]),
    st.dictionaries(st.sampled_from(["name", "email", "city"]), st.sampled_from(["a@b.cd", "c@d.ef"])),
    st.sampled_from([None, "lost_answer", "429", "5xx", "html"]),
    st.integers(0, 6),
)


@pytest.mark.parametrize("kind", ["Contact", "Lead"])
@given(st.lists(STEP, min_size=1, max_size=9))
@settings(max_examples=25, deadline=None)
def test_any_order_of_events_leaves_what_the_last_finished_call_said(
    kind: str, steps: list[tuple[str, dict[str, str], FaultKind | None, int]]
) -> None:
    """One record at most, and in the end exactly the fields of the last call."""
    asyncio.run(_walk(kind, steps))


async def _walk(kind: str, steps: list[tuple[str, dict[str, str], FaultKind | None, int]]) -> None:
    it = await set_up()
    known = Known(it.again(object=kind, hard_delete=True))
    fields: dict[str, str] = {}
    for what, drawn, strikes, skip in steps:
        it.org.faults.order(fault(strikes or "429", skip=skip, times=1 if strikes else 0))
        if what == "restart":
            known.recipient = it.again(object=kind, hard_delete=True)
        elif what == "expire":
            it.org.expire()
        elif what == "lock":
            it.org.rows.locks[KEY] = 1
        elif what.startswith("erase"):
            await known.erase("erasure" if what == "erase for good" else "retention")
        else:
            fields = fields if what == "again" else drawn
            blank = [name for name in ("name", "email", "city") if name not in fields]
            await known.write(fields, blank, again=what == "again")
        assert len(it.org.held()) <= 1
        if known.sure and known.stands is not None:
            assert it.fields(kind) == _expected(kind, known.stands, there=bool(it.org.held()))
    it.org.faults.order(fault("429", times=0))
    it.org.rows.locks.clear()
    if steps[-1][0].startswith("erase"):
        done(await known.erase("retention"))
        assert it.org.held() == []
    else:
        done(await known.write({"name": "Zoe"}, ["email", "city"], again=False))
        assert it.fields(kind) == _expected(kind, {"name": "Zoe"}, there=True)
    await it.stop()


def _expected(kind: str, stands: dict[str, str], *, there: bool) -> list[dict[str, str]]:
    if not stands and not there:
        return []
    city = "City" if kind == "Lead" else "MailingCity"
    names = {"name": "LastName", "email": "Email", "city": city}
    constants = {"LastName": NOBODY, **({"Company": NOBODY} if kind == "Lead" else {})}
    return [{**constants, **{names[name]: value for name, value in stands.items()}}]
