"""Opening at the moment of use: every reason to refuse, the order of reasons, and what opens."""

import pytest
from msgspec.structs import replace

from schemas.ids import DeliveryId, Handle, Micros, Period, RecordId, Slot, SubjectRef, Terms
from schemas.models import Grant, Link, RecordDelivered, RecordTagged
from tests.unit.vault.worlds import DAY, START, Plan, World, bucket, wanted
from vault.deliveries import (
    AskedCompartment,
    AskedDelivery,
    OpenFields,
    OpenKey,
    asked_of,
    delivery_keys,
    open_deliveries,
)
from vault.ending import apply_statements, end_bucket, erase
from vault.handles import delivery_id, handle_key, make_handles
from vault.keys import derive_k, new_key, random_bytes
from vault.opening import (
    UNKNOWN,
    Ask,
    Found,
    Recipiency,
    Usable,
    asks_of,
    barred,
    find,
    may_open,
    may_use,
    open_fields,
)
from vault.sealing import (
    DeliveredPart,
    DeliveryHeader,
    Part,
    RecordHeader,
    encode_fields,
    seal_delivery,
    seal_record,
)
from vault.values import (
    BucketId,
    BucketRow,
    Closed,
    ProcessorState,
    PurposeState,
    Statement,
    SubjectState,
)

NEWS, ADS = Plan(name="news", basis="contract"), Plan(name="ads")
CRM = ProcessorState(name="crm", approved=True, since=START, assurance_until=Micros(START + DAY))
LATER = Micros(START + 2 * DAY)
ROW = BucketRow(id=bucket(), due=LATER, first_seen=START, last_seen=START)
PERSON = SubjectState(
    number=bucket().period.__class__(7),  # type: ignore[arg-type]
    purposes={"news": PurposeState(key=b"k" * 32, generation=1, last_generation=1, oldest=START)},
)
FOUND = Found(ROW, b"b" * 32, PERSON.number, 1, PERSON)
TO = Recipiency(
    "crm", CRM, {"news": NEWS, "ads": ADS}, {"news": frozenset({"email"})}, frozenset({"email", "name"})
)


# ---- may_use, may_open: pure -------------------------------------------------------------------------------
def held(**other: object) -> Found:
    """The person with another state of the purpose."""
    changed = PERSON.having("news", replace(PERSON.purpose("news"), **other))
    return FOUND._replace(subject=changed)


@pytest.mark.parametrize(
    ("found", "code", "since"),
    [
        (Found(), "unknown", None),
        (FOUND._replace(row=replace(ROW, state="hidden", hidden_at=START)), "hidden", START),
        (FOUND._replace(row=replace(ROW, state="destroyed", destroyed_at=START)), "destroyed", START),
        (FOUND._replace(row=replace(ROW, due=START)), "expired", START),
        (FOUND._replace(key=None), "unknown", None),
        (FOUND._replace(number=None), "unknown", None),
        (FOUND._replace(subject=None), "unknown", None),
        (FOUND._replace(generation=2), "unknown", None),
        (held(restricted=True), "restricted", None),
        (held(due=START), "expired", START),
    ],
)
def test_a_link_is_closed_for_each_reason(found: Found, code: str, since: Micros | None) -> None:
    """Bucket first, then the handle, then the person, then an anchored due date."""
    closed = may_use(found, NEWS, START)
    assert isinstance(closed, Closed) and (closed.code, closed.since) == (code, since)


def test_a_usable_link_gives_k_until_it_is_due() -> None:
    """K is derived from both parents; an anchored due date shortens the answer."""
    k = derive_k(b"b" * 32, b"k" * 32)
    assert may_use(FOUND, NEWS, START) == Usable(k, PERSON.number, 1, LATER)
    assert may_use(held(due=Micros(START + 5)), NEWS, START) == Usable(k, PERSON.number, 1, Micros(START + 5))
    assert may_use(FOUND, NEWS, Micros(LATER - 1)) == Usable(k, PERSON.number, 1, LATER)


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (None, "not_approved"),
        (replace(CRM, approved=False), "not_approved"),
        (replace(CRM, suspended=True), "suspended"),
        (replace(CRM, assurance_until=START), "assurance_ended"),
    ],
)
def test_a_barred_processor_opens_nothing(state: ProcessorState | None, code: str) -> None:
    """Approval, suspension and assurance come before everything else."""
    for found in (FOUND, Found()):
        closed = may_open(TO._replace(state=state), "news", found, START)
        assert isinstance(closed, Closed) and closed.code == code
    assert barred(replace(CRM, assurance_until=None), START) is None


