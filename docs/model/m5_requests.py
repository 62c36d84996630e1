"""The vendor of M5's other half: one call is a few requests, as `processors/mailchimp.py` makes them.

A name is an address; the book says of each name its status, and whether we ever wrote it. One request of a
call may be cut: "lost", it never arrived; "done", it took effect and the answer was lost; "busy", it was
refused for now.
"""

from collections.abc import Callable
from typing import NamedTuple

Book = tuple[tuple[str, str, bool], ...]  # (name, "sub" or "unsub", whether we ever wrote it)


class Call(NamedTuple):
    """What is asked of the vendor in one attempt."""

    vid: str  # the name an answer said
    also: tuple[str, ...]  # names the object may have beside it
    causes: frozenset[str] = frozenset()
    set: tuple[tuple[str, int], ...] = ()  # (field, the delivery it comes from)
    blank: tuple[str, ...] = ()
    again: bool = False  # the end before this was ours
    erase: bool = False

    @property
    def names(self) -> list[str]:
        """Every name the object may have, the surest first."""
        return [name for name in dict.fromkeys((self.vid, *self.also)) if name]


class Answer(NamedTuple):
    """What an attempt comes to: done, refused or retry; with what; under which name."""

    kind: str
    what: str = ""
    name: str = ""


class Cut(Exception):
    """No answer to one request: lost, or busy (then it did nothing)."""


class Requests:
    """One call, request by request, at the vendor's book."""

    def __init__(self, book: Book, cut: tuple[int, str] | None) -> None:
        self.book = {name: (status, ours) for name, status, ours in book}
        self.cut = cut  # (which request, how)
        self.count = 0
        self.wrote = False

    def ask(self, act: Callable[[], object] | None = None) -> None:
        """One request, which may change something."""
        self.count += 1
        how = self.cut[1] if self.cut and self.cut[0] == self.count else ""
        if how in ("lost", "busy"):
            raise Cut(how)
        if act:
            act()
            self.wrote = True
        if how:
            raise Cut("lost")

    def after(self) -> Book:
        """The book as it stands."""
        return tuple(sorted((name, *entry) for name, entry in self.book.items()))

    def write(self, name: str, status: str) -> None:
        """An entry of ours under a name."""
        self.book[name] = (status, True)

    def status(self, name: str) -> str:
        """The status of a name; who is new is subscribed."""
        return self.book[name][0] if name in self.book else "sub"

    def rename(self, name: str, target: str, *, again: bool) -> None:
        """The entry goes to another name, where nobody is."""
        status, _ = self.book.pop(name)
        self.write(target, "sub" if again else status)

    # ---- the kinds of call
    def end(self, names: list[str], *, delete: bool) -> str:
        """Delete for good, or only unsubscribe; the outcome is what is true of all names."""
        outcomes = set()
        for name in names:
            if name not in self.book:
                self.ask()
                outcomes.add("absent")
            elif delete:
                self.ask(lambda name=name: self.book.pop(name))
                outcomes.add("completed")
            else:
                self.ask(lambda name=name: self.write(name, "unsub"))
                outcomes.add("overwritten")
        return next((o for o in ("overwritten", "completed") if o in outcomes), "absent")

    def put(self, call: Call, target: str) -> Answer:
        """Set the address: rename the entry if nobody has the target, else write there and delete others."""
        others = [name for name in call.names if name != target]
        spare = []
        for name in others:
            there = name in self.book
            if there and target not in self.book:
                self.ask(lambda name=name: self.rename(name, target, again=call.again))
                self.end([other for other in others if other != name], delete=True)
                return Answer("done", "delivered", target)
            self.ask()
            spare += [name] if there else []
        if not call.vid or call.again:
            self.ask()
            if self.status(target) == "unsub" and not call.again:
                return Answer("refused")
        self.ask(lambda: self.write(target, "sub" if call.again else self.status(target)))
        self.end(spare, delete=True)
        return Answer("done", "delivered", target)

    def touch(self, names: list[str]) -> Answer:
        """Other fields are set, under the first name that is there."""
        for name in names:
            if name in self.book:
                self.ask(lambda name=name: self.write(name, self.status(name)))
                return Answer("done", "delivered")
            self.ask()
        return Answer("refused")

    def make(self, call: Call, log: str) -> Answer:
        """The whole call; `log` says which address a delivery has."""
        fields = dict(call.set)
        if call.erase:
            return Answer("done", self.end(call.names, delete=bool(call.causes & set("ERK"))))
        if "email" in fields:
            return self.put(call, log[fields["email"]])
        if "email" in call.blank:
            self.end(call.names, delete=True)
            return Answer("done", "delivered")
        return self.touch(call.names)


def run(
    book: Book, call: Call, log: str, cut: tuple[int, str] | None, *, part: bool
) -> tuple[Book, Answer, int]:
    """Make a call: the book after it, the answer, how many requests it took.

    `part`: an end that went halfway counts as one, so whoever is busy after that may have ended something.
    """
    at = Requests(book, cut)
    try:
        answer = at.make(call, log)
    except Cut as how:
        landed = str(how) == "lost" or (at.wrote and (part or not call.erase))
        answer = Answer("retry", "landed" if landed else "nothing")
    return at.after(), answer, at.count
