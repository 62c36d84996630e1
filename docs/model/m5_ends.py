"""M5, the other half: how an object ends where its name is an address and some ends only overwrite (rule 6).

`m5_vendor` shows that one attempt at a time is enough. Here every attempt is the only one, but any of its
requests may be lost or refused as busy (`m5_requests`), and it may die with its worker.

A log says what comes for one person: a and b are deliveries with that address, n is one without; W withdraws,
E erases, R recalls everything, K recalls the first delivery alone.

Invariants: V, what was erased or recalled stands nowhere, under no name. U, what was only withdrawn is
unsubscribed. 5s, who lives is subscribed, under the last address. R, an answer that says completed, absent or
not applicable is true when it is given. N, nothing is ended that nobody asked to end.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from engine import Finding, Model, with_
from m5_requests import Answer, Book, Call, run

DELIVERIES, LAPSES = "abn", "WERK"


class Copy(NamedTuple):
    """A row of the holdings: one delivery at the vendor."""

    i: int  # where the delivery stands in the log
    owed: bool = True  # it is still to be written
    maybe: bool = False  # an attempt may have written it
    state: str = "held"  # held, ending, rest
    lapse: int = -1  # which lapse ends it, or made it rest


class Attempt(NamedTuple):
    """What is entered before a call is made, as in `processors/calls.py`."""

    call: Call | None
    before: tuple[tuple[str, tuple[int, ...]], ...]  # `wrote` before it, and so on
    also: tuple[str, ...]
    ended: bool
    touched: bool
    carried: tuple[int, ...]  # the copies it is about
    waits: tuple[int, ...]  # of these, the ones that could not be opened yet
    ending: tuple[tuple[int, int], ...]  # (copy, lapse)
    lapses: tuple[int, ...]  # which lapses an answer answers
    answer: Answer | None = None


class S(NamedTuple):
    """The log, the object's rows in the vault, and the vendor."""

    log: str = ""
    read: int = 0
    copies: tuple[Copy, ...] = ()
    wrote: tuple[
        tuple[str, tuple[int, ...]], ...
    ] = ()  # per field: the deliveries that may have written it last
    vid: str = ""
    also: tuple[str, ...] = ()
    ended: bool = False  # the last call that may have landed was an end
    touched: bool = False  # the vendor may have an object
    endings: tuple[int, ...] = ()  # lapses not yet answered
    at: Attempt | None = None
    there: Book = ()
    faults: int = 0
    crashes: int = 0
    hide: int = 0
    hidden: int = -1  # a delivery that does not open for the moment
    bad: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Ends(Model):
    """The object's machine, as in `processors/objects.py`, `planning.py`, `finishing.py`; see README.md."""

    rest: bool = True  # grants that were only overwritten stay in reach
    written: bool = True  # so do those whose answer died with the worker
    stand: bool = True  # a grant rests until nothing of it can stand there any more
    over: bool = True  # a later lapse takes over what an earlier one is still ending
    knew: bool = True  # an answer answers only lapses that its call was about
    causes: bool = True  # the vendor hears every cause, not the strongest
    names: bool = True  # every name is entered before the call
    named: bool = True  # names are forgotten only by an answer that says the name
    again: bool = True  # a call says that the end before it was ours
    part: bool = True  # an end that went halfway counts as one
    logs: tuple[str, ...] = ("abWE",)
    faults: int = 1
    crashes: int = 1
    hide: int = 0
    there: bool = False  # b stands at the vendor, and is not ours

    def start(self) -> S:
        there: Book = (("b", "sub", False),) if self.there else ()
        return S(faults=self.faults, crashes=self.crashes, hide=self.hide, there=there)

    def step(self, s: S) -> Iterator[tuple[str, S]]:
        yield from self.comes(s)
        if s.read < len(s.log):
            yield f"{s.log[s.read]} is read", self.mark(s, s.read)
        if s.at is None:
            if settling(s) or any(x.owed and x.state == "held" for x in s.copies):
                yield "an attempt is planned", self.plan(s)
        elif s.at.answer is None:
            yield from self.call(s, s.at)
        else:
            yield "the answer is entered", self.finish(s, s.at, s.at.answer)
            if s.crashes:
                yield "SIGKILL before the answer is entered", with_(s, at=None, crashes=s.crashes - 1)
        if s.hidden >= 0:
            yield "opens again", with_(s, hidden=-1)
        for x in s.copies if s.hide else ():
            yield f"delivery {x.i} is hidden for a while", with_(s, hidden=x.i, hide=s.hide - 1)

    def comes(self, s: S) -> Iterator[tuple[str, S]]:
        """The next letter of any log that began like this one; a delivery is routed after what was read."""
        for e in sorted({log[len(s.log)] for log in self.logs if log.startswith(s.log) and log != s.log}):
            t = with_(s, log=s.log + e)
            if e in LAPSES:
                yield f"{e}: keys destroyed, lapse announced", t
            elif s.read == len(s.log):
                yield f"delivery {e} comes", with_(t, read=t.read + 1, copies=(*s.copies, Copy(s.read)))

    def call(self, s: S, at: Attempt) -> Iterator[tuple[str, S]]:
        """The call is made, any one request of it cut in any way; or the worker dies before it."""
        book, answer, count = run(s.there, at.call, s.log, None, part=self.part)
        word = "erase" if at.call.erase else "write"
        yield f"{word} {at.call}: {answer.what}", with_(s, there=book, at=at._replace(answer=answer))
        for cut in [(k, how) for k in range(1, count + 1) for how in ("lost", "done", "busy") if s.faults]:
            book, answer, _ = run(s.there, at.call, s.log, cut, part=self.part)
            t = with_(s, there=book, at=at._replace(answer=answer), faults=s.faults - 1)
            yield f"request {cut[0]} of {at.call}: {cut[1]}", t
        if s.crashes:
            yield "SIGKILL before the call", with_(s, at=None, crashes=s.crashes - 1)

    # ---- a lapse is read
    def mark(self, s: S, n: int) -> S:
        """The copies a lapse reaches begin to end; if there are none, that is the answer."""
        free = {"held", "rest", "ending"} if self.over else {"held", "rest"}
        hit = [x for x in s.copies if x.state in free and x.lapse != n and reaches(s, n, x.i)]
        copies = tuple(x._replace(state="ending", lapse=n) if x in hit else x for x in s.copies)
        t = with_(s, copies=copies, read=n + 1)
        return with_(t, endings=(*t.endings, n)) if hit else told(t, [n], "not applicable")

    # ---- an attempt is planned
    def plan(self, s: S) -> S:
        """Open what is asked for, make of it one call, and enter that before it is made."""
        s, asked, opened = opened_late(s)
        values = {f: x.i for x in opened for f in fields(s, x.i)}
        values = {f: i for f, i in values.items() if not newer(s, f, i)}
        call = self.planned(s, values)
        if call is not None and call.erase and not call.causes and any(ours for *_, ours in s.there):
            s = with_(s, bad=tuple(sorted({*s.bad, ("N", "the vendor is to end what no lapse ends")})))
        waits = tuple(x.i for x in asked if s.hidden == x.i)
        ending = tuple((x.i, x.lapse) for x in s.copies if x.state == "ending")
        before = (s.wrote, s.also, s.ended, s.touched)
        at = Attempt(call, *before, tuple(x.i for x in asked), waits, ending, s.endings)
        if call is None:
            return self.finish(s, at, Answer("done", "not applicable"))
        name = s.log[values["email"]] if "email" in values and self.names else s.vid
        also = s.also if name == s.vid else tuple(sorted({*s.also, name}))
        wrote = dict(s.wrote)
        wrote |= {f: tuple(sorted({*wrote.get(f, ()), i})) for f, i in values.items()}
        ended = s.ended or call.erase
        return with_(s, at=at, wrote=tuple(sorted(wrote.items())), also=also, ended=ended, touched=True)

    def planned(self, s: S, values: dict[str, int]) -> Call | None:
        """The call for these values, if one is needed."""
        living = [x for x in s.copies if x.state == "held"]
        if settling(s) and not living and s.touched:
            return Call(vid=s.vid, also=s.also, causes=self.said(s), erase=True)
        blank = self.blank(s, values) if settling(s) else ()
        if values or blank or (settling(s) and s.touched):
            put = tuple(sorted(values.items()))
            return Call(vid=s.vid, also=s.also, set=put, blank=blank, again=s.ended and self.again)
        return None

    def blank(self, s: S, values: dict[str, int]) -> tuple[str, ...]:
        """Fields that nobody who may have written them justifies any longer."""
        stays = {x.i for x in s.copies if x.state == "held" or (x.state == "rest" and self.stand)}
        return tuple(f for f, writers in s.wrote if f not in values and not stays.issuperset(writers))

    def said(self, s: S) -> frozenset[str]:
        """The causes the vendor hears."""
        causes = sorted((s.log[n] for n in s.endings), key="KRWE".index)
        return frozenset(causes if self.causes else causes[-1:])

    # ---- its answer is entered
    def finish(self, s: S, at: Attempt, answer: Answer) -> S:
        """What an answer says of the attempt's copies, names and lapses."""
        s = with_(s, at=None)
        if answer.kind == "retry" and answer.what == "landed":
            return with_(
                s, copies=tuple(x._replace(maybe=True) if x.i in at.carried else x for x in s.copies)
            )
        if answer.kind != "done":
            s = with_(s, wrote=at.before, also=at.also, ended=at.ended, touched=at.touched)
            return s if answer.kind == "retry" else refused(s, at)
        s = self.object(self.copies(s, at, answer), at, answer)
        left = {x.lapse for x in s.copies if x.state == "ending"}
        left |= set(s.endings) - set(at.lapses) if self.knew else set()
        t = told(s, [n for n in s.endings if n not in left], answer.what)
        return with_(t, endings=tuple(n for n in s.endings if n in left))

    def rests(self, at: Attempt, answer: Answer) -> bool:
        """Whether it was an end that only overwrote."""
        return at.call is not None and at.call.erase and answer.what == "overwritten" and self.rest

    def copies(self, s: S, at: Attempt, answer: Answer) -> S:
        """What ended is forgotten, or rests; what was written is owed no more."""
        rests, wrote = self.rests(at, answer), writers(s) if self.written else set()
        kept = []
        for x in s.copies:
            if (x.i, x.lapse) in at.ending and x.state == "ending":
                if rests and (not x.owed or x.maybe or x.i in wrote):
                    kept.append(x._replace(state="rest"))
            elif x.i in at.carried:
                kept.append(x._replace(owed=x.i in at.waits, maybe=False))
            else:
                kept.append(x)
        return with_(s, copies=tuple(kept))

    def object(self, s: S, at: Attempt, answer: Answer) -> S:
        """The object's own row: who wrote what, and under which names it stands."""
        if self.rests(at, answer):
            return s if self.stand else with_(s, wrote=())
        if at.call is None:
            return s
        if at.call.erase:
            return self.woken(with_(s, wrote=(), touched=False, vid="", also=(), ended=False))
        wrote = {f: by for f, by in at.before if f not in at.call.blank}
        wrote |= {f: (i,) for f, i in at.call.set}
        also = s.also if self.named and not answer.name else ()
        wrote_now = tuple(sorted(wrote.items()))
        return self.woken(with_(s, wrote=wrote_now, vid=answer.name or s.vid, also=also, ended=False))

    def woken(self, s: S) -> S:
        """What rests is forgotten once nothing of it can stand there."""
        stand = writers(s) if self.stand else set()
        return with_(s, copies=tuple(x for x in s.copies if x.state != "rest" or x.i in stand))

    # ---- what must hold
    def safe(self, s: S) -> tuple[Finding, ...]:
        return s.bad

    def final(self, s: S) -> list[Finding]:
        living = [e for i, e in enumerate(s.log) if e in "ab" and not dead(s, i)]
        want, bad = living[-1] if living else None, []
        for name, status, ours in s.there:
            if ours and name != want:
                if want or gone_for_good(s, name):
                    bad.append(("V", f"{name} is still there"))
                elif status != "unsub":
                    bad.append(("U", f"{name} is still subscribed"))
        if want and (want, "sub", True) not in s.there:
            bad.append(("5s", f"{want} is not subscribed"))
        return bad


