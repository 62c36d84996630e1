"""One revision of a record opens, under every name it has; on every store."""

from schemas import codec
from schemas.ids import RecordId, Slot
from schemas.models import Depersonalized, RecordRectified, RecordScope
from tests.unit.vault.worlds import DAY, START, World
from vault.handles import delivery_id, partition_of, subject_ref
from vault.herald import announce_correction
from vault.rectifying import AGAIN, correction_id, rectify, rectify_again

RECORD = RecordId(b"r" * 16)


def test_a_new_revision_counts_under_every_name_and_stands_on_control(world: World) -> None:
    """The record's own id and its id at each processor; control is told of the record and nothing else."""
    with world.write() as tx:
        rectify(tx, world.herald, RECORD, 2)
    names = [delivery_id(world.vault.secrets.processor(name), RECORD) for name in ("crm", "mail")]
    with world.read() as tx:
        assert tx.superseded([RECORD, *names]) == dict.fromkeys([RECORD, *names], 2)
    (row,) = world.drain()
    said = codec.decode_as(RecordRectified, row.value)
    assert (row.topic, said.record_id, said.revision, said.ordered_by) == ("control", RECORD, 2, "lapse")
    with world.read() as tx:
        assert tx.command_judged(said.command_id) is not None, "reading it does nothing again"


def test_a_restored_vault_takes_a_correction_once_more(world: World) -> None:
    """Said again, nothing is owed and none is lowered; what it has not seen is remembered as to be taken."""
    with world.write() as tx:
        rectify_again(tx, world.herald, RECORD, 3)
        rectify_again(tx, world.herald, RECORD, 2)
        tx.put_seen({correction_id(RECORD, 4): b"d" * 16})
        rectify_again(tx, world.herald, RECORD, 4)
    assert world.drain() == []
    with world.read() as tx:
        assert tx.superseded([RECORD]) == {RECORD: 4}
        seen = tx.seen([correction_id(RECORD, 3), correction_id(RECORD, 4)])
    assert seen == {correction_id(RECORD, 3): AGAIN, correction_id(RECORD, 4): b"d" * 16}


def test_who_keeps_an_old_revision_is_told_in_its_partition(world: World) -> None:
    """Under the id and the pseudonym it knows, with a date to answer by; twice is one lapse."""
    with world.write() as tx:
        number = world.person(tx, "a@x").number
        for _ in range(2):
            announce_correction(tx, world.herald, "crm", number, (RECORD, 2, Slot(200)), ["news"])
        seq = tx.seq
    secret = world.vault.secrets.processor("crm")
    rows = world.drain()
    lapses = [codec.decode_as(Depersonalized, row.value) for row in rows]
    assert {(row.topic, row.partition, row.key) for row in rows} == {
        ("processor.crm", partition_of(Slot(200), 4), subject_ref(secret, number))
    }
    assert len({lapse.lapse_id for lapse in lapses}) == 1
    assert lapses[0].scope == RecordScope(delivery_id=delivery_id(secret, RECORD), purposes=["news"])
    assert (lapses[0].cause, lapses[0].reaches, lapses[0].answer_by) == ("rectification", seq, START + DAY)
    with world.read() as tx:
        assert tx.task("crm", lapses[0].lapse_id) is not None
