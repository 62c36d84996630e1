"""M8: rectification. One record of one purpose, routed as revision 1; an officer's correction to revision 2 lies on intake (the same twice), then one to
revision 3. One tag and one route worker, SIGKILL anywhere, one recipient X with one partition and one vendor object; X suspended and resumed, the key's end,
opens of any delivery at any moment, a slow announcer, and (config) one restore of any earlier vault. 14: nothing below the highest revision opens once that is
on its way; 14v the vendor is left with what was corrected; 5v X lost what it should have; 1 a correction vanished; 11 a revision counted twice; 9 as in M2."""
from typing import NamedTuple
from engine import with_

# first: the old revision is superseded in tag's commit 1, with the plan; plan: a redelivery repeats the plan; exact: only highest + 1 counts, the rest
# is discarded; route: who gets nothing of the new revision is told by route, in the commit that decides it ("tag": tag looks; "all": everybody; "": nobody);
# reach: such a lapse reaches only deliveries decided before it; newer: an older revision never takes a newer one's place; owed: what a restore needs is
# on control before the new revision is sealed
# again: what control says after a restore, and intake still holds, is taken once more
FIXED = dict(first=True, plan=True, exact=True, tell="route", reach=True, newer=True, owed=True, again=True, key=False, crashes=1, restore=False, intake=(2,), susp=0)
CONFIGS = [("fixed, X suspended", dict(susp=1), set()), ("fixed, the key ends", dict(key=True), set()), ("fixed, the same twice", dict(intake=(2, 2)), set()),
           ("fixed, two corrections", dict(intake=(2, 3), crashes=0), set()), ("fixed, a restore", dict(restore=True, crashes=0), set()),
           ("as first proposed: tag looks who gets nothing", dict(susp=1, tell="tag"), {"14v"}),
           ("bug: nobody is told", dict(susp=1, tell=""), {"14v"}), ("bug: everybody is told to erase", dict(tell="all"), {"5v"}),
           ("bug: superseded in commit 2", dict(first=False), {"14"}), ("bug: a redelivery is judged anew", dict(plan=False), {"1"}),
           ("bug: any revision counts", dict(intake=(2, 2), exact=False), {"11"}), ("bug: a lapse without reach", dict(susp=1, reach=False), {"5v"}),
           ("bug: an old revision takes the place", dict(newer=False, crashes=0), {"14v"}), ("bug: control not owed", dict(restore=True, owed=False, crashes=0), {"14"}),
           ("bug: restored, and taken for old", dict(restore=True, again=False, crashes=0), {"1"})]

class S(NamedTuple):
    seq: int = 1; highest: int = 1; told: bool = False; live: bool = True; susp: int = 0; left: int = 0  # susp: 0 not now, 1 now; left: suspensions to come
    plan: object = None; prog: int = 0; kafka: int = 0; tpc: str = "idle"; tally: tuple = ()             # tag: plan (fate, revision), vault's and Kafka's offset
    first: tuple = (0, "idle", None); later: tuple = (0, "idle", None)                                     # route of revision 1's horizon, and of the others'
    records: tuple = (); seen: frozenset = frozenset()                                                     # what tag sealed; corrections to be taken once more
    out: tuple = (); control: frozenset = frozenset(); part: tuple = (); pos: int = 0                      # outbox, control, X's partition, connector
    row: object = None; barred: bool = False; wrong: frozenset = frozenset()                               # vendor: (revision, seq); whether X was ever barred
    crashes: int = 1; backup: object = None; restores: int = 0

VAULT = ("highest", "told", "live", "susp", "plan", "prog", "tally", "out")