# ---- the log
def fields(s: S, i: int) -> tuple[str, ...]:
    """What a delivery writes."""
    return ("name",) if s.log[i] == "n" else ("email",)


def reaches(s: S, lapse: int, i: int) -> bool:
    """Whether a lapse is about a delivery."""
    return i < lapse and (s.log[lapse] != "K" or i == 0)


def dead(s: S, i: int) -> bool:
    """Whether a delivery never opens again."""
    return any(e in LAPSES and reaches(s, n, i) for n, e in enumerate(s.log))


def gone_for_good(s: S, name: str) -> bool:
    """Whether the last delivery of this address was erased or recalled, not only withdrawn."""
    last = s.log.rindex(name)
    return any(e in "ERK" and reaches(s, n, last) for n, e in enumerate(s.log))


# ---- the rows
def settling(s: S) -> bool:
    """Whether something is to end: a lapse waits, or an object nobody holds is there."""
    return bool(s.endings) or (s.touched and not s.copies)


def writers(s: S) -> set[int]:
    """The deliveries that may have written what stands there."""
    return {i for _, by in s.wrote for i in by}


def newer(s: S, field: str, i: int) -> bool:
    """Whether what stands in a field comes from later deliveries that are all held (rule 7)."""
    by, held = dict(s.wrote).get(field, ()), {x.i for x in s.copies if x.state == "held"}
    return bool(by) and held.issuperset(by) and min(by) > i


