"""Workers side by side on one PostgreSQL vault: what runs at once, who has to give way, who is alone."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from schemas.errors import Conflict, Unavailable
from schemas.ids import SubjectNumber
from tests.support.postgres import databases
from tests.unit.vault.worlds import START, World, bucket, wanted
from vault.ending import apply_statements, end_bucket
from vault.epochs import MemoryEpochKeys
from vault.handles import alias_hash
from vault.keys import new_key
from vault.pgrows import PostgresRows
from vault.pgsql import sequence
from vault.port import Tx
from vault.postgres import PostgresStore
from vault.store import Rows, Way
from vault.subjects import with_key
from vault.tables import EPOCH, OUTBOX, PROGRESS, SUBJECT, TALLY
from vault.transaction import Transaction
from vault.values import AliasRow, Statement
from vault.vaults import StoreVault

TOPIC = "t"


class Host:
    """A vault opened twice, as two workers on two hosts have it; each step is one of theirs, by hand."""

    def __init__(self) -> None:
        """Two stores on one database."""
        self.url, self.keys = databases().borrow(), MemoryEpochKeys()
        self.stores = [PostgresStore(self.url, patience=2.0) for _ in range(2)]
        self.vaults = [StoreVault(each, self.keys, mode="manual", start=START) for each in self.stores]
        self._open = ExitStack()

    def begin(self, n: int, way: Way = "judging") -> Transaction:
        """Begin on one of the two and stay inside."""
        rows = self._open.enter_context(self.stores[n].begin(write=True, way=way))
        return Transaction(rows, self.vaults[n]._tools, write=True, way=way)  # noqa: SLF001 two open at once

    def close(self) -> None:
        """End what is left open by rolling it back."""
        for each in self.stores:
            each.close()


@pytest.fixture
def two() -> Iterator[Host]:
    """Two workers."""
    host = Host()
    yield host
    host.close()


def person(tx: Tx, hash_: bytes) -> SubjectNumber:
    """Do what tag does for somebody nobody knew."""
    assert not tx.aliases([hash_])
    state = with_key(tx.new_subject(), "news", START, new_key)
    tx.put_subjects([state])
    tx.put_aliases([AliasRow(hash=hash_, subject=state.number, since=START)])
    return state.number


def chunk(host: Host, n: int, partition: int, name: str) -> Callable[[Tx], SubjectNumber]:
    """Commit 1 of a chunk with one new person."""
    hash_ = alias_hash(host.vaults[n].secrets.alias, "email", name)

    def judge(tx: Tx) -> SubjectNumber:
        at = tx.progress(TOPIC, partition) or 0
        number = person(tx, hash_)
        tx.put_plan(TOPIC, partition, at.to_bytes(8, "big"))
        return number

    return judge


def side_by_side(host: Host, first: Callable[[Tx], object], second: Callable[[Tx], object]) -> None:
    """Run both at once: each has done all but its commit before either commits; the second commits last."""
    with host.stores[0].begin(write=True, way="judging") as one:
        mine = Transaction(one, host.vaults[0]._tools, write=True, way="judging")  # noqa: SLF001 as above
        with host.stores[1].begin(write=True, way="judging") as two:
            other = Transaction(two, host.vaults[1]._tools, write=True, way="judging")  # noqa: SLF001 as above
            second(other)
            first(mine)
            other.flush()
        mine.flush()


def test_different_people_on_different_partitions_meet_nobody(two: Host) -> None:
    """Both are inside at once, and both commit."""
    two.vaults[0].beside(lambda tx: tx.ensure_buckets([wanted(bucket())]))
    side_by_side(two, chunk(two, 0, 0, "a@x"), chunk(two, 1, 1, "b@x"))
    with two.vaults[0].transaction(write=False) as tx:
        assert [tx.plan(TOPIC, n) for n in range(2)] == [bytes(8)] * 2


def test_one_new_person_on_two_partitions_is_made_once(two: Host) -> None:
    """Whoever finds nobody behind an identifier while another links it has to look again."""
    with two.stores[0].begin(write=True, way="judging") as rows:
        tx = Transaction(rows, two.vaults[0]._tools, write=True, way="judging")  # noqa: SLF001 as above
        chunk(two, 0, 0, "a@x")(tx)
        late = _Late(two, chunk(two, 1, 1, "a@x"))
        tx.flush()
    assert isinstance(late.failed(), Conflict)


class _Late:
    """Somebody who starts while another is inside, and waits for it."""

    def __init__(self, host: Host, do: Callable[[Tx], object], way: Way = "judging") -> None:
        self._error: BaseException | None = None
        self._began = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(host, do, way))
        self._thread.start()
        assert self._began.wait(10)

    def _run(self, host: Host, do: Callable[[Tx], object], way: Way) -> None:
        try:
            with host.stores[1].begin(write=True, way=way) as rows:
                assert rows.count(EPOCH) == 2  # the snapshot is taken
                self._began.set()
                tx = Transaction(rows, host.vaults[1]._tools, write=True, way=way)  # noqa: SLF001 as above
                do(tx)
                tx.flush()
        except BaseException as error:  # noqa: BLE001  # what became of it is asked for below
            self._error = error

    def failed(self) -> BaseException | None:
        """What it ended with, once it has."""
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self._error


def test_a_restored_database_gives_nobody_a_number_again(two: Host) -> None:
    """Its sequence is as old as the backup; somebody newer would share a pseudonym with a stranger."""
    number = two.vaults[0].beside(chunk(two, 0, 0, "a@x"))
    with two.stores[0].begin(write=True) as rows:
        assert isinstance(rows, PostgresRows)
        rows.ask(f"SELECT setval('{sequence('subject')}', 1, false)")
    two.stores.append(PostgresStore(two.url))
    restored = StoreVault(two.stores[-1], two.keys, mode="manual")
    assert restored.beside(lambda tx: tx.new_subject().number) > number


def test_two_on_one_partition_do_not_both_judge(two: Host) -> None:
    """A zombie that was inside while the other judged does its chunk again, and is fenced off then."""
    with two.stores[0].begin(write=True, way="judging") as rows:
        tx = Transaction(rows, two.vaults[0]._tools, write=True, way="judging")  # noqa: SLF001 as above
        chunk(two, 0, 0, "a@x")(tx)
        late = _Late(two, chunk(two, 1, 0, "b@x"))
        tx.flush()
    assert isinstance(late.failed(), Conflict)


def test_one_person_changed_by_two_is_changed_one_after_the_other(two: Host) -> None:
    """The second change is made on what the first left: `beside` does it again, alone."""
    number = two.vaults[0].beside(chunk(two, 0, 0, "a@x"))
    started, go = threading.Event(), threading.Event()
    attempts = list[str]()

    def grant(tx: Tx, purpose: str, wait: bool) -> None:
        attempts.append(purpose)
        state = tx.subjects([number])[number]
        if wait and attempts.count(purpose) == 1:
            started.set()
            assert go.wait(10)
        tx.put_subjects([with_key(state, purpose, START, new_key)])

    late = threading.Thread(target=lambda: two.vaults[1].beside(lambda tx: grant(tx, "shop", True)))
    late.start()
    assert started.wait(10)
    two.vaults[0].beside(lambda tx: grant(tx, "mail", False))
    go.set()
    late.join()
    with two.vaults[0].transaction(write=False) as tx:
        assert set(tx.subjects([number])[number].purposes) == {"news", "mail", "shop"}
    assert attempts == ["shop", "mail", "shop"]


def test_counts_of_workers_at_once_add_up(two: Host) -> None:
    """Commit 2 waits for the row and adds; nothing is lost and nothing done again."""
    two.vaults[0].beside(lambda tx: tx.ensure_buckets([wanted(bucket())]))
    runs = list[int]()

    def count(n: int) -> None:
        for at in range(25):

            def settle(tx: Tx, at: int = at) -> None:
                runs.append(n)
                assert (tx.progress(TOPIC, n) or 0) == at
                tx.add_tally({bucket(): 2})
                tx.set_progress(TOPIC, n, at + 1)

            two.vaults[n].beside(settle, counts=True)

    threads = [threading.Thread(target=count, args=(n,)) for n in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    with two.vaults[0].transaction(write=False) as tx:
        assert tx.buckets([bucket()])[bucket()].tally == 100 and len(runs) == 50


def test_who_is_alone_waits_for_all_inside_and_keeps_others_out(two: Host) -> None:
    """An ending sees what those before it wrote, a sequence number later than theirs, and none beside it."""
    world = World(store=two.stores[1], keys=two.keys, vault=two.vaults[1], folder=None)  # type: ignore[arg-type]
    two.vaults[0].beside(lambda tx: tx.ensure_buckets([wanted(bucket())]))
    told, seqs = list[tuple[str, ...]](), list[int]()

    def end() -> None:
        with two.vaults[1].transaction() as tx:
            told.append(tx.told_of_bucket(bucket()))
            seqs.append(tx.seq)
            end_bucket(tx, bucket(), world.herald)

    with two.stores[0].begin(write=True, way="judging") as rows:
        tx = Transaction(rows, two.vaults[0]._tools, write=True, way="judging")  # noqa: SLF001 as above
        assert tx.bucket_keys([bucket()])
        ending = threading.Thread(target=end)
        ending.start()
        _waits(two, rows)
        tx.tell_buckets([(bucket(), "crm")])
        granted = tx.seq
    ending.join()
    assert told == [("crm",)] and seqs[0] > granted
    with two.vaults[0].transaction(), pytest.raises(Unavailable):
        two.vaults[1].beside(lambda tx: tx.ensure_buckets([wanted(bucket("b"))]))


def _waits(two: Host, rows: Rows) -> None:
    """Return once somebody waits at the gate."""
    waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'gate'::regclass AND NOT granted"
    assert isinstance(rows, PostgresRows)
    while rows.ask(waiting) == [(0,)]:
        pass


def test_what_destroys_is_done_again_alone(world: World) -> None:
    """On every store: nothing of the attempt beside others stays, and the second one is alone."""
    with world.write() as tx:
        state = world.person(tx, "a@x")
    ways = list[str]()

    def withdraw(tx: Tx) -> None:
        assert isinstance(tx, Transaction)
        ways.append(tx.way)
        mine = tx.subjects([state.number])[state.number]
        denied = Statement(purpose="news", granted=False, at=tx.now)
        apply_statements(tx, mine, [denied], world.herald)

    world.vault.beside(withdraw)
    assert ways == ["judging", "alone"]
    assert world.state(state.number).purpose("news").key is None
    assert [topic for topic, _, _ in world.lapses()] == ["lifecycle"]


@pytest.mark.parametrize("way", ["judging", "counting"])
def test_beside_others_only_a_chunks_own_tables_are_written(world: World, way: Way) -> None:
    """What is owed to the log is written alone on every store; what a chunk may write differs by commit."""
    with pytest.raises(Conflict), world.store.begin(write=True, way=way) as rows:
        rows.put(OUTBOX, [(1, "k", "t", 0, None, b"", 1)])
    with pytest.raises(Conflict), world.store.begin(write=True, way=way) as rows:
        rows.delete(TALLY if way == "judging" else SUBJECT, (("purpose", "number")[way == "counting"],), [])
    with world.store.begin(write=True, way=way) as rows:
        rows.put(PROGRESS, [("t", 1, 5)])
        assert rows.drawn("subject") > 0


def test_a_server_that_may_lose_commits_says_so(world: World) -> None:
    """The server of these tests is in a hurry, and `doctor` would say so; the others are set up by us."""
    if isinstance(world.store, PostgresStore):
        assert {"autovacuum is off", "fsync is off"} <= set(world.vault.weaknesses())
    else:
        assert world.vault.weaknesses() == []


def test_a_server_that_was_restarted_is_found_again(two: Host) -> None:
    """Connections that died while they were idle are replaced before a transaction begins on one."""
    with two.stores[0].begin(write=False) as rows:
        assert isinstance(rows, PostgresRows)
        ((mine,),) = rows.ask("SELECT pg_backend_pid()")
    with two.stores[1].begin(write=False) as rows:
        assert isinstance(rows, PostgresRows)
        rows.ask("SELECT pg_terminate_backend(%b::int)", [mine])
    two.vaults[0].beside(lambda tx: tx.ensure_buckets([wanted(bucket())]))
