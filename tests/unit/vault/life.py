"""A vault's whole life in small, and what must hold of it however often it was cut short.

Each step can be done again, as the roles do theirs: fences, plans and states say what is done already.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from schemas import codec
from schemas.ids import Micros, RecordId
from schemas.models import Depersonalized
from tests.unit.vault.worlds import START, World, bucket, wanted
from vault.ending import apply_statements, end_bucket, erase
from vault.epochs import FileEpochKeys
from vault.keys import new_key
from vault.port import Tx
from vault.store import Store
from vault.subjects import resolve, with_key
from vault.values import AliasRow, Statement
from vault.vaults import StoreVault

CHUNKS = 4
DOOMED, LIVING = bucket("news", 1), bucket("news", 2)


def opened(store: Store, folder: Path) -> World:
    """The vault, as a process that has just started opens it."""
    keys = FileEpochKeys(folder / "keys", folder / "backup")
    return World(
        store=store, keys=keys, vault=StoreVault(store, keys, mode="manual", start=START), folder=folder
    )


def live(world: World) -> None:
    """Do all of it, or what is left of it."""
    for step in steps(world):
        step()


def steps(world: World) -> Iterator[Callable[[], object]]:
    """What is done, in order."""
    for at in range(CHUNKS):
        yield partial(chunk, world, at)
    yield lambda: world.vault.beside(lambda tx: tx.tell_buckets([(DOOMED, "crm"), (LIVING, "crm")]))
    yield lambda: ended(world)
    yield lambda: withdrawn(world, 0)
    yield lambda: announced(world)
    yield lambda: world.vault.turn_epoch(batch=3)
    yield lambda: erased(world, 1)
    yield lambda: announced(world)


def name(world: World, at: int) -> bytes:
    """The identifier of the person of one chunk."""
    return world.hash(f"{at}@x")


def chunk(world: World, at: int) -> None:
    """One event: commit 1 plans it and makes its keys, commit 2 counts it."""

    def judge(tx: Tx) -> None:
        if (tx.progress("t", 0) or 0) > at or tx.plan("t", 0) is not None:
            return
        assert not resolve(tx.aliases([name(world, at)]).get(name(world, at), ()), tx.now).subjects
        tx.ensure_buckets([wanted(DOOMED), wanted(LIVING)])
        state = with_key(tx.new_subject(), "news", START, new_key)
        tx.put_subjects([with_key(state, "ads", START, new_key)])
        tx.put_aliases([AliasRow(hash=name(world, at), subject=state.number, since=START)])
        tx.put_seen({RecordId(bytes([at] * 16)): bytes(16)})
        tx.put_plan("t", 0, state.number.to_bytes(8, "big"))

    def settle(tx: Tx) -> None:
        if (tx.progress("t", 0) or 0) > at:
            return
        tx.add_tally({DOOMED: 1, LIVING: 1})
        tx.drop_plan("t", 0)
        tx.set_progress("t", 0, at + 1)

    world.vault.beside(judge)
    remember(world, at)
    world.vault.beside(settle, counts=True)


def ended(world: World) -> None:
    """The doomed bucket's time is over."""
    with world.write() as tx:
        end_bucket(tx, DOOMED, world.herald)


def withdrawn(world: World, at: int) -> None:
    """One person takes back one consent."""
    with world.write() as tx:
        (row,) = tx.aliases([name(world, at)])[name(world, at)]
        assert row.subject is not None
        state = tx.subjects([row.subject])[row.subject]
        denied = Statement(purpose="ads", granted=False, at=Micros(START + 1))
        apply_statements(tx, state, [denied], world.herald)


def erased(world: World, at: int) -> None:
    """One person is erased."""
    with world.write() as tx:
        erase(tx, [name(world, at)], START, world.herald)


