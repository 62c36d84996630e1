"""What every store promises, run on each; a store that is not listed fails."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import vault
from schemas.errors import Bug
from tests.unit.vault.worlds import STORES
from vault.store import Store
from vault.tables import ALIAS, BUCKET, EPOCH, HOLDING, KEYSLOT, OUTBOX, PROGRESS, TALLY, TOLD_BUCKET


@pytest.fixture(params=sorted(STORES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A new store of each kind."""
    made = STORES[request.param](tmp_path)
    yield made
    made.close()


def test_every_store_is_under_contract(tmp_path: Path) -> None:
    """Whatever class of the vault has a store's methods is listed, so none escapes this suite."""
    found = set()
    for module in pkgutil.iter_modules(vault.__path__):
        loaded = importlib.import_module(f"vault.{module.name}")
        for _, each in inspect.getmembers(loaded, inspect.isclass):
            methods = {"begin", "forget", "close"} <= set(vars(each))
            if methods and each.__module__.startswith("vault") and each is not Store:
                found.add(each)
    made = [make(tmp_path) for make in STORES.values()]
    for store in made:
        store.close()
    assert found == {type(store) for store in made}


def test_what_was_put_is_found_by_key_and_by_index(store: Store) -> None:
    """Rows are found by their key, by an index, by any column, many at once, and each once."""
    with store.begin(write=True) as rows:
        rows.put(EPOCH, [(7,)])
        rows.put(KEYSLOT, [(n, 7, bytes([n])) for n in range(1, 6)])
    with store.begin(write=False) as rows:
        assert sorted(rows.find(KEYSLOT, ("n",), [(2,), (4,), (2,), (9,)])) == [(2, 7, b"\2"), (4, 7, b"\4")]
        assert len(rows.find(KEYSLOT, ("epoch",), [(7,), (8,)])) == 5
        assert rows.find(KEYSLOT, ("wrapped",), [(b"\3",)]) == [(3, 7, b"\3")]
        assert rows.find(KEYSLOT, ("n",), []) == []


def test_more_rows_than_one_statement_takes(store: Store) -> None:
    """Thousands of keys are found and deleted in one call."""
    keys = [(f"topic-{n}", n % 7) for n in range(3000)]
    with store.begin(write=True) as rows:
        rows.put(PROGRESS, [(*key, 1) for key in keys])
        assert len(rows.find(PROGRESS, ("topic_id", "part"), keys)) == 3000
        rows.delete(PROGRESS, ("topic_id", "part"), keys[:2999])
        assert rows.scan(PROGRESS) == [(*keys[2999], 1)]


def test_a_row_put_again_is_replaced_but_for_its_key(store: Store) -> None:
    """Putting is inserting or replacing; a table that is all key ignores the second row."""
    with store.begin(write=True) as rows:
        rows.put(TALLY, [("p", 1, 1, 5, 9), ("p", 2, 1, 6, 9)])
        rows.put(TALLY, [("p", 1, 1, 7, 10)])
        assert rows.scan(TALLY, order=("period",)) == [("p", 1, 1, 7, 10), ("p", 2, 1, 6, 9)]
        rows.put(TOLD_BUCKET, [("p", 1, 1, "crm")] * 2)
        assert rows.count(TOLD_BUCKET) == 1


def test_scan_filters_orders_limits(store: Store) -> None:
    """All conditions hold, null is neither smaller nor larger, `distinct` returns each combination once."""
    with store.begin(write=True) as rows:
        rows.put(ALIAS, [(bytes([n]), b"o", n, n if n % 2 else None) for n in range(6)])
        assert [
            r[2] for r in rows.scan(ALIAS, [("since", ">", 1), ("since", "<=", 4)], order=("since",))
        ] == [2, 3, 4]
        assert [r[2] for r in rows.scan(ALIAS, [("until", "null", None)], order=("since",))] == [0, 2, 4]
        assert [r[2] for r in rows.scan(ALIAS, [("until", "set", None)], order=("since",), limit=2)] == [1, 3]
        assert rows.count(ALIAS, [("until", "<", 99)]) == 3
        assert rows.count(ALIAS, [("since", ">=", 5)]) == 1
        held = [("crm", bytes([n // 2]), bytes([n]), "p", n, 1, b"s", 1, 0) for n in range(6)]
        rows.put(HOLDING, held)
        of = [("processor", "=", "crm"), ("ref", ">", b"\0")]
        assert rows.scan(HOLDING, of, order=("ref",), limit=5, distinct=("ref",)) == [(b"\1",), (b"\2",)]  # type: ignore[arg-type]


def test_delete_where_says_how_many(store: Store) -> None:
    """A conditional delete returns its count."""
    with store.begin(write=True) as rows:
        rows.put(ALIAS, [(bytes([n]), b"o", n, None) for n in range(6)])
        assert rows.delete_where(ALIAS, [("since", "<", 4)]) == 4
        assert rows.count(ALIAS) == 2


def test_a_transaction_that_raises_leaves_nothing(store: Store) -> None:
    """Inserts, replacements and deletions are all undone, in every index."""
    with store.begin(write=True) as rows:
        rows.put(EPOCH, [(7,), (8,)])
        rows.put(KEYSLOT, [(1, 7, b"a"), (2, 7, b"b")])
    with pytest.raises(ZeroDivisionError), store.begin(write=True) as rows:
        rows.put(KEYSLOT, [(1, 8, b"x"), (3, 8, b"y")])
        rows.delete(KEYSLOT, ("n",), [(2,)])
        raise ZeroDivisionError
    with store.begin(write=False) as rows:
        assert rows.scan(KEYSLOT, order=("n",)) == [(1, 7, b"a"), (2, 7, b"b")]
        assert rows.find(KEYSLOT, ("epoch",), [(8,)]) == []


def test_a_reference_holds_both_ways(store: Store) -> None:
    """Nothing refers to what is not there, and what is referred to cannot be deleted."""
    with pytest.raises(Bug), store.begin(write=True) as rows:
        rows.put(KEYSLOT, [(1, 7, b"a")])
    with store.begin(write=True) as rows:
        rows.put(EPOCH, [(7,)])
        rows.put(KEYSLOT, [(1, 7, b"a")])
    with pytest.raises(Bug), store.begin(write=True) as rows:
        rows.delete(EPOCH, ("n",), [(7,)])
    with store.begin(write=True) as rows:
        rows.put(BUCKET, [("p", 1, 1, 5, None, "open", 1, None, None, None, None, 1)])
    with pytest.raises(Bug), store.begin(write=True) as rows:
        rows.delete(KEYSLOT, ("n",), [(1,)])


def test_a_column_that_must_have_a_value_has_one(store: Store) -> None:
    """A null where none is allowed is refused."""
    with pytest.raises(Bug), store.begin(write=True) as rows:
        rows.put(OUTBOX, [(1, "k", "t", 0, None, None, 1)])


def test_a_read_transaction_does_not_write(store: Store) -> None:
    """A write in a read transaction is a bug, whatever it is."""
    with store.begin(write=False) as rows:
        with pytest.raises(Bug):
            rows.put(EPOCH, [(7,)])
        with pytest.raises(Bug):
            rows.delete(EPOCH, ("n",), [(7,)])
        with pytest.raises(Bug):
            rows.delete_where(EPOCH, [("n", "=", 7)])