def test_a_processor_opens_what_policy_consent_and_assurance_allow() -> None:
    """Category, revision and purpose are judged; the assurance shortens the answer."""
    opened = may_open(TO, "news", FOUND, START, category="email")
    assert isinstance(opened, Usable) and opened.use_until == START + DAY
    endless = TO._replace(state=replace(CRM, assurance_until=None))
    opened = may_open(endless, "news", FOUND, START, highest=1)
    assert isinstance(opened, Usable) and opened.use_until == LATER
    assert may_open(TO, "news", FOUND, START, category="name") == Closed(code="not_granted")
    assert may_open(TO, "gone", FOUND, START) == Closed(code="not_granted")
    assert may_open(TO, "gone", Found(), START) == UNKNOWN
    closed = may_open(TO, "news", FOUND, START, revision=1, highest=2)
    assert closed == Closed(code="superseded", cause="rectification")
    assert may_open(TO, "ads", FOUND, START) == UNKNOWN


# ---- over a vault ------------------------------------------------------------------------------------------
class _Told:
    """One person's record and its delivery to two processors, as tag and route would make them."""

    def __init__(self, world: World) -> None:
        self.world = world
        with world.write() as tx:
            self.person = world.person(tx, "a@x", purposes=("news", "ads"))
            said = Statement(purpose="ads", granted=True, at=START)
            apply_statements(tx, self.person, [said], world.herald)
            ids = [bucket("news"), bucket("ads")]
            tx.ensure_buckets([wanted(i, LATER) for i in ids])
            keys = tx.bucket_keys(ids)
            tx.put_processor(CRM)
            self.seq = tx.seq
        number = self.person.number
        self.ks = [derive_k(keys[i], self.person.purposes[i.purpose].key or b"") for i in ids]
        self.record_id = RecordId(b"r" * 16)
        handles = [make_handles(handle_key(keys[i]), [(number, 1, self.record_id)])[0] for i in ids]
        links = [
            Link(purpose=n, period=Period(1), terms=Terms(1), handle=handle)
            for n, handle in enumerate(handles)
        ]
        header = RecordHeader(self.record_id, 1, "form/demo", 1, links)
        parts = [Part((0,), (0, 1), encode_fields(["a@x"])), Part((1,), (1,), encode_fields(["Ada", None]))]
        self.record = RecordTagged(
            record_id=self.record_id,
            revision=1,
            source="form/demo",
            schema_id=1,
            policy=1,
            tagged_at=START,
            slot=Slot(0),
            links=links,
            compartments=seal_record(header, parts, self.ks, random_bytes),
        )
        self.crm = self.deliver("crm", keys)
        self.mail = self.deliver("mail", keys)

    def deliver(self, name: str, keys: dict[BucketId, bytes]) -> RecordDelivered:
        own = delivery_id(self.world.vault.secrets.processor(name), self.record_id)
        ids = [bucket("news"), bucket("ads")]
        grants = [
            Grant(
                purpose=i.purpose,
                period=i.period,
                terms=i.terms,
                handle=make_handles(handle_key(keys[i]), [(self.person.number, 1, own)])[0],
                decided=self.seq,
                use_until=LATER,
            )
            for i in ids
        ]
        parts = [
            DeliveredPart("email", (0, 1), {"email": "a@x"}),
            DeliveredPart("name", (1,), {"name": "Ada"}),
        ]
        sealed = seal_delivery(
            DeliveryHeader(own, 1, "form/demo", grants), parts, self.ks, name, random_bytes
        )
        return RecordDelivered(
            delivery_id=own,
            subject_ref=SubjectRef(bytes(16)),
            revision=1,
            source="form/demo",
            schema_id=1,
            compartments=sealed,
            grants=grants,
        )

    def codes(self, delivery: RecordDelivered, to: Recipiency = TO) -> list[str]:
        """What each compartment of a delivery answers."""
        with self.world.read() as tx:
            (opened,) = open_deliveries(tx, to, [delivery])
        return [each.code if isinstance(each, Closed) else "open" for each in opened]


