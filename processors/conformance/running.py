"""Plays situations with a party, one after the other, and says how each went."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from processors.conformance.cases import CASES
from processors.conformance.party import Party
from processors.conformance.situations import IDS, situation
from processors.conformance.stage import Stage
from processors.conformance.values import Broken, NotApplicable

Held = Literal["held", "failed", "not applicable"]
PATIENCE = 300.0
"""Seconds of real time after which a situation counts as hung."""
SEED = "lapse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How one situation went; `trace` shows the run that failed."""

    situation: str
    held: Held
    why: str = ""
    runs: int = 0
    trace: tuple[str, ...] = ()


async def play(party: Party, name: str, *, seed: str = SEED, most: int = 16) -> Result:
    """Play one situation; whatever the recipient raises is a failure of the situation."""
    case, stage = CASES[situation(name).id], Stage(party, f"{seed}/{name}", most)
    try:
        async with asyncio.timeout(PATIENCE):
            await case(stage)
    except NotApplicable as no:
        return Result(situation=name, held="not applicable", why=str(no), runs=stage.runs)
    except Broken as broken:
        return _failed(name, stage, str(broken))
    except TimeoutError:
        return _failed(name, stage, "it hangs")
    except Exception as error:  # noqa: BLE001  # a stranger's code: whatever it raises belongs into its report
        return _failed(name, stage, f"it raises {type(error).__name__}, and no recipient may")
    return Result(situation=name, held="held", runs=stage.runs)


def _failed(name: str, stage: Stage, why: str) -> Result:
    return Result(situation=name, held="failed", why=why, runs=stage.runs, trace=tuple(stage.trace.lines))


async def conform(
    party: Party, names: Iterable[str] = IDS, *, seed: str = SEED, most: int = 16
) -> Sequence[Result]:
    """Play these situations with a party, in order."""
    return [await play(party, name, seed=seed, most=most) for name in names]
