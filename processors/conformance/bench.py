"""One run: a real connector, ledger and vault in memory, a recipient and its stand-in, clocks by hand.

Whatever a situation does, the bench looks on: at every byte that leaves, at every receipt the moment it is
told, and at the end at the whole shelf.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from processors.answers import Done
from processors.awaiting import Awaiting
from processors.backoff import seconds
from processors.calls import Call
from processors.conformance.hook import Hook
from processors.conformance.looking import Looking
from processors.conformance.party import Asks, Party, Stand
from processors.conformance.people import Given, digest
from processors.conformance.tap import Seen, Tap
from processors.conformance.trace import Trace, names
from processors.conformance.values import NAME, WAITS, Broken, Chunk, Clock, Died, Lapse, Parcel
from processors.conformance.watched import Watched, watched
from processors.connector import Connector, Limits, Surroundings
from processors.ledger import Ledger
from processors.recipient import Edited, Ended, Hears, Moved, Post
from processors.reporting import Reports
from processors.values import Timing
from schemas.codec import encode
from vault.faults import Crash, never

Visit = Callable[[Stand, str], Awaitable[object]]


class Bench(Looking):
    """One run of one situation."""

    def __init__(
        self, party: Party, stand: Stand, tap: Tap, trace: Trace, *, seed: str, clock: Clock
    ) -> None:
        super().__init__(party, stand, trace, seed, clock)
        self.tap = tap
        self.crash: Crash = never
        self.random = random.Random(seed)  # noqa: S311  # repeatable on purpose
        self.tap.judge = self.leaving.judge
        self._offsets: dict[int, int] = {}
        self.hook = Hook(self._hear)
        self.rebuild()

    # ---- what happens --------------------------------------------------------------------------------------
    async def deliver(self, *given: Given, partition: int = 0) -> None:
        """Hand deliveries over in one chunk."""
        await self.handle(self.chunk(*given, partition=partition))

    async def lapse(self, *lapses: Lapse, partition: int = 0) -> None:
        """Hand lapses over in one chunk."""
        await self.handle(self.chunk(*lapses, partition=partition))

    def chunk(self, *items: Given | Lapse, partition: int = 0) -> Chunk:
        """Return the next chunk of a partition."""
        start = self._offsets.get(partition, 0)
        self._offsets[partition] = start + len(items)
        for each in items:
            if isinstance(each, Given):
                self.handed(each)
                self.leaving.handed(each)
        values = [each.sealed if isinstance(each, Given) else encode(each.event) for each in items]
        parcels = [Parcel(offset=start + n, value=value) for n, value in enumerate(values)]
        what = ", ".join(
            f"{e.name} ({e.person}: {names(e.values)})" if isinstance(e, Given) else f"lapse, {e.about}"
            for e in items
        )
        self.trace.say(f"handed over: {what}")
        return Chunk(topic_id=digest("topic")[:16], partition=partition, records=parcels)

    async def handle(self, chunk: Chunk) -> None:
        """Let the connector do a chunk, again and again if it dies in it."""
        while True:
            try:
                await self.connector.handle(chunk)
                break
            except Died as died:
                self.trace.say(f"the connector dies at {died}, and is made anew")
                await self.renew()
        await self.audit()

    async def tick(self, wait: float = 0.0) -> int:
        """Let time pass and the connector look once at what waits; return how much it looked at."""
        self.pass_(wait)
        if wait:
            self.trace.say(f"{wait:.0f} s later")
        try:
            busy = await self.connector.tick() + await self.connector.following.tick()
        except Died as died:
            self.trace.say(f"the connector dies at {died}, and is made anew")
            await self.renew()
            return 1
        await self.audit()
        return busy

    def suspend(self) -> None:
        """Suspend the processor: nothing opens for it any more."""
        self.keys.suspend()
        self.leaving.shut = True
        self.trace.say("the processor is suspended")

    def resume(self) -> None:
        """Let it receive again."""
        self.keys.suspend(suspended=False)
        self.leaving.shut = False
        self.trace.say("the processor is resumed")

    def pass_(self, wait: float) -> None:
        """Let so many seconds pass, for the vault as well."""
        self.clock.pass_(wait)
        if wait:
            self.vault.clock.set_manual(self.clock())

    async def settle(self) -> None:
        """Let time pass until nothing is left to do; `Broken` if that never comes."""
        await self.visit_all()
        for wait in WAITS:
            while await self.tick(wait):
                wait = 0.0
            if self.quiet:
                return
        raise Broken("it still asks, after days, for what can be had or ended no better")

    async def visit_all(self) -> None:
        """Let a vendor that pulls ask for everybody, as when each of them comes to its page."""
        await self._everybody("asks about", lambda asks: asks.visit)

    async def empty_all(self) -> None:
        """Let somebody at a vendor without an interface for it remove by hand what stands of everybody."""
        await self._everybody("has emptied the object of", lambda asks: asks.empty)

    async def _everybody(self, what: str, which: Callable[[Asks], Visit]) -> None:
        if self.party.asks is None:
            return
        self.party.asks.listen(self.stand, self.hook.url)
        for person in dict.fromkeys(each.person for each in self.given if each.order >= 0):
            self.trace.say(f"  the vendor {what} {person}")
            await which(self.party.asks)(self.stand, self.subject(person).hex())
        await self.audit()

    def _hear(self, post: Post) -> bytes:
        """Answer the vendor as the key endpoint does, and enter what it says has ended."""
        party, wall = self.party.ear() if self.party.ear else self.recipient.inner, self.clock()
        assert isinstance(party, Hears)
        heard = party.heard(post, wall)
        reports = Reports(processor=NAME, receipt_partitions=4)
        for each in heard.said:
            with self.vault.transaction() as tx:
                if isinstance(each, Edited) and each.emptied:
                    reports.ended(tx, each.vendor_id, Done(outcome="completed"), wall)
                elif isinstance(each, Ended):
                    reports.ended(tx, each.request, Done(outcome=each.outcome), wall)
                elif isinstance(each, Moved):
                    Awaiting(NAME).hurry(tx, each.request, wall)
        if heard.wants is None:
            return party.answer(heard, {})
        with self.leaving.open(), self.vault.transaction() as tx:
            body = self.ledger.show(tx, heard.wants, lambda fields: party.answer(heard, fields), wall)
            self.leaving.judge(Seen(number=-1, method="ANSWER", target="/in", raw=body))
        return body

    @property
    def quiet(self) -> bool:
        """Whether nothing waits and nothing is awaited that the vendor could still end by itself."""
        with self.vault.transaction(write=False) as tx:
            awaited = Awaiting(NAME).count(tx)
        by_hand = self.party.manifest.deletion == "by_hand"
        return self.connector.waiting() == 0 and (by_hand or not awaited)

    # ---- restarts ------------------------------------------------------------------------------------------
    def rebuild(self) -> None:
        """Make recipient, ledger and connector anew on the same vault."""
        inner = self.party.make(self.tap.url, self.clock)
        self.recipient: Watched = watched(inner, self.trace, self._during)
        self.ledger = Ledger(
            processor=NAME,
            recipient=self.recipient,
            opener=self.keys,
            secret=digest("secret"),
            receipt_partitions=4,
            timing=Timing(),
            pulled=self.party.manifest.pulled,
        )
        self.connector = Connector(
            name=NAME,
            vault=self.vault,
            recipient=self.recipient,
            ledger=self.ledger,
            around=Surroundings(wall=self.clock, random=self.random),
            call_deadline=seconds(20),
            limits=Limits(in_flight=min(16, self.party.manifest.in_flight), poll=0.001),
            crash=lambda point: self.crash(point),
        )

    async def renew(self) -> None:
        """Throw the connector away and make it anew, as after a restart: its leases run out first."""
        await self.connector.close()
        self.pass_(26.0)
        self.rebuild()

    @contextmanager
    def _during(self, _call: Call) -> Iterator[None]:
        with self.leaving.open():
            yield

    async def finish(self) -> None:
        """Settle, judge, and see that every lapse that was handed over is answered."""
        await self.settle()
        await self.judge()
        for lapse in self.lapses:
            self.answered(lapse)
        if self.party.manifest.deletion == "by_hand":
            await self.empty_all()
            await self.settle()
            await self.judge()

    async def close(self) -> None:
        """Release everything."""
        await self.connector.close()
        await self.look_away()


@asynccontextmanager
async def bench(party: Party, seed: str, trace: Trace) -> AsyncIterator[Bench]:
    """Start a stand-in, a tap and a connector between them; everything is gone afterwards."""
    clock = Clock()
    stand = await party.start(clock)
    tap = Tap(stand.url, trace)
    try:
        await tap.start()
        run = Bench(party, stand, tap, trace, seed=seed, clock=clock)
        try:
            if party.asks is not None or party.later is not None:
                await run.hook.start()
            yield run
        finally:
            await run.hook.stop()
            await run.close()
    finally:
        await tap.stop()
        await stand.stop()
