"""M8: rectification, from an officer's correction to what a recipient keeps (rule 11).

One record of one purpose, routed as revision 1. A correction to revision 2 lies on intake (also the same
twice), then one to revision 3. One tag worker and one route worker, SIGKILL anywhere; one recipient X with
one partition and one vendor object. X suspended and resumed, the key's end, opens of any delivery at any
moment, a slow announcer, and in some configurations one restore of any earlier vault.

Invariants: 14, nothing below the highest revision opens once that is on its way. 14v, the vendor is left with
what was corrected. 5v, X lost what it should have. 1, a correction vanished. 11, a revision counted twice. 9
as in M2.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from engine import Finding, Model, with_

Plan = tuple[str, int]  # (tagged or discarded, revision)
Grant = tuple[int, int]  # (revision, the vault's sequence number of the commit that granted it)


class Router(NamedTuple):
    """The route worker of one horizon: how far it is, what it does, what it grants."""

    at: int = 0
    pc: str = "idle"  # idle, del, c2
    grant: Grant | None = None


class S(NamedTuple):
    """The vault, the topics, the workers and the vendor."""

    seq: int = 1
    highest: int = 1  # the highest revision the vault knows
    told: bool = False  # X must be told of a lapse
    live: bool = True  # the key lives
    susp: int = 0  # whether X is suspended
    left: int = 0  # suspensions to come
    plan: Plan | None = None  # of the chunk in hand
    prog: int = 0  # the vault's progress on intake
    kafka: int = 0  # committed in Kafka; purged up to there
    tpc: str = "idle"  # tag: idle, seal, c2, ack
    tally: tuple[int, ...] = ()
    first: Router = Router()  # of revision 1's horizon
    later: Router = Router()  # of the others'
    records: tuple[int, ...] = ()  # revisions tag sealed
    seen: frozenset[int] = frozenset()  # corrections a restored vault is to take once more
    out: tuple[tuple[Any, ...], ...] = ()  # outbox: ("C", revision) or ("L", number, cause)
    control: frozenset[int] = frozenset()  # revisions that control says
    part: tuple[tuple[Any, ...], ...] = ()  # X's partition: ("D", revision, number) or ("L", number, cause)
    pos: int = 0  # where the connector stands
    row: Grant | None = None  # what the vendor has
    barred: bool = False  # X was suspended at some time
    wrong: frozenset[Finding] = frozenset()
    crashes: int = 1
    backup: tuple[Any, ...] | None = None
    restores: int = 0


VAULT = ("highest", "told", "live", "susp", "plan", "prog", "tally", "out")  # what a backup holds


@dataclass(frozen=True)
class Rectify(Model):
    """A correction is a new revision; the old one opens no more, and X gets or loses it as granted."""

    first: bool = True  # the old revision is superseded in tag's commit 1, with the plan
    plan: bool = True  # a redelivery repeats the plan
    exact: bool = True  # only the highest and one more counts, the rest is discarded
    # Who tells X that it gets nothing: route as it decides, tag as it looks, all (whoever had it), or nobody.
    tell: str = "route"
    reach: bool = True  # such a lapse reaches only deliveries decided before it
    newer: bool = True  # an older revision never takes a newer one's place
    owed: bool = True  # what a restore needs is on control before the new revision is sealed
    again: bool = True  # what control says after a restore, and intake still holds, is taken once more
    key: bool = False  # the key may end
    crashes: int = 1
    restore: bool = False
    intake: tuple[int, ...] = (2,)
    susp: int = 0

    def start(self) -> S:
        return S(crashes=self.crashes, left=self.susp)

    def step(self, s: S) -> Iterator[tuple[str, S]]:
        yield from self.tag(s)
        yield from self.route(s, "first", (1,))
        yield from self.route(s, "later", s.records)
        yield from self.world(s)
        yield from opens(s)
        # What waits for a suspension sleeps.
        if s.pos < len(s.part) and not (s.part[s.pos][0] == "D" and s.susp):
            yield f"connector takes {s.part[s.pos]}", self.taken(s)
        yield from self.restored(s)

    # ---- tag
    def tag(self, s: S) -> Iterator[tuple[str, S]]:
        """Commit 1 plans, produce seals, commit 2 counts; then Kafka's commit."""
        if s.tpc == "idle" and s.prog < len(self.intake):
            yield self.commit_1(s, self.intake[s.prog])
        if s.tpc == "seal" and not (self.owed and any(kind == "C" for kind, *_ in s.out)):
            fate, revision = s.plan
            sealed = fate == "tagged" and s.live and s.records.count(revision) < 2
            records = (*s.records, revision) if sealed else s.records
            yield f"tag produces {s.plan}", with_(s, records=records, tpc="c2")
        if s.tpc == "c2":
            fate, revision = s.plan
            t = with_(s, tpc="ack", prog=s.prog + 1, plan=None)
            if fate == "tagged":
                t = with_(t, tally=(*t.tally, revision), highest=max(t.highest, revision))
            yield "tag commit 2", t
        if s.tpc == "ack":
            yield "tag commits to Kafka, intake purged", with_(s, tpc="idle", kafka=s.prog)
        if s.crashes and s.tpc != "idle":
            yield f"tag SIGKILL in {s.tpc}", with_(s, tpc="idle", crashes=s.crashes - 1)

    def commit_1(self, s: S, revision: int) -> tuple[str, S]:
        """Judge a correction and close the old revision, or repeat what was planned."""
        t, plan = with_(s, seq=s.seq + 1), s.plan if self.plan else None
        if plan is None:
            again = revision == s.highest and revision in s.seen
            fits = revision == s.highest + 1 or again or not self.exact
            plan = ("tagged" if s.live and fits else "discarded", revision)
            if plan[0] == "tagged":
                highest = max(s.highest, revision) if self.first else s.highest
                t = with_(t, highest=highest, out=(*t.out, ("C", revision)))
                if s.told and (self.tell == "all" or (self.tell == "tag" and s.susp)):
                    t = with_(t, out=(*t.out, ("L", t.seq, "rectification")))
        return f"tag commit 1: {plan}", with_(t, plan=plan, tpc="seal")

    # ---- route
    def route(self, s: S, name: str, records: tuple[int, ...]) -> Iterator[tuple[str, S]]:
        """One horizon's worker: commit 1 grants or refuses, then the delivery, then commit 2."""
        worker: Router = getattr(s, name)
        if worker.pc == "idle" and worker.at < len(records):
            yield self.decide(s, name, worker, records[worker.at])
        if worker.pc == "del":
            grant = worker.grant
            more = grant is not None and sum(k == "D" and r == grant[0] for k, r, *_ in s.part) < 2
            part = (*s.part, ("D", *grant)) if more else s.part
            delivered = with_(s, **{name: Router(worker.at, "c2")}, part=part)
            yield f"route delivers {grant}", delivered
        if worker.pc == "c2":
            yield "route commit 2", with_(s, **{name: Router(worker.at + 1)})
        if s.crashes and worker.pc != "idle":
            killed = with_(s, **{name: Router(worker.at)}, crashes=s.crashes - 1)
            yield f"route SIGKILL in {worker.pc}", killed

    def decide(self, s: S, name: str, worker: Router, revision: int) -> tuple[str, S]:
        """Commit 1: a grant, or a refusal that tells X to erase what it had."""
        seq = s.seq + 1
        if s.live and not s.susp and revision >= s.highest:
            granted = {name: Router(worker.at, "del", (revision, seq))}
            return f"route grants revision {revision}", with_(s, **granted, seq=seq, told=True)
        tell = self.tell == "route" and revision > 1 and revision >= s.highest and s.told and s.live
        out = (*s.out, ("L", seq, "rectification")) if tell else s.out
        refused = with_(s, **{name: Router(worker.at, "del")}, seq=seq, out=out)
        return f"route refuses revision {revision}", refused

    # ---- everybody else
    def world(self, s: S) -> Iterator[tuple[str, S]]:
        """The key, X's suspension, the announcer."""
        if s.live and self.key:
            owed = (("L", s.seq + 1, "retention"),) if s.told else ()
            yield "the key ends", with_(s, live=False, seq=s.seq + 1, out=s.out + owed)
        if not s.susp and s.left:
            yield "X suspended", with_(s, susp=1, left=s.left - 1, barred=True)
        if s.susp:
            yield "X resumed", with_(s, susp=0)
        if s.out:
            (kind, *what), rest = s.out[0], s.out[1:]
            if kind == "C":
                t = with_(s, out=rest, control=s.control | {what[0]})
            else:
                t = with_(s, out=rest, part=(*s.part, s.out[0]))
            yield f"announce {s.out[0]}", t

    def taken(self, s: S) -> S:
        """The next message of X's partition: what it writes at the vendor, or ends there."""
        kind, *what = s.part[s.pos]
        row, wrong = s.row, s.wrong
        if kind == "D":
            revision, number = what
            newest = row is None or not self.newer or revision >= row[0]
            if s.live and (revision >= s.highest or not self.newer) and newest:
                row = (revision, number)
        elif row is not None and (not self.reach or row[1] < what[0]):
            row = None
            if what[1] == "rectification" and s.live and not s.barred:
                wrong |= {("5v", "erased although it gets the new revision")}
        return with_(s, row=row, pos=s.pos + 1, wrong=wrong)

    def restored(self, s: S) -> Iterator[tuple[str, S]]:
        """The vault goes back to a backup and applies what control says, before anybody is answered.

        What intake held before Kafka's offset is purged; records are routed again.
        """
        if self.restore and s.backup is None and s.restores == 0:
            yield "backup", with_(s, backup=tuple(getattr(s, name) for name in VAULT))
        if s.backup is not None:
            t = with_(s, **dict(zip(VAULT, s.backup, strict=True)))
            t = with_(t, backup=None, restores=1, tpc="idle", first=Router(), later=Router())
            ahead = s.kafka > t.prog
            t = with_(t, prog=max(t.prog, s.kafka), plan=None if ahead else t.plan)
            seen = s.control if self.again else frozenset()
            yield "restore", with_(t, highest=max([t.highest, *s.control]), seen=seen)

    # ---- what must hold
    def safe(self, s: S) -> list[Finding]:
        return sorted(s.wrong)

    def final(self, s: S) -> list[Finding]:
        bad, newest = [], max((1, *s.records))
        if s.row is not None and s.row[0] < s.highest:
            bad.append(("14v", f"the vendor keeps revision {s.row[0]} of {s.highest}"))
        if s.live and s.highest > newest:
            bad.append(("1", f"revision {s.highest} is nowhere"))
        if any(s.tally.count(revision) > 1 for revision in s.tally):
            bad.append(("11", f"counted {s.tally}"))
        granted = [seq for kind, revision, seq in s.part if kind == "D" and revision == newest]
        lapsed = [number for kind, number, _ in s.part if kind == "L"]
        stands = bool(granted) and max(granted) > max(lapsed, default=0)
        if s.live and stands and (s.row is None or s.row[0] != newest):
            bad.append(("5v", f"the vendor has {s.row}, it was given revision {newest}"))
        if not s.live and s.row is not None:
            bad.append(("9", "the vendor keeps what has lapsed"))
        return bad


