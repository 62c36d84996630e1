"""M5, the other half: how an object ends at a vendor where its name is an address, and where some ends only overwrite (Mailchimp).
m5_vendor shows that one attempt at a time is enough; here every attempt is the only one, but its answer may be lost, refused as busy halfway, or die with its worker.
A log says what comes for one person: a and b are deliveries with that address, n is one without; W withdraws, E erases, R recalls everything, K recalls the first delivery alone.
V: what was erased or recalled stands nowhere, under no name. U: what was only withdrawn is unsubscribed. 5s: who lives is subscribed, under the last address.
R: an answer that says completed, absent or not applicable is true when it is given. N: nothing is ended that nobody asked to end."""
from typing import NamedTuple
from engine import with_

# rest: grants that were only overwritten stay in reach; written: so do those whose answer died with the worker; over: a later lapse takes over what an earlier one is still ending;
# names: every name is entered before the call; named: they are forgotten only by an answer that says the name; causes: the vendor hears every cause, not the strongest;
# again: a call says that the end before it was ours, which is entered before that end is called; part: an end that went halfway counts as one;
# knew: an answer answers only lapses that its call was about;
# stand: a grant rests until nothing of it can stand there any more, and is not woken by whatever is written next
FIXED = dict(rest=True, written=True, over=True, names=True, named=True, causes=True, again=True, part=True, knew=True, stand=True, logs=("abWE",), faults=1, crashes=1, hide=0, there=False)
CONFIGS = [("an address changes, is withdrawn, erased", {}, set()), ("two answers lost, recalled", dict(logs=("aWE", "aWR"), faults=2), set()),
           ("consent again, also with another address", dict(logs=("aWa", "aWb")), set()), ("and that is withdrawn or erased", dict(logs=("aWaW", "aWbE")), set()), ("an address changed forth and back", dict(logs=("abaE",)), set()),
           ("consent again after two addresses", dict(logs=("abWa", "abWb"), there=True), set()),
           ("one is hidden, one has no address", dict(logs=("anE", "aWnE", "aWnK"), hide=1), set()),
           ("as 0.1: what was overwritten is forgotten", dict(rest=False), {"V"}), ("as 0.1: an ending grant is out of reach", dict(over=False), {"R", "V"}),
           ("as 0.1: the name comes with the answer", dict(names=False), {"V"}), ("as 0.1: only the strongest cause is said", dict(causes=False, logs=("aWR",)), {"V"}),
           ("bug: nobody says whose end it was", dict(again=False, logs=("aWa",)), {"5s"}), ("bug: never written if no answer came", dict(written=False), {"N"}),
           ("bug: half an end is none", dict(part=False, logs=("abWa",), there=True), {"5s"}), ("bug: any answer settles the names", dict(named=False, logs=("anE",), hide=1), {"V"}),
           ("bug: an answer answers every lapse taken over", dict(knew=False), {"R"}),
           ("bug: any write wakes what rests", dict(stand=False, logs=("aWnK",)), {"R", "V"})]

class Copy(NamedTuple):
    i: int; owed: bool = True; maybe: bool = False; state: str = "held"; lapse: int = -1     # i: where it stands in the log; lapse: that ends it, or by which it rests

class Call(NamedTuple):
    vid: str; also: tuple; causes: frozenset = frozenset(); set: tuple = (); blank: tuple = (); again: bool = False; erase: bool = False

class Try(NamedTuple):
    call: Call; before: tuple; also: tuple; ended: bool; touched: bool; carried: tuple; waits: tuple; ending: tuple; lapses: tuple; answer: tuple = ()     # as processors/calls.py: Attempt

class S(NamedTuple):
    log: str = ""; read: int = 0; copies: tuple = (); wrote: tuple = (); vid: str = ""; also: tuple = (); ended: bool = False; touched: bool = False; endings: tuple = ()
    at: tuple = (); there: tuple = (); faults: int = 0; crashes: int = 0; hide: int = 0; hidden: int = -1; bad: tuple = ()     # there: ((name, status, whether we ever wrote it))