BOTH = TO._replace(grants={"news": frozenset({"email"}), "ads": frozenset({"email", "name"})})


def test_fields_of_a_record_open_by_its_usable_links(world: World) -> None:
    """A compartment opens by any link; with one withdrawn the other still opens what it justifies."""
    told = _Told(world)
    asks = asks_of(told.record, {0: "news", 1: "ads"})
    with world.read() as tx:
        found = find(tx, asks)
        used = [may_use(f, plan, tx.now) for f, plan in zip(found, (NEWS, ADS), strict=True)]
    assert open_fields(told.record, used) == [["a@x"], ["Ada", None]]
    denied = Statement(purpose="ads", granted=False, at=Micros(START + 1))
    with world.write() as tx:
        apply_statements(tx, tx.subjects([told.person.number])[told.person.number], [denied], world.herald)
    with world.read() as tx:
        used = [may_use(f, plan, tx.now) for f, plan in zip(find(tx, asks), (NEWS, ADS), strict=True)]
    fields, closed = open_fields(told.record, used)
    assert fields == ["a@x"] and isinstance(closed, Closed) and closed.code == "withdrawn"
    assert open_fields(told.record, []) == [UNKNOWN, UNKNOWN]


def test_a_delivery_opens_for_its_processor(world: World) -> None:
    """Fields, category and the shortest of all dates come back; reprs name neither keys nor fields."""
    told = _Told(world)
    with world.read() as tx:
        ((email, name),) = open_deliveries(tx, BOTH, [told.crm])
        ((key, _),) = delivery_keys(tx, BOTH, [asked_of(told.crm)])
    assert email == OpenFields({"email": "a@x"}, "email", Micros(START + DAY))
    assert isinstance(name, OpenFields) and name.fields == {"name": "Ada"}
    assert isinstance(key, OpenKey) and (repr(key), repr(name)) == ("OpenKey(email)", "OpenFields(name)")


def test_a_category_no_longer_granted_stays_closed(world: World) -> None:
    """Today's policy decides: a narrowed grant closes its category and leaves the rest (model m2)."""
    told = _Told(world)
    assert told.codes(told.crm, TO) == ["open", "not_granted"]
    assert told.codes(told.crm, TO._replace(grants={})) == ["not_granted", "not_granted"]
    assert told.codes(told.crm, TO._replace(purposes={})) == ["not_granted", "not_granted"]


def test_another_processors_delivery_is_not_yours(world: World) -> None:
    """Its handle and bucket are fine, its wrap is not ours; so it is with a tampered wrap."""
    told = _Told(world)
    assert told.codes(told.mail, BOTH) == ["not_yours", "not_yours"]


def test_unknown_erased_and_tampered_are_alike(world: World) -> None:
    """Code, cause and since do not tell whether the person was erased or the handle was made up."""
    told = _Told(world)
    grants = [replace(g, handle=Handle(bytes(16))) for g in told.crm.grants]
    tampered = replace(told.crm, grants=grants)
    elsewhere = replace(told.crm, grants=[replace(g, purpose="nowhere") for g in told.crm.grants])
    everywhere = BOTH._replace(purposes={**BOTH.purposes, "nowhere": NEWS})
    with world.write() as tx:
        erase(tx, [world.hash("a@x")], tx.now, world.herald)
    with world.read() as tx:
        answers = [open_deliveries(tx, everywhere, [d]) for d in (told.crm, tampered, elsewhere)]
    assert answers == [[[UNKNOWN, UNKNOWN]]] * 3


def test_each_ending_closes_with_its_reason(world: World) -> None:
    """Withdrawal, end of the bucket and destruction say so, each in its turn."""
    told = _Told(world)
    denied = Statement(purpose="ads", granted=False, at=Micros(START + 1))
    with world.write() as tx:
        apply_statements(tx, tx.subjects([told.person.number])[told.person.number], [denied], world.herald)
    assert told.codes(told.crm, BOTH) == ["open", "withdrawn"]
    with world.write() as tx:
        end_bucket(tx, bucket("news"), world.herald)
    assert told.codes(told.crm, BOTH) == ["hidden", "withdrawn"]
    world.finish()
    assert told.codes(told.crm, BOTH) == ["destroyed", "withdrawn"]


