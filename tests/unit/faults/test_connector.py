"""A connector dies once at each of its points: the next one leaves the recipient with what it may hold."""

from __future__ import annotations

import contextlib

import pytest

from processors.connector import Connector, Surroundings
from schemas.errors import Unavailable
from streams.ports import Chunk
from tests.support.points import CONNECTOR
from tests.unit.faults.test_flow import Trap
from tests.unit.processors.kit import NAME, delivery, id16, lapse, ledger, of_subject, outcomes
from tests.unit.processors.test_connector import EMAIL, PHONE, TIMING, Bench
from tests.unit.stages.world import Killed


class Mortal(Bench):
    """A bench whose connector dies at the trap and has a successor then."""

    def dying(self, trap: Trap) -> None:
        """Let the connector have this trap."""
        self.connector = Connector(
            name=NAME,
            vault=self.vault,
            recipient=self.vendor,
            ledger=ledger(self.vendor, self.keys, TIMING),
            around=Surroundings(wall=self.wall),
            call_deadline=TIMING.call,
            limits=self.limits,
            crash=trap,
        )

    async def until_done(self, chunk: Chunk) -> int:
        """Hand the chunk over as the engine does, to the successor after a death; how many died."""
        deaths = 0
        while True:
            try:
                await self.connector.handle(chunk)
                return deaths
            except Killed:
                deaths += 1
                self.connector = self.build()
                self.wall.pass_(TIMING.lease / 1_000_000 + 1)
            except Unavailable:
                continue


@pytest.mark.parametrize("point", CONNECTOR)
async def test_the_recipient_ends_with_what_it_may_hold(point: str) -> None:
    """A delivery and a lapse that leaves one of two purposes: one field stays, one goes, each told once."""
    bench, trap = Mortal(), Trap(point)
    bench.dying(trap)
    given = delivery("d1", parts=[EMAIL, PHONE])
    deaths = await bench.until_done(bench.chunk(given))
    await bench.later()
    assert bench.held == {"email": "one", "phone": "one"} or not trap.sprung
    bench.die(given, "q")
    ended = lapse("l1", of_subject("ann", "q"))
    if not trap.sprung:
        bench.dying(trap)
    deaths += await bench.until_done(bench.chunk(ended))
    with contextlib.suppress(Killed):
        await bench.later()
    await bench.later()
    assert (trap.sprung, deaths) == (True, 1)
    assert bench.held == {"email": "one"}
    assert outcomes(bench.vault, given.delivery_id) == ["delivered"]
    assert outcomes(bench.vault, id16("l1")) == ["completed"]
    assert bench.connector.waiting() == 0
    await bench.connector.close()