def announced(world: World) -> None:
    """What is owed goes to the log, then its row."""
    while True:
        with world.read() as tx:
            rows = tx.outbox(2)
        if not rows:
            return
        with (world.folder / "log").open("a") as log:
            log.writelines(f"{row.kind} {row.value.hex()}\n" for row in rows)
        with world.write() as tx:
            tx.delete_outbox([row.id for row in rows])


# ---- what was acknowledged, kept outside -------------------------------------------------------------------
def remember(world: World, at: int) -> None:
    """Keep what an acknowledged commit 1 gave out: digests of the keys it would seal under."""
    path = world.folder / f"given-{at}.json"
    if path.exists():
        return
    with world.read() as tx:
        (row,) = tx.aliases([name(world, at)])[name(world, at)]
        assert row.subject is not None
        held = tx.subjects([row.subject])[row.subject].purposes
        digests = {p: hashlib.sha256(s.key or b"").hexdigest() for p, s in held.items()}
    path.write_text(json.dumps({"number": row.subject, "keys": digests}))


# ---- what must hold ----------------------------------------------------------------------------------------
def holds_midway(world: World) -> None:
    """At any moment: what was given out is there (5); what is destroyed opens nothing, and is told (4)."""
    with world.read() as tx:
        fence, plan = tx.progress("t", 0) or 0, tx.plan("t", 0)
        rows, keys = tx.buckets([DOOMED, LIVING]), tx.bucket_keys([DOOMED, LIVING])
        given = [at for at in range(CHUNKS) if (world.folder / f"given-{at}.json").exists()]
        assert fence in (len(given), len(given) - 1) and (plan is not None or fence == len(given))
        assert all(row.tally == fence for row in rows.values())
        owed = [row.value for row in tx.outbox(100) if row.kind == "Depersonalized"]
        if rows:
            over = rows[DOOMED].ended_at is not None
            assert (DOOMED in keys) is not over and LIVING in keys
            if over:
                assert any(
                    codec.decode_as(Depersonalized, v).cause == "retention" for v in [*owed, *told(world)]
                )
        for at in given:
            of_one(world, tx, at)


def of_one(world: World, tx: Tx, at: int) -> None:
    """One person's keys are those that were given out, but for what they took back."""
    given = json.loads((world.folder / f"given-{at}.json").read_text())
    found = tx.aliases([name(world, at)])[name(world, at)]
    numbers = {row.subject for row in found if row.subject is not None}
    if not numbers:
        assert at == 1 and any(row.until is not None for row in found), "erased, and closed"
        return
    assert numbers == {given["number"]}, "one event makes one person, however often it is done (11)"
    held = tx.subjects(numbers)[given["number"]].purposes
    for purpose, digest in given["keys"].items():
        key = held[purpose].key
        if key is None:
            assert (at, purpose) == (0, "ads")
        else:
            assert hashlib.sha256(key).hexdigest() == digest


def told(world: World) -> list[bytes]:
    """The lapses on the log."""
    log = world.folder / "log"
    lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return [bytes.fromhex(value) for kind, value in lines if kind == "Depersonalized"]


def holds_at_last(world: World) -> None:
    """In the end everything is as if nothing had ever been cut short."""
    holds_midway(world)
    with world.read() as tx:
        assert tx.progress("t", 0) == CHUNKS and tx.plan("t", 0) is None and tx.outbox_count() == 0
        assert tx.buckets([DOOMED])[DOOMED].state == "destroyed" and tx.epoch_turns()
        assert len(tx.seen([RecordId(bytes([at] * 16)) for at in range(CHUNKS)])) == CHUNKS
    lapses = {codec.decode_as(Depersonalized, value).lapse_id: value for value in told(world)}
    causes = [codec.decode_as(Depersonalized, value).cause for value in lapses.values()]
    assert {c: causes.count(c) for c in causes}.keys() == {"retention", "withdrawal", "erasure"}
    assert causes.count("retention") == 1
    assert len([p for p in (world.folder / "keys").iterdir() if p.suffix == ".key"]) == 1
