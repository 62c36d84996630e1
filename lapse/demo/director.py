"""The director: four times a second it looks at the running system and composes what the view shows."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from lapse.demo.scene import BucketLine, News, Reader, Scene, ShelfLine
from lapse.demo.shelves import Shelf
from lapse.demo.stands import Stand
from lapse.demo.traffic import Traffic
from lapse.demo.view import View
from lapse.main import Installation
from schemas.plan import PolicyPlan
from vault.values import BucketRow

LOOK_SECONDS = 0.25
RATE_SECONDS = 3.0
NOT_BUCKETS = ("quarantine",)


class Director:
    """Keeps the scene; everything it shows was read from the system or answered by it."""

    def __init__(
        self,
        here: Installation,
        traffic: Traffic,
        shelves: list[Shelf],
        stands: list[Stand],
        view: View,
        started: float,
    ) -> None:
        self._here, self._traffic, self._shelves, self._stands, self._view = (
            here,
            traffic,
            shelves,
            stands,
            view,
        )
        self._started, self._stopped = started, False
        self._scene = Scene(stage="the doors open", followed=traffic.cast.followed.called)
        self._history: deque[tuple[float, dict[str, int]]] = deque(maxlen=int(RATE_SECONDS / LOOK_SECONDS))
        self._told: set[str] = set()
        self.erased_at: float | None = None

    def stage(self, text: str) -> None:
        """Name the act that plays now."""
        self._traffic.stage = text

    def stop(self) -> None:
        """End after the next look."""
        self._stopped = True

    async def run(self) -> None:
        """Look and show until stopped."""
        while not self._stopped:
            scene = await asyncio.to_thread(self._look)
            self._view.show(scene)
            await asyncio.sleep(LOOK_SECONDS)

    async def until_lapsed(self, but: tuple[str, ...], seconds: float) -> None:
        """Return when all buckets but of purposes nobody receives are destroyed, and the recipients know."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            rows = await asyncio.to_thread(self._buckets)
            left = [row for row in rows if row.state != "destroyed" and row.id.purpose not in but]
            if not left and not any(shelf.held() for shelf in self._shelves):
                return
            await asyncio.sleep(LOOK_SECONDS)

    def person_result(self) -> dict[str, list[str]]:
        """Which recipients could open what of the followed person, and for whom it is closed now."""
        email = self._traffic.cast.followed.email
        opened = {
            shelf.name: sorted(shelf.seen_of_watched[email])
            for shelf in self._shelves
            if email in shelf.seen_of_watched
        }
        stood = {stand.name: sorted(stand.could) for stand in self._stands if stand.could}
        closed = [s.name for s in self._shelves if s.name in opened and not s.holds(email)]
        closed += [s.name for s in self._stands if s.name in stood and not s.of([email])]
        return {
            "opened_before": [f"{name} ({', '.join(fields)})" for name, fields in (opened | stood).items()],
            "closed_after": closed,
        }

    # ---- looking -------------------------------------------------------------------------------------------
    def _buckets(self) -> list[BucketRow]:
        with self._here.vault.transaction(write=False) as tx:
            return tx.all_buckets()

    def _look(self) -> Scene:
        scene, now = self._scene, self._here.vault.clock.now()
        rows = [row for row in self._buckets() if row.id.purpose not in NOT_BUCKETS]
        scene.stage, scene.elapsed = self._traffic.stage, time.monotonic() - self._started
        self._once(scene.stage)
        plan = self._here.plans.latest
        scene.purposes = {purpose.name: [] for purpose in plan.purposes}
        for row in sorted(rows, key=lambda row: row.due):
            scene.purposes[row.id.purpose].append(_line(row, plan, now))
        scene.shelves = [_shelf(shelf) for shelf in self._shelves]
        scene.readers = [self._reader(shelf) for shelf in self._shelves]
        self._look_at_stands()
        scene.counts = {
            "sent": self._traffic.told.total,
            "accepted": len(self._traffic.told.accepted) + self._traffic.told.pixels,
            "tags": sum(row.tally for row in rows),
            "delivered": sum(shelf.received for shelf in self._shelves),
            "opened": sum(shelf.opened_count for shelf in self._shelves),
            "lapses": sum(shelf.lapses for shelf in self._shelves),
        }
        self._rates()
        self._news()
        return scene

    def _rates(self) -> None:
        scene, now = self._scene, time.monotonic()
        self._history.append((now, dict(scene.counts)))
        then, before = self._history[0]
        if now > then:
            scene.rates = {
                name: (count - before[name]) / (now - then) for name, count in scene.counts.items()
            }

    def _reader(self, shelf: Shelf) -> Reader:
        email = self._traffic.cast.followed.email
        once = tuple(sorted(shelf.seen_of_watched.get(email, ())))
        return Reader(name=shelf.name, could=once, can=tuple(shelf.reads(email)))

    def _look_at_stands(self) -> None:
        """Ask the stand-ins what they hold."""
        email = self._traffic.cast.followed.email
        for stand in self._stands:
            stand.look()
            held, seen = len(stand.objects), stand.met
            self._scene.shelves.append(
                ShelfLine(name=stand.name, received=seen, held=held, lapses=seen - held)
            )
            can = stand.reads(email)
            self._scene.readers.append(Reader(name=stand.name, could=tuple(sorted(stand.could)), can=can))

    # ---- news ----------------------------------------------------------------------------------------------
    def _news(self) -> None:
        followed, erased = self._traffic.cast.followed.called, self._traffic.cast.erased.called
        if self.erased_at:
            self._once(f"{erased}'s keys are destroyed, every recipient is told")
            self._once(f"what the law makes us keep of {erased} stays, restricted")
        for reader in self._scene.readers:
            if reader.could:
                self._once(f"{reader.name} opens what {followed} sent")
            if reader.could and not reader.can:
                self._once(f"{reader.name} can read nothing of {followed} any more")
        for purpose, lines in self._scene.purposes.items():
            dead = next((line for line in lines if line.state == "destroyed"), None)
            if dead:
                many = f"{dead.records} record{'s' * (dead.records != 1)}"
                self._once(f"first key destroyed: {purpose}", f", {many}")

    def _once(self, what: str, more: str = "") -> None:
        if what not in self._told:
            self._told.add(what)
            self._scene.news.append(News(at=self._scene.elapsed, text=what + more))


def _shelf(shelf: Shelf) -> ShelfLine:
    return ShelfLine(name=shelf.name, received=shelf.received, held=shelf.held(), lapses=shelf.lapses)


def _line(row: BucketRow, plan: PolicyPlan, now: int) -> BucketLine:
    purpose = plan.purpose(row.id.purpose)
    born = purpose.start(row.id.period)
    return BucketLine(
        purpose=row.id.purpose,
        records=row.tally,
        seconds_left=(row.due - now) / 1e6,
        lifetime=(row.due - born) / 1e6,
        state=row.state,
    )
