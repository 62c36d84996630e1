"""Two workers and a zombie on one partition, in step with model m1, over the vault's fence and plan."""

import random
from pathlib import Path
from typing import Any

import pytest

from tests.unit.vault.models import model
from tests.unit.vault.worlds import World, bucket, open_world, wanted
from vault.ending import apply_statements, erase
from vault.keys import new_key
from vault.port import Tx
from vault.subjects import resolve, with_key
from vault.values import Statement

TOPIC = "intake"
CODES = {"accept": b"a", "refuse": b"r", "unknown": b"u"}
NAMES = {v: k for k, v in CODES.items()}


class _Partition:
    """What lies in the vault for one partition and one person, driven by the model's labels."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.world: World = open_world(kind, folder)
        with self.world.write() as tx:
            self.number = self.world.person(tx, "a@x").number
            tx.ensure_buckets([wanted(bucket("accepted")), wanted(bucket("refused"))])

    def verdict(self, tx: Tx) -> str:
        """What tag would say now of an event of this person."""
        found = resolve(tx.aliases([self.world.hash("a@x")])[self.world.hash("a@x")], tx.now)
        if found.closed:
            return "unknown"
        held = tx.subjects(found.subjects)[self.number].purpose("news")
        return "accept" if held.granted is not False else "refuse"

    def plan(self, tx: Tx) -> list[str] | None:
        raw = tx.plan(TOPIC, 0)
        return None if raw is None else [NAMES[raw[i : i + 1]] for i in range(len(raw))]

    def do(self, label: str, before: Any, after: Any) -> None:
        """Apply one step of the model to the vault."""
        with self.world.write() as tx:
            if "fenced off" in label or "takes the plan" in label or "commit 2: tally" in label:
                _, believed, _, _ = before.w[int(label[1])]
                fenced = (tx.progress(TOPIC, 0) or 0) != believed
                assert fenced is ("fenced off" in label)
            if "commit 1: offsets" in label:
                self.commit_1(tx, before, after)
            elif "commit 2: tally" in label:
                self.commit_2(tx)
            elif label == "withdrawal":
                state = tx.subjects([self.number])[self.number]
                denied = Statement(purpose="news", granted=False, at=tx.now)
                apply_statements(tx, state, [denied], self.world.herald)
            elif label == "erasure":
                erase(tx, [self.world.hash("a@x")], tx.now, self.world.herald)

    def commit_1(self, tx: Tx, before: Any, after: Any) -> None:
        assert (tx.progress(TOPIC, 0) or 0) == before.prog and tx.plan(TOPIC, 0) is None
        verdict = self.verdict(tx)
        if verdict == "accept":
            state = tx.subjects([self.number])[self.number]
            tx.put_subjects([with_key(state, "news", tx.now, new_key)])
        tx.put_plan(TOPIC, 0, CODES[verdict] * len(after.plan))

    def commit_2(self, tx: Tx) -> None:
        plan = self.plan(tx) or []
        accepted = plan.count("accept")
        tx.add_tally({bucket("accepted"): accepted, bucket("refused"): len(plan) - accepted})
        tx.set_progress(TOPIC, 0, (tx.progress(TOPIC, 0) or 0) + len(plan))
        tx.drop_plan(TOPIC, 0)

    def agrees(self, s: Any) -> None:
        """Fence, plan and tallies are the model's."""
        with self.world.read() as tx:
            assert (tx.progress(TOPIC, 0) or 0) == s.prog
            assert (self.plan(tx) or []) == list(s.plan)
            rows = tx.buckets([bucket("accepted"), bucket("refused")])
            assert (rows[bucket("accepted")].tally, rows[bucket("refused")].tally) == s.tally
            held = tx.subjects([self.number])[self.number]
            assert {"live": held.purpose("news").key is not None, "withdrawn": not held.erased}.get(
                s.subj, held.erased
            )


@pytest.mark.parametrize(("kind", "count"), [("memory", 250), ("sqlite", 6), ("postgresql", 3)])
def test_fence_plan_and_tally_walk_in_step_with_the_model(kind: str, count: int, tmp_path: Path) -> None:
    """Kills, zombies, withdrawals and erasures at any moment: the vault is where the model is."""
    m1 = model("m1_tag").Tag()
    dice, words, ends = random.Random(1), set[str](), 0
    for n in range(count):
        partition, state = _Partition(tmp_path / str(n), kind), m1.start()
        for _ in range(40):
            moves = [(label, after) for label, after in m1.step(state) if after != state]
            if not moves:
                assert not m1.final(state)
                ends += 1
                break
            label, after = dice.choice(moves)
            partition.do(label, state, after)
            partition.agrees(after)
            words.add(" ".join(label.split()[1:4]).split(":")[0])
            assert not m1.safe(after)
            state = after
        partition.world.vault.close()
    assert ends > count // 2
    assert kind != "memory" or {"commit 1", "commit 2", "commit 1 fenced", "commit 2 fenced"} <= words