def test_what_is_due_is_expired_before_anybody_ends_it(world: World) -> None:
    """The bucket's row decides, not the expiry loop."""
    told = _Told(world)
    world.vault.clock.set_manual(LATER)
    endless = BOTH._replace(state=replace(CRM, assurance_until=None))
    assert told.codes(told.crm, endless) == ["expired", "expired"]


def test_only_the_highest_revision_opens(world: World) -> None:
    """A rectified delivery stays closed, and claiming another revision opens nothing (invariant 14)."""
    told = _Told(world)
    with world.write() as tx:
        tx.supersede({told.crm.delivery_id: 2})
    assert told.codes(told.crm, BOTH) == ["superseded", "superseded"]
    assert told.codes(replace(told.crm, revision=2), BOTH) == ["not_yours", "not_yours"]


def test_what_a_consumer_makes_up_is_closed_not_an_error(world: World) -> None:
    """Huge numbers, odd lengths and characters, missing wraps and bad indexes are answered as unknown."""
    told = _Told(world)
    asked = asked_of(told.crm)
    wrap = asked.compartments[0].wraps[0]
    odd = [
        wrap._replace(period=2**80),
        wrap._replace(terms=-1),
        wrap._replace(handle=b""),
        wrap._replace(purpose=""),
        wrap._replace(purpose="\ud800"),
    ]
    made_up = [AskedDelivery(asked.delivery_id, 1, [AskedCompartment(0, [w])]) for w in odd] + [
        AskedDelivery(asked.delivery_id, 2**40, [AskedCompartment(0, [wrap])]),
        AskedDelivery(asked.delivery_id, 1, [AskedCompartment(2**20, [wrap])]),
        AskedDelivery(asked.delivery_id, -1, [AskedCompartment(0, [])]),
        AskedDelivery(DeliveryId(b""), 1, [AskedCompartment(0, [wrap])]),
        AskedDelivery(asked.delivery_id, 1, []),
        AskedDelivery(asked.delivery_id, 1, [AskedCompartment(0, [wrap._replace(key=b"short")])]),
    ]
    with world.read() as tx:
        answers = delivery_keys(tx, BOTH, made_up)
    codes = [[c.code if isinstance(c, Closed) else "open" for c in answer] for answer in answers]
    assert codes == [["unknown"]] * 9 + [[], ["not_yours"]]
    out_of_range = replace(told.crm.compartments[0].wraps[0], grant=9)
    broken = replace(told.crm, compartments=[replace(told.crm.compartments[0], wraps=[out_of_range])])
    assert told.codes(broken, BOTH) == ["unknown"]


def test_sealed_bytes_that_were_changed_do_not_open(world: World) -> None:
    """The key is given, the bytes are not what it sealed."""
    told = _Told(world)
    first = told.crm.compartments[0]
    changed = replace(first, sealed=first.sealed[:-1] + bytes([first.sealed[-1] ^ 1]))
    assert told.codes(replace(told.crm, compartments=[changed]), BOTH) == ["unknown"]


def test_many_are_opened_in_the_order_asked(world: World) -> None:
    """A batch answers each delivery in its place."""
    told = _Told(world)
    with world.read() as tx:
        answers = open_deliveries(tx, BOTH, [told.mail, told.crm] * 20)
    assert [isinstance(a[0], OpenFields) for a in answers] == [False, True] * 20


def test_a_handle_to_somebody_the_vault_does_not_know_is_unknown(world: World) -> None:
    """A number nobody has, or that no vault could have, leads nowhere."""
    _Told(world)
    with world.read() as tx:
        key = handle_key(tx.bucket_keys([bucket()])[bucket()])
        numbers = [PERSON.number, type(PERSON.number)(2**63)]
        made = make_handles(key, [(n, 1, b"r" * 16) for n in numbers])
        found = find(tx, [Ask(bucket(), handle, b"r" * 16) for handle in made])
    assert [f.subject for f in found] == [None, None] and new_key() != new_key()
