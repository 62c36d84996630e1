"""The director: four times a second it looks at the running system and composes what the view shows."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections import deque
from typing import Any

from lapse.demo.shelves import Shelf, figures
from lapse.demo.traffic import Traffic
from lapse.demo.view import BucketLine, Scene, View
from lapse.main import Installation
from schemas.plan import PolicyPlan
from vault.values import BucketRow

LOOK_SECONDS = 0.25
RATE_SECONDS = 3.0


class Director:
    """Keeps the scene; everything it shows was read from the system or answered by it."""

    def __init__(
        self,
        here: Installation,
        run: dict[str, Any],
        traffic: Traffic,
        shelves: list[Shelf],
        view: View,
        started: float,
    ) -> None:
        self._here, self._run, self._traffic, self._shelves, self._view = here, run, traffic, shelves, view
        self._started, self._stopped = started, False
        self._scene = Scene(stage="the doors open")
        self._history: deque[tuple[float, dict[str, int]]] = deque(maxlen=int(RATE_SECONDS / LOOK_SECONDS))
        self._told: set[str] = set()
        self.erased_at: float | None = None
        self._opened_before: dict[str, list[str]] = {}
        self._last_stage = ""

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
        """Return when every bucket is destroyed but those of purposes nobody receives, and the recipients
        know.
        """
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
        closed = [
            shelf.name
            for shelf in self._shelves
            if shelf.name in self._opened_before and not shelf.holds(email)
        ]
        opened = [f"{name} ({', '.join(fields)})" for name, fields in self._opened_before.items()]
        return {"opened_before": opened, "closed_after": closed}

    # ---- looking -------------------------------------------------------------------------------------------
    def _buckets(self) -> list[BucketRow]:
        with self._here.vault.transaction(write=False) as tx:
            return tx.all_buckets()

    def _look(self) -> Scene:
        scene, rows, now = self._scene, self._buckets(), self._here.vault.clock.now()
        scene.stage, scene.elapsed = self._traffic.stage, time.monotonic() - self._started
        if scene.stage != self._last_stage:
            self._last_stage = scene.stage
            scene.news.append(f"{scene.elapsed:4.0f} s  {scene.stage}")
        scene.destroyed = sum(row.state == "destroyed" for row in rows)
        plan = self._here.plans.latest
        alive = [row for row in rows if row.state == "open"]
        scene.buckets = [_line(row, plan, now) for row in alive]
        scene.shelves = {shelf.name: figures(shelf) for shelf in self._shelves} | self._fakes()
        scene.counts = {
            "sent": self._traffic.told.total,
            "accepted": len(self._traffic.told.accepted) + self._traffic.told.pixels,
            "tagged": sum(row.tally for row in rows if row.id.purpose != "quarantine"),
            "delivered": sum(shelf.received for shelf in self._shelves),
            "opened": sum(shelf.opened_count for shelf in self._shelves),
            "refused": sum(shelf.refused for shelf in self._shelves),
            "told to forget": sum(shelf.lapses for shelf in self._shelves),
        }
        self._rates(scene)
        scene.person = self._person(scene)
        return scene

    def _rates(self, scene: Scene) -> None:
        now = time.monotonic()
        self._history.append((now, dict(scene.counts)))
        then, before = self._history[0]
        if now > then:
            scene.rates = {
                name: (count - before[name]) / (now - then) for name, count in scene.counts.items()
            }

    def _fakes(self) -> dict[str, dict[str, Any]]:
        shown = {}
        for name, facts in self._run["processors"].items():
            if url := facts.get("fake_url"):
                held = _held(url)
                if held is not None:
                    shown[name] = {"received": "", "held": held, "refused": "", "lapses": ""}
        return shown

    def _person(self, scene: Scene) -> list[tuple[str, str, str]]:
        person = self._traffic.cast.followed
        lines = [(person.name.split()[1], "sent a form, agreed to news and to seeing opened mails", "")]
        for shelf in self._shelves:
            fields = sorted(shelf.seen_of_watched.get(person.email, ()))
            if not fields:
                lines.append((shelf.name, "has nothing of them", "dim"))
                continue
            if shelf.name not in self._opened_before:
                self._opened_before[shelf.name] = fields
                scene.news.append(
                    f"{scene.elapsed:4.0f} s  {shelf.name} opens a record of {person.name.split()[1]}"
                )
            if shelf.holds(person.email):
                lines.append((shelf.name, f"can read {', '.join(fields)}", "green"))
            else:
                lines.append((shelf.name, "could read it; now nobody can", "bold yellow"))
                self._once(
                    scene, f"{shelf.name} can no longer read {person.name.split()[1]}: every key has died"
                )
        if self.erased_at:
            self._once(scene, "the erased person's keys are destroyed, every recipient is told")
        return lines

    def _once(self, scene: Scene, news: str) -> None:
        if news not in self._told:
            self._told.add(news)
            scene.news.append(f"{scene.elapsed:4.0f} s  {news}")


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


def _held(url: str) -> int | None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url.rstrip("/") + "/_held", timeout=1.0) as answer:
            return len(json.load(answer)["objects"])
    except (urllib.error.URLError, TimeoutError, OSError, ValueError):
        return None