def opened_late(s: S) -> tuple[S, list[Copy], list[Copy]]:
    """The rows, the copies asked for, and the opened; what never opens again goes, if it wrote nothing."""
    asked = [x for x in s.copies if x.state == "held" and (settling(s) or x.owed)]
    never = [x for x in asked if dead(s, x.i) and s.hidden != x.i]
    keep = [x for x in never if x.maybe or x.i in writers(s)]
    drop = [x for x in never if x not in keep]
    left = tuple(x._replace(owed=False) if x in keep else x for x in s.copies if x not in drop)
    asked = [x for x in asked if x not in drop]
    return with_(s, copies=left), asked, [x for x in asked if s.hidden != x.i and x not in never]


def refused(s: S, at: Attempt) -> S:
    """The vendor wants none of it: what could be opened is owed no more, and goes if it never wrote."""
    hit = set(at.carried) - set(at.waits)
    stay = [x for x in s.copies if x.i not in hit or x.maybe or x.i in writers(s)]
    return with_(s, copies=tuple(x._replace(owed=False) if x.i in hit else x for x in stay))


def told(s: S, lapses: list[int], outcome: str) -> S:
    """Lapses are answered; R is broken if that is not true."""
    lies = [
        n
        for n in lapses
        if outcome != "overwritten" and any(ours and stands(s, n, name) for name, _, ours in s.there)
    ]
    bad = [("R", f"{s.log[n]} is told {outcome}, and the address is there") for n in lies]
    return with_(s, bad=tuple(sorted({*s.bad, *bad})))


