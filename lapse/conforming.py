"""`lapse processor conform`: puts a connector through every situation, beside a stand-in, on this machine."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lapse.main import data_folder, installation
from processors.conformance import IDS, Party, Result, conform, parties
from processors.registry import NAMES as CONNECTORS
from schemas.errors import BadInput, NotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What to put to the proof: a kind, a processor of the policy by its name, or a function of a module."""

    name: str | None
    module: str | None
    situations: Sequence[str]
    seed: str
    most: int


def conforms(asked: Asked, data: Path | None) -> Sequence[Result]:
    """Play the situations; `NotFound` where nothing is called so, `BadInput` where nothing is named."""
    party = _party(asked, data)
    names = [name for name in IDS if not asked.situations or name in asked.situations]
    unknown = sorted(set(asked.situations) - set(IDS))
    if unknown:
        what, do = f"there is no situation {unknown[0]!r}", f"use {', '.join(IDS)}"
        raise NotFound("not_found", what, "--situation", do)
    logging.getLogger().addHandler(logging.NullHandler())  # a connector that pauses is what is being tried
    return asyncio.run(conform(party, names, seed=asked.seed, most=asked.most))


def row(result: Result, *, traced: bool) -> dict[str, object]:
    """Return a result as it is shown; with its trace where it failed, if that is wanted."""
    shown: dict[str, object] = {
        "situation": result.situation,
        "held": result.held,
        "runs": result.runs,
        "why": result.why,
    }
    return shown | ({"trace": list(result.trace)} if traced and result.trace else {})


def _party(asked: Asked, data: Path | None) -> Party:
    if asked.module is not None:
        sys.path.insert(0, str(Path.cwd()))  # as python -m has it: a third party runs this beside its module
        return parties.from_module(asked.module)
    if asked.name is None:
        do = "name a connector or a processor, or --module pkg.mod:function"
        raise BadInput("usage", "nothing to put to the proof", "NAME", do)
    if asked.name in CONNECTORS:
        return parties.shipped(asked.name)
    with installation(data_folder(data)) as here:
        return parties.shipped(here.plans.latest.processor(asked.name).connector)
