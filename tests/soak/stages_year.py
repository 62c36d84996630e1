"""A simulated year of the stages and the vault alone, with the log in memory: no broker, and a minute or two.

    python -m tests.soak.stages_year [--days 365] [--to benchmarks/results]

It shows what `benchmarks.year` shows of the vault's tables and file; that one runs the whole system besides.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.year.chart import Panel, draw
from benchmarks.year.looks import MIB, rows
from benchmarks.year.town import SITE, Plenty, Town, address
from lapse.main import shipped_policy
from schemas.ids import EventId, Micros, RequestId
from schemas.models import (
    ConsentStatement,
    CookieObserved,
    FormSubmitted,
    HoldPlaced,
    HoldReleased,
    Identifier,
    RequestDecided,
)
from tests.unit.stages.world import START, World
from vault import open_vault
from vault.epochs import FileEpochKeys
from vault.handles import alias_hash

DAY, WEEK, MONTH = 86_400, 7, 30
GROUPS = {
    "people": ("subject", "alias", "anchor", "told_subject", "suppression", "seen"),
    "keys": ("keyslot", "bucket", "open buckets", "tally", "told_bucket"),
    "leaves, registers": ("meta", "command", "residue_cell", "residue_person", "hold", "escrow"),
    "on their way": ("plan", "outbox", "request", "epoch"),
}


class StagesYear:
    """One run; `looks` are what was seen once a week: day, people, rows by table, MiB of the vault's file."""

    def __init__(self, folder: Path, seed: int = 1) -> None:
        self.file = folder / "vault.db"
        keys = FileEpochKeys(folder / "keys", folder / "copies")
        vault = open_vault(f"sqlite:///{self.file}", keys, clock="manual", start=START)
        self.world = World(policy=shipped_policy("company").read_text(), vault=vault)
        self.town = Town(seed=seed, plenty=Plenty(views=4))
        self.looks: list[dict[str, Any]] = []
        self.sent = 0

    async def run(self, days: int) -> list[dict[str, Any]]:
        """Live through so many days."""
        await self.world.settle()
        for day in range(days + 1):
            for topic, record in self._today():
                self.world.publish(record, topic, self.sent % 2)
                self.sent += 1
            await self.world.settle()
            if day % WEEK == 0:
                await self._week(day)
            if day and day % MONTH == 0:
                await self._month()
            await self.world.later(DAY)
        self.world.vault.close()
        return self.looks

    def _today(self) -> Iterator[tuple[str, Any]]:
        now = self.world.vault.clock.now()
        for form, body in self.town.forms():
            yield "intake.form", _form(form, body, now)
        for view in self.town.views():
            consents = [ConsentStatement(**said) for said in view.pop("consents")]
            yield (
                "intake.cookie",
                CookieObserved(event_id=_id(), collected_at=now, site=SITE, consents=consents, **view),
            )
        for signal in self.town.signals(now):
            yield "intake.signal", signal

    async def _week(self, day: int) -> None:
        who = alias_hash(self.world.vault.secrets.alias, "email", address(self.town.somebody()))
        head = self.world.head()
        decided = RequestDecided(
            request_id=RequestId(os.urandom(16)),
            right="erasure",
            alias_hashes=[who],
            purposes=[],
            until=head["at"],
            reason="asked",
            **head,
        )
        self.world.command(decided)
        await self.world.settle()
        size = round(sum(path.stat().st_size for path in self.file.parent.glob("vault.db*")) / MIB, 2)
        seen = {"day": day, "sent": self.sent, "people": self.town.people, "mib": size}
        self.looks.append({**seen, "rows": rows(self.file)})

    async def _month(self) -> None:
        self.world.vault.turn_epoch()
        who = alias_hash(self.world.vault.secrets.alias, "email", address(self.town.somebody()))
        hold = os.urandom(16)
        self.world.command(
            HoldPlaced(
                hold_id=hold,
                alias_hashes=[who],
                purposes=["correspondence_record"],
                reason="case",
                **self.world.head(),
            )
        )
        self.world.command(HoldReleased(hold_id=hold, **self.world.head()))
        await self.world.settle()


def _id() -> EventId:
    return EventId(os.urandom(16))


def _form(form: str, body: dict[str, Any], now: Micros) -> FormSubmitted:
    return FormSubmitted(
        event_id=_id(),
        collected_at=now,
        site=SITE,
        form=form,
        identifiers=[Identifier(kind="email", value=body["fields"]["email"])],
        fields=body["fields"],
        consents=[ConsentStatement(**said) for said in body.get("consents", [])],
        notice=body["notice"],
    )


def too_many(looks: list[dict[str, Any]]) -> list[str]:
    """Tables with more rows than there is reason for; empty where all is well."""
    last = looks[-1]
    alive, people, day = last["rows"]["open buckets"], last["people"], max(last["day"], 1)
    limits = {
        "plan": 50, "outbox": 50, "epoch": 3, "request": 50,
        "seen": 6 * last["sent"] / day + 50,
        "command": 50 * last["sent"] / day + 50,
        "subject": 3 * people + 50,
        "bucket": 25 * day + 100,
        "meta": 3 * alive + 200,
        "residue_cell": 400,
    }  # fmt: skip
    return [
        f"{table}: {last['rows'][table]} rows" for table, most in limits.items() if last["rows"][table] > most
    ]


def sheet(looks: list[dict[str, Any]]) -> str:
    """The picture."""
    last = looks[-1]
    panels = [
        Panel(
            title=f"Vault rows: {title}",
            lines={name: [(look["day"], float(look["rows"][name])) for look in looks] for name in names},
        )
        for title, names in GROUPS.items()
    ]
    panels.append(Panel(title="Vault file, MiB", lines={"vault": [(k["day"], k["mib"]) for k in looks]}))
    flow = {name: [(k["day"], float(k[name])) for k in looks] for name in ("sent", "people")}
    panels.append(Panel(title="Events sent, people", lines=flow))
    return draw(
        f"{last['day']} days of stages and vault: {last['sent']} events of {last['people']} people", panels
    )


def main() -> int:
    """Run, write `stages-year.json` and `.svg`; exit 1 if something grew."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.stages_year")
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--to", type=Path, default=Path("benchmarks/results"))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(KeyboardInterrupt):
        looks = asyncio.run(StagesYear(Path(folder)).run(asked.days))
    found = too_many(looks)
    asked.to.mkdir(parents=True, exist_ok=True)
    (asked.to / "stages-year.json").write_text(json.dumps({"grew": found, "looks": looks}) + "\n")
    (asked.to / "stages-year.svg").write_text(sheet(looks))
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
