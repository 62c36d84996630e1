"""The ledger against a naive model: committable is the acknowledged prefix, whatever happens."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from streams.ledger import HEAVY, Delivery, Ledger, Place
from streams.ports import Inbound

PLACES = [Place("a", 0), Place("a", 1), Place("b", 0)]


class LedgerMachine(RuleBasedStateMachine):
    """Deliveries, acknowledgements, seeks, rebalances and commits in any order.

    The model keeps per partition the deliveries since the last seek or rebalance and computes every answer
    anew.
    """

    deliveries = Bundle("deliveries")

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.next = dict.fromkeys(PLACES, 0)
        self.open: dict[Place, list[Delivery]] = {place: [] for place in PLACES}
        self.settled: dict[Place, int | None] = dict.fromkeys(PLACES)
        self.committed: dict[Place, int | None] = dict.fromkeys(PLACES)
        self.seeks: dict[Place, int] = {}

    @rule(target=deliveries, place=st.sampled_from(PLACES), hole=st.integers(0, 2), size=st.integers(1, 3))
    def deliver(self, place: Place, hole: int, size: int) -> Delivery:
        """Hand out a chunk, perhaps behind a hole."""
        first = self.next[place] + hole
        records = [Inbound(offset, 0, b"k", bytes(HEAVY - 1)) for offset in range(first, first + size)]
        delivery = self.ledger.deliver(place, records)
        assert delivery.weight == 2 * size
        self.next[place] = first + size
        self.open[place].append(delivery)
        assert (delivery.first, delivery.after) == (first, first + size)
        return delivery

    @rule(delivery=consumes(deliveries))
    def ack(self, delivery: Delivery) -> None:
        """Acknowledge in any order, also what no longer counts."""
        book = self.open[delivery.place]
        counts = delivery in book
        assert self.ledger.ack(delivery) is counts
        while book and book[0].acked:
            self.settled[delivery.place] = book.pop(0).after

    @rule(place=st.sampled_from(PLACES), offset=st.integers(0, 50))
    def seek(self, place: Place, offset: int) -> None:
        """Go elsewhere."""
        self.ledger.seek(place, offset)
        self.open[place] = []
        self.next[place] = offset
        self.seeks[place] = offset

    @rule(place=st.sampled_from(PLACES), offset=st.integers(0, 50))
    def start(self, place: Place, offset: int) -> None:
        """Begin again at the group's offset, as after a rebalance."""
        self.ledger.start(place, offset)
        self.open[place] = []
        self.next[place] = offset
        self.settled[place] = None
        self.committed[place] = offset
        self.seeks.pop(place, None)

    @rule(place=st.sampled_from(PLACES))
    def renew(self, place: Place) -> None:
        """Find the topic created again."""
        self.ledger.renew(place)
        self.open[place] = []
        self.next[place] = 0
        self.settled[place] = self.committed[place] = None
        self.seeks[place] = 0

    @rule()
    def clear(self) -> None:
        """Give all partitions up."""
        self.ledger.clear()
        for place in PLACES:
            self.open[place] = []
            self.settled[place] = self.committed[place] = None
        self.seeks = {}

    @rule(done=st.booleans())
    def commit(self, done: bool) -> None:
        """Try to commit; what failed is offered again."""
        offsets = self.ledger.committable()
        if done:
            self.ledger.committed(offsets)
            self.committed.update(offsets)

    @rule()
    def take_seeks(self) -> None:
        """Let the reader carry the seeks out."""
        assert self.ledger.take_seeks() == self.seeks
        self.seeks = {}

    @invariant()
    def answers(self) -> None:
        """Everything the ledger says follows from the model."""
        offers = {p: o for p, o in self.settled.items() if o is not None and o != self.committed[p]}
        assert self.ledger.committable() == offers
        outstanding = self.ledger.outstanding()
        for topic in ("a", "b"):
            books = [book for place, book in self.open.items() if place.topic == topic]
            assert outstanding[topic] == sum(entry.weight for book in books for entry in book)
        for place in PLACES:
            book = self.open[place]
            assert self.ledger.unsettled(place) == (book[0].first if book else None)
            assert self.ledger.seeking(place) is (place in self.seeks)
            expected = self.ledger.expected(place)
            assert expected is None or expected == self.next[place]


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_a_commit_of_a_partition_given_up_is_ignored() -> None:
    """The answer to a commit may come after the rebalance."""
    ledger = Ledger()
    ledger.committed({PLACES[0]: 5})
    assert ledger.committable() == {}


def test_an_unknown_partition_has_nothing_open() -> None:
    """Questions about a partition never seen have empty answers."""
    assert Ledger().unsettled(PLACES[0]) is None
    assert Ledger().expected(PLACES[0]) is None
