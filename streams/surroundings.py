"""What surrounds every role: the vault, the log, keys, clocks, and who is told of findings."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from msgspec.structs import replace

from processors.registry import opens_here
from schemas import codec, signing
from schemas.models import Command
from schemas.plan import Plans, PolicyPlan
from schemas.signing import SERVICE
from streams import metrics
from streams.agents import Note
from streams.announcing import Gone, drained, nobody
from streams.faults import Crash, never
from streams.out import Out
from streams.ports import Sink
from streams.stage import Blocking, inline
from vault.herald import Herald
from vault.keys import Draw, random_bytes
from vault.port import Tx, Vault
from vault.tokens import PixelKeys
from vault.values import Recipient

C = TypeVar("C", bound=Command)
NAP = 0.01
"""Seconds between two looks at the outbox while a commit waits for it."""

log = logging.getLogger(__name__)


def note(what: str, where: str, count: int = 1) -> None:
    """A finding: counted, and logged by name and place."""
    metrics.FINDINGS.labels(what).inc(count)
    log.warning("finding", extra={"what": what, "where": where, "count": count})


async def nap() -> None:
    """Wait a moment."""
    await asyncio.sleep(NAP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What every role is given: vault, sink, how many partitions topics have, the service's signing key.

    `work` runs a blocking function off the loop (`Engine.work`); `operators` are key ids and public keys
    accepted on `control` beside the policy's.
    """

    vault: Vault
    sink: Sink
    partitions: Callable[[str], int]
    service_key: bytes = field(repr=False)
    pixel_keys: PixelKeys | None = None
    operators: Mapping[str, bytes] = field(default_factory=dict)
    owner: bytes = field(default_factory=lambda: random_bytes(16))
    gone: Gone = nobody
    finding: Callable[..., None] = note
    work: Blocking = inline
    draw: Draw = random_bytes
    nap: Callable[[], Awaitable[None]] = nap
    seconds: Callable[[], float] = time.monotonic
    crash: Crash = never
    note: Note = lambda _who, _what: None

    @property
    def out(self) -> Out:
        """Where records go."""
        return Out(sink=self.sink, partitions=self.partitions)

    def herald(self, plans: Plans) -> Herald:
        """Who is told of endings: every processor of every policy ever in force."""
        recipients = {
            processor.name: Recipient(
                name=processor.name,
                topic=f"processor.{processor.name}",
                partitions=self.partitions(f"processor.{processor.name}"),
                erase_within=processor.erase_within,
                each=processor.connector != "kafka" and opens_here(processor.connector),
            )
            for plan in plans
            for processor in plan.processors
        }
        return Herald(
            secrets=self.vault.secrets,
            encode=codec.encode,
            sign=self.sign,
            recipients=recipients,
            draw=self.draw,
        )

    def sign(self, command: C, /) -> C:
        """Sign what the system applied by itself."""
        return signing.sign(replace(command, key_id=SERVICE), self.service_key)

    def keys(self, _tx: Tx, policy: PolicyPlan | None) -> dict[str, bytes]:
        """Public keys whose commands are obeyed: the policy's, the installation's own, the service's."""
        policy_keys = policy.operators if policy is not None else {}
        return {**policy_keys, **self.operators, SERVICE: signing.public_key(self.service_key)}

    async def drained(self) -> None:
        """Wait until everything owed at this moment is on the log."""
        await drained(self.vault, self.nap)