def stands(s: S, lapse: int, name: str) -> bool:
    """Whether a lapse reaches a delivery of this address, and no copy beyond its reach justifies it."""
    ended = any(s.log[i] == name and reaches(s, lapse, i) for i in range(lapse))
    return ended and not any(s.log[x.i] == name and not reaches(s, lapse, x.i) for x in s.copies)


CONFIGS = [
    ("an address changes, is withdrawn, erased", Ends(), set()),
    ("two answers lost, recalled", Ends(logs=("aWE", "aWR"), faults=2), set()),
    ("consent again, also with another address", Ends(logs=("aWa", "aWb")), set()),
    ("and that is withdrawn or erased", Ends(logs=("aWaW", "aWbE")), set()),
    ("an address changed forth and back", Ends(logs=("abaE",)), set()),
    ("consent again after two addresses", Ends(logs=("abWa", "abWb"), there=True), set()),
    ("one is hidden, one has no address", Ends(logs=("anE", "aWnE", "aWnK"), hide=1), set()),
    ("as 0.1: what was overwritten is forgotten", Ends(rest=False), {"V"}),
    ("as 0.1: an ending grant is out of reach", Ends(over=False), {"R", "V"}),
    ("as 0.1: the name comes with the answer", Ends(names=False), {"V"}),
    ("as 0.1: only the strongest cause is said", Ends(causes=False, logs=("aWR",)), {"V"}),
    ("bug: nobody says whose end it was", Ends(again=False, logs=("aWa",)), {"5s"}),
    ("bug: never written if no answer came", Ends(written=False), {"N"}),
    ("bug: half an end is none", Ends(part=False, logs=("abWa",), there=True), {"5s"}),
    ("bug: any answer settles the names", Ends(named=False, logs=("anE",), hide=1), {"V"}),
    ("bug: an answer answers every lapse taken over", Ends(knew=False), {"R"}),
    ("bug: any write wakes what rests", Ends(stand=False, logs=("aWnK",)), {"R", "V"}),
]
