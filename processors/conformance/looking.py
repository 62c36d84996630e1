"""What is looked at in a run: every receipt the moment it is told, and the whole shelf at the end."""

from __future__ import annotations

import aiohttp

from processors.conformance.cast import Cast
from processors.conformance.leaving import Leaving
from processors.conformance.oracle import GONE, Shelf, expected, faults, living
from processors.conformance.party import Party, Stand
from processors.conformance.trace import Trace, names
from processors.conformance.values import Broken, Clock, Lapse
from schemas.codec import decode_as
from schemas.models import ReceiptGiven


class Looking(Cast):
    """A run with its vault, seen from outside the connector."""

    def __init__(self, party: Party, stand: Stand, trace: Trace, seed: str, clock: Clock) -> None:
        super().__init__(party, trace, seed, clock)
        self.stand = stand
        self.leaving = Leaving(party, self.given)
        self.told: list[ReceiptGiven] = []
        self._session: aiohttp.ClientSession | None = None

    async def shelf(self) -> Shelf:
        """Return what the stand-in holds now."""
        if self._session is None:
            self._session = aiohttp.ClientSession(trust_env=False)
        async with self._session.get(f"{self.stand.url}/_held") as answer:
            return Shelf(await answer.json())

    def outcomes(self, about: bytes) -> list[str]:
        """Return the outcomes told about a delivery or a lapse, in order."""
        return [each.outcome for each in self.told if each.about == about]

    async def audit(self) -> None:
        """Take the receipts that are new; `Broken` where one says that something is gone that stands."""
        if self.leaving.faults:
            raise Broken(self.leaving.faults[0])
        with self.vault.transaction(write=False) as tx:
            rows = [decode_as(ReceiptGiven, r.value) for r in tx.outbox(100_000) if r.topic == "receipts"]
        fresh, self.told = rows[len(self.told) :], rows
        for each in fresh:
            code = f" ({each.code})" if each.code else ""
            self.trace.say(f"  receipt: {each.outcome}{code} about {self._name(each.about)}")
        ended = {each.about for each in fresh if each.outcome in GONE}
        for lapse in (each for each in self.lapses if each.id in ended):
            await self._gone(lapse)

    async def _gone(self, lapse: Lapse) -> None:
        if self.party.manifest.deletion == "nothing_kept":
            return
        shelf = await self.shelf()
        for each in self.given:
            for name in each.ended_by(lapse.id):
                if shelf.shows(each.marks[name]):
                    raise Broken(
                        f"a receipt says that the {lapse.about} is done, {name} of {each.name} stands there"
                    )

    def _name(self, about: bytes) -> str:
        lapse = next((each.about for each in self.lapses if each.id == about), None)
        return lapse or next(
            (g.name for g in self.given if g.record.delivery_id == about), "something unknown"
        )

    async def judge(self, *, refused: bool = False) -> None:
        """Compare the shelf with what must stand; `Broken` names the first thing that is wrong."""
        await self.audit()
        shelf = await self.shelf()
        last = {each.id: self.outcomes(each.id)[-1] for each in self.lapses if self.outcomes(each.id)}
        for person in dict.fromkeys(each.person for each in self.given):
            mine = [each for each in self.given if each.person == person]
            if self.party.manifest.deletion == "nothing_kept":
                wrong = self.leaving.never_sent(living(mine, self.party.fields), person)
            else:
                want = expected(mine, self.party.fields, self.party.manifest, last)
                wrong = faults(person, mine, shelf, want)
            if wrong:
                raise Broken(wrong[0])
        bad = {"refused_by_vendor", "failed_permanent"} & {each.outcome for each in self.told}
        if bad and not refused:
            raise Broken(f"something is told {names(bad)} that the vendor never refused")

    def answered(self, lapse: Lapse) -> str:
        """Return the last outcome told of a lapse; `Broken` where none was."""
        told = self.outcomes(lapse.id)
        if not told:
            raise Broken(f"no receipt about the {lapse.about}")
        return told[-1]

    async def look_away(self) -> None:
        """Release the connection to the stand-in."""
        if self._session is not None:
            await self._session.close()