def opens(s: S) -> Iterator[tuple[str, S]]:
    """Any consumer, any attempt, any replay; all is well unless a newer revision is on its way."""
    for kind, revision, *_ in s.part:
        if kind == "D" and s.live and not s.susp and revision >= s.highest:
            sealed = [r for r in s.records if r > revision]
            delivered = [r for k, r, *_ in s.part if k == "D" and r > revision]
            if sealed or delivered:
                above = max(sealed + delivered)
                why = f"revision {revision} opens while {above} is on the log"
                yield f"X opens revision {revision}", with_(s, wrong=s.wrong | {("14", why)})


CONFIGS = [
    ("fixed, X suspended", Rectify(susp=1), set()),
    ("fixed, the key ends", Rectify(key=True), set()),
    ("fixed, the same twice", Rectify(intake=(2, 2)), set()),
    ("fixed, two corrections", Rectify(intake=(2, 3), crashes=0), set()),
    ("fixed, a restore", Rectify(restore=True, crashes=0), set()),
    ("as first proposed: tag looks who gets nothing", Rectify(susp=1, tell="tag"), {"14v"}),
    ("bug: nobody is told", Rectify(susp=1, tell=""), {"14v"}),
    ("bug: everybody is told to erase", Rectify(tell="all"), {"5v"}),
    ("bug: superseded in commit 2", Rectify(first=False), {"14"}),
    ("bug: a redelivery is judged anew", Rectify(plan=False), {"1"}),
    ("bug: any revision counts", Rectify(intake=(2, 2), exact=False), {"11"}),
    ("bug: a lapse without reach", Rectify(susp=1, reach=False), {"5v"}),
    ("bug: an old revision takes the place", Rectify(newer=False, crashes=0), {"14v"}),
    ("bug: control not owed", Rectify(restore=True, owed=False, crashes=0), {"14"}),
    ("bug: restored, and taken for old", Rectify(restore=True, again=False, crashes=0), {"1"}),
]