def make(c):
    def tag(s):
        if s.tpc == "idle" and s.prog < len(c["intake"]):
            rev = c["intake"][s.prog]
            plan, t = s.plan if c["plan"] else None, with_(s, seq=s.seq + 1)
            if plan is None:
                fits = rev == s.highest + 1 or (rev == s.highest and rev in s.seen)
                fate = "tagged" if s.live and (fits or not c["exact"]) else "discarded"
                plan = (fate, rev)
                if fate == "tagged":
                    t = with_(t, highest=max(s.highest, rev) if c["first"] else s.highest, out=t.out + (("C", rev),))
                    if s.told and (c["tell"] == "all" or (c["tell"] == "tag" and s.susp)):
                        t = with_(t, out=t.out + (("L", t.seq, "rectification"),))
            yield f"tag commit 1: {plan}", with_(t, plan=plan, tpc="seal")
        if s.tpc == "seal" and not (c["owed"] and any(k == "C" for k, *_ in s.out)):
            fate, rev = s.plan
            sealed = fate == "tagged" and s.live and s.records.count(rev) < 2
            yield f"tag produces {s.plan}", with_(s, records=s.records + (rev,) if sealed else s.records, tpc="c2")
        if s.tpc == "c2":
            fate, rev = s.plan
            t = with_(s, tpc="ack", prog=s.prog + 1, plan=None)
            if fate == "tagged":
                t = with_(t, tally=t.tally + (rev,), highest=max(t.highest, rev))
            yield "tag commit 2", t
        if s.tpc == "ack":
            yield "tag commits to Kafka, intake purged", with_(s, tpc="idle", kafka=s.prog)
        if s.crashes and s.tpc != "idle":
            yield f"tag SIGKILL in {s.tpc}", with_(s, tpc="idle", crashes=s.crashes - 1)

    def route(s, name, records):
        at, pc, grant = getattr(s, name)
        def wk(*now, **more):
            return with_(s, **{name: now}, **more)
        if pc == "idle" and at < len(records):
            rev, seq = records[at], s.seq + 1
            if s.live and not s.susp and rev >= s.highest:
                yield f"route grants revision {rev}", wk(at, "del", (rev, seq), seq=seq, told=True)
            else:
                tell = c["tell"] == "route" and rev > 1 and rev >= s.highest and s.told and s.live
                yield f"route refuses revision {rev}", wk(at, "del", None, seq=seq, out=s.out + ((("L", seq, "rectification"),) if tell else ()))
        if pc == "del":
            more = grant is not None and sum(k == "D" and r == grant[0] for k, r, *_ in s.part) < 2
            yield f"route delivers {grant}", wk(at, "c2", None, part=s.part + (("D", *grant),) if more else s.part)
        if pc == "c2":
            yield "route commit 2", wk(at + 1, "idle", None)
        if s.crashes and pc != "idle":
            yield f"route SIGKILL in {pc}", wk(at, "idle", None, crashes=s.crashes - 1)

    def world(s):
        if s.live and c["key"]:
            yield "the key ends", with_(s, live=False, seq=s.seq + 1, out=s.out + ((("L", s.seq + 1, "retention"),) if s.told else ()))
        if not s.susp and s.left:
            yield "X suspended", with_(s, susp=1, left=s.left - 1, barred=True)
        if s.susp:
            yield "X resumed", with_(s, susp=0)
        if s.out:
            (kind, *what), rest = s.out[0], s.out[1:]
            yield f"announce {s.out[0]}", with_(s, out=rest, control=s.control | {what[0]}) if kind == "C" else with_(s, out=rest, part=s.part + (s.out[0],))
        for kind, rev, *_ in s.part:                       # any consumer, any attempt, any replay
            if kind == "D" and s.live and not s.susp and rev >= s.highest:
                above = max([r for r in s.records if r > rev] + [r for k, r, *_ in s.part if k == "D" and r > rev], default=0)
                if above:
                    yield f"X opens revision {rev}", with_(s, wrong=s.wrong | {("14", f"revision {rev} opens while {above} is on the log")})
        if s.pos < len(s.part) and not (s.part[s.pos][0] == "D" and s.susp):   # what waits for a suspension sleeps
            kind, *what = s.part[s.pos]
            row, wrong = s.row, s.wrong
            if kind == "D":
                rev, seq = what
                if s.live and (rev >= s.highest or not c["newer"]):
                    row = (rev, seq) if row is None or not c["newer"] or rev >= row[0] else row
            elif row is not None and (not c["reach"] or row[1] < what[0]):
                row = None
                if what[1] == "rectification" and s.live and not s.barred:
                    wrong = wrong | {("5v", "erased although it gets the new revision")}
            yield f"connector takes {s.part[s.pos]}", with_(s, row=row, pos=s.pos + 1, wrong=wrong)
        if c["restore"] and s.backup is None and s.restores == 0:
            yield "backup", with_(s, backup=tuple(getattr(s, name) for name in VAULT))
        if s.backup is not None:
            old = dict(zip(VAULT, s.backup))
            t = with_(s, **old)._replace(backup=None, restores=1, tpc="idle", first=(0, "idle", None), later=(0, "idle", None))
            # what control says is applied before anybody is answered; what intake held before Kafka's offset is purged; records are routed again
            yield "restore", with_(t, highest=max([t.highest, *s.control]), seen=s.control if c["again"] else frozenset(), prog=max(t.prog, s.kafka), plan=None if s.kafka > t.prog else t.plan)

    def step(s):
        yield from tag(s)
        yield from route(s, "first", (1,))
        yield from route(s, "later", s.records)
        yield from world(s)

    def final(s):
        bad, newest = [], max((1, *s.records))
        if s.row is not None and s.row[0] < s.highest:
            bad.append(("14v", f"the vendor keeps revision {s.row[0]} of {s.highest}"))
        if s.live and s.highest > newest:
            bad.append(("1", f"revision {s.highest} is nowhere"))
        if any(s.tally.count(r) > 1 for r in s.tally):
            bad.append(("11", f"counted {s.tally}"))
        granted = [seq for kind, rev, seq in s.part if kind == "D" and rev == newest]
        if s.live and granted and max(granted) > max((n for kind, n, _ in s.part if kind == "L"), default=0) and (s.row is None or s.row[0] != newest):
            bad.append(("5v", f"the vendor has {s.row}, it was given revision {newest}"))
        if not s.live and s.row is not None:
            bad.append(("9", "the vendor keeps what has lapsed"))
        return bad
    return S(crashes=c["crashes"], left=c["susp"]), step, lambda s: sorted(s.wrong), final