class Cut(Exception):
    """The answer to one request: lost, or busy (then it did nothing)."""

def fields(s, i):
    return ("name",) if s.log[i] == "n" else ("email",)

def reaches(s, lapse, i):
    return i < lapse and (s.log[lapse] != "K" or i == 0)

def dead(s, i):
    return any(c in "WERK" and reaches(s, n, i) for n, c in enumerate(s.log))

def make(c):
    # ---- the vendor: one call is a few requests (processors/mailchimp.py)
    def run(s, call, cut):
        v, k, wrote = {n: (st, ours) for n, st, ours in s.there}, 0, False
        def ask(act=None):
            nonlocal k, wrote
            k += 1
            if cut and cut[0] == k and cut[1] != "done":
                raise Cut(cut[1])
            if act:
                act()
                wrote = True
            if cut and cut[0] == k:
                raise Cut("lost")
        def end(names, delete):
            out = set()
            for n in names:
                ask((lambda n=n: v.pop(n) if delete else v.update({n: ("unsub", True)})) if n in v else None)
                out.add(("completed" if delete else "overwritten") if n in out or n in before else "absent")
            return "overwritten" if "overwritten" in out else "completed" if "completed" in out else "absent"
        def put(target):
            taken, status, left = [], call.again and "sub", None
            for n in names:
                if n != target and left is None:
                    if n in v and target in v:
                        ask()
                        taken.append(n)
                    elif n in v:
                        ask(lambda n=n: v.update({target: ("sub" if call.again else v.pop(n)[0], True)}) or v.pop(n, None))
                        left = [m for m in names if m not in (n, target)]
                    else:
                        ask()
            if left is None:
                if not call.vid or call.again:
                    ask()
                    if v.get(target, ("sub",))[0] == "unsub" and not call.again:
                        return ("refused", "", "")
                ask(lambda: v.update({target: (status or v.get(target, ("sub",))[0], True)}))
                left = taken
            before.update(v)
            end(left, True)
            return ("done", "delivered", target)
        names, before = [n for n in dict.fromkeys((call.vid, *call.also)) if n], dict(v)
        try:
            if call.erase:
                answer = ("done", end(names, bool(call.causes & set("ERK"))), "")
            elif "email" in dict(call.set):
                answer = put(s.log[dict(call.set)["email"]])
            elif "email" in call.blank:
                end(names, True)
                answer = ("done", "delivered", "")
            else:
                answer = ("refused", "", "")
                for n in names:
                    ask((lambda n=n: v.update({n: (v[n][0], True)})) if n in v else None)
                    if n in v:
                        answer = ("done", "delivered", "")
                        break
        except Cut as how:
            answer = ("retry", "landed" if str(how) == "lost" or (wrote and (c["part"] or not call.erase)) else "nothing", "")
        return tuple(sorted((n, st, ours) for n, (st, ours) in v.items())), answer, k
    # ---- the connector
    def holds(s, i):
        return any(x.i == i and x.state == "held" for x in s.copies)
    def settling(s):
        return bool(s.endings) or (s.touched and not s.copies)
    def works(s):
        return settling(s) or any(x.owed and x.state == "held" for x in s.copies)
    def tell(s, lapses, outcome):
        def lie(n):
            return any(ours and any(s.log[i] == name and reaches(s, n, i) for i in range(n)) and not any(s.log[x.i] == name and not reaches(s, n, x.i) for x in s.copies)
                       for name, _, ours in s.there)
        bad = [("R", f"{s.log[n]} is told {outcome}, and the address is there") for n in lapses if outcome != "overwritten" and lie(n)]
        return with_(s, bad=tuple(sorted({*s.bad, *bad})))
    def mark(s, n):
        free = {"held", "rest", "ending"} if c["over"] else {"held", "rest"}
        hit = [x for x in s.copies if x.state in free and x.lapse != n and reaches(s, n, x.i)]
        t = with_(s, copies=tuple(x._replace(state="ending", lapse=n) if x in hit else x for x in s.copies), read=n + 1)
        return with_(t, endings=(*t.endings, n)) if hit else tell(t, [n], "not applicable")
    def plan(s):
        wrote, living = dict(s.wrote), [x for x in s.copies if x.state == "held"]
        asked = [x for x in living if settling(s) or x.owed]
        never = [x for x in asked if dead(s, x.i) and s.hidden != x.i]
        keep = [x for x in never if x.maybe or any(x.i in w for w in wrote.values())]
        s = with_(s, copies=tuple(x._replace(owed=False) if x in keep else x for x in s.copies if x not in never or x in keep))
        living = [x for x in s.copies if x.state == "held"]
        asked, opened = [x for x in asked if x not in never or x in keep], [x for x in asked if s.hidden != x.i and x not in never]
        values = {f: x.i for x in opened for f in fields(s, x.i)}
        values = {f: i for f, i in values.items() if not (wrote.get(f) and all(holds(s, w) for w in wrote[f]) and min(wrote[f]) > i)}
        def rests(w):
            return c["stand"] and any(x.i == w and x.state == "rest" for x in s.copies)
        blank = tuple(f for f, w in sorted(wrote.items()) if settling(s) and f not in values and not all(holds(s, i) or rests(i) for i in w))
        causes = frozenset(s.log[n] for n in s.endings) if c["causes"] else frozenset(sorted((s.log[n] for n in s.endings), key="KRWE".index)[-1:])
        call = None
        if settling(s) and not living and s.touched:
            call = Call(vid=s.vid, also=s.also, causes=causes, erase=True)
            s = s if causes or not any(ours for _, _, ours in s.there) else with_(s, bad=tuple(sorted({*s.bad, ("N", "the vendor is to end what no lapse ends")})))
        elif values or blank or (settling(s) and s.touched):
            call = Call(vid=s.vid, also=s.also, set=tuple(sorted(values.items())), blank=blank, again=s.ended and c["again"])
        at = Try(call, s.wrote, s.also, s.ended, s.touched, tuple(x.i for x in asked), tuple(x.i for x in asked if s.hidden == x.i), tuple((x.i, x.lapse) for x in s.copies if x.state == "ending"), s.endings)
        if call is None:
            return finish(with_(s, at=at._replace(answer=("done", "not applicable", ""))))
        name = s.log[values["email"]] if "email" in values and c["names"] else s.vid
        wrote |= {f: tuple(sorted({*wrote.get(f, ()), i})) for f, i in values.items()}
        return with_(s, at=at, wrote=tuple(sorted(wrote.items())), also=s.also if name == s.vid else tuple(sorted({*s.also, name})), ended=s.ended or call.erase, touched=True)
    def woken(s):
        there = {w for _, ws in s.wrote for w in ws} if c["stand"] else ()
        return with_(s, copies=tuple(x for x in s.copies if x.state != "rest" or x.i in there))
    def finish(s):
        at, (kind, what, name), s = s.at, s.at.answer, with_(s, at=())
        if kind == "retry" and what == "landed":
            return with_(s, copies=tuple(x._replace(maybe=True) if x.i in at.carried else x for x in s.copies))
        if kind != "done":
            s = with_(s, wrote=at.before, also=at.also, ended=at.ended, touched=at.touched)
            if kind == "retry":
                return s
            wrote, hit = {w for _, ws in s.wrote for w in ws}, set(at.carried) - set(at.waits)
            return with_(s, copies=tuple(x._replace(owed=False) if x.i in hit else x for x in s.copies if x.i not in hit or x.maybe or x.i in wrote))
        rest = at.call is not None and at.call.erase and what == "overwritten" and c["rest"]
        wrote = {w for _, ws in s.wrote for w in ws} if c["written"] else ()
        gone = [x for x in s.copies if (x.i, x.lapse) in at.ending and x.state == "ending"]
        stay = [x for x in gone if rest and (not x.owed or x.maybe or x.i in wrote)]
        s = with_(s, copies=tuple(x._replace(owed=x.i in at.waits, maybe=False) if x.i in at.carried else x._replace(state="rest") if x in stay else x
                                  for x in s.copies if x not in gone or x in stay))
        if rest:
            s = s if c["stand"] else with_(s, wrote=())
        elif at.call is not None and at.call.erase:
            s = woken(with_(s, wrote=(), touched=False, vid="", also=(), ended=False))
        elif at.call is not None:
            now = {f: w for f, w in at.before if f not in at.call.blank} | {f: (i,) for f, i in at.call.set}
            s = woken(with_(s, wrote=tuple(sorted(now.items())), vid=name or s.vid, also=s.also if c["named"] and not name else (), ended=False))
        left = {x.lapse for x in s.copies if x.state == "ending"} | (set(s.endings) - set(at.lapses) if c["knew"] else set())
        return with_(tell(s, [n for n in s.endings if n not in left], what), endings=tuple(n for n in s.endings if n in left))
    def step(s):
        for e in sorted({log[len(s.log)] for log in c["logs"] if log.startswith(s.log) and len(log) > len(s.log)}):
            t = with_(s, log=s.log + e)
            if e in "abn" and s.read == len(s.log):
                yield f"delivery {e} comes", with_(t, read=t.read + 1, copies=(*s.copies, Copy(s.read)))
            elif e not in "abn":
                yield f"{e}: keys destroyed, lapse announced", t
        if s.read < len(s.log):
            yield f"{s.log[s.read]} is read", mark(s, s.read)
        if not s.at and works(s):
            yield "an attempt is planned", plan(s)
        if s.at and not s.at.answer:
            there, answer, n = run(s, s.at.call, None)
            yield f"{'erase' if s.at.call.erase else 'write'} {s.at.call}: {answer[1]}", with_(s, there=there, at=s.at._replace(answer=answer))
            for cut in [(k, how) for k in range(1, n + 1) for how in ("lost", "done", "busy") if s.faults]:
                there, answer, _ = run(s, s.at.call, cut)
                yield f"request {cut[0]} of {s.at.call}: {cut[1]}", with_(s, there=there, at=s.at._replace(answer=answer), faults=s.faults - 1)
            if s.crashes:
                yield "SIGKILL before the call", with_(s, at=(), crashes=s.crashes - 1)
        elif s.at:
            yield "the answer is entered", finish(s)
            if s.crashes:
                yield "SIGKILL before the answer is entered", with_(s, at=(), crashes=s.crashes - 1)
        if s.hidden >= 0:
            yield "opens again", with_(s, hidden=-1)
        for x in s.copies if s.hide else ():
            yield f"delivery {x.i} is hidden for a while", with_(s, hidden=x.i, hide=s.hide - 1)
    def final(s):
        live, last, bad = [i for i, e in enumerate(s.log) if e in "abn" and not dead(s, i)], {e: i for i, e in enumerate(s.log) if e in "ab"}, []
        want = next((s.log[i] for i in reversed(live) if s.log[i] in "ab"), None)
        for name, status, ours in s.there:
            if ours and name != want and (want or any(e in "ERK" and reaches(s, n, last[name]) for n, e in enumerate(s.log))):
                bad.append(("V", f"{name} is still there"))
            elif ours and name != want and status != "unsub":
                bad.append(("U", f"{name} is still subscribed"))
        return bad + ([("5s", f"{want} is not subscribed")] if want and (want, "sub", True) not in s.there else [])
    there = (("b", "sub", False),) if c["there"] else ()
    return S(faults=c["faults"], crashes=c["crashes"], hide=c["hide"], there=there), step, lambda s: s.bad, final
