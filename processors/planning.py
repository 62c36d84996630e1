"""What to ask of a recipient for one object, entered before it is asked (Protocol 6). Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from msgspec.structs import replace

from processors.calls import TEMPORARY, Attempt, Call, Erase, Opened, Told, Write
from processors.objects import Copy, Document, ending_grants, left, stays, strongest
from schemas.ids import Micros

_T = TypeVar("_T")


def wanted(doc: Document) -> tuple[Copy, ...]:
    """Return the copies that must be opened for the next call, each with held grants."""
    living = tuple(c for c in doc.copies if c.living)
    if doc.settling:
        return () if doc.one_by_one else living
    owed = tuple(c for c in living if c.owed)
    return owed[:1] if doc.one_by_one else owed


Named = Callable[[Mapping[str, str]], str | None]
"""Says under which name a recipient will have an object with these values (`recipient.Names`)."""


def nameless(_: Mapping[str, str]) -> None:
    """The recipient names its objects itself."""


def plan(
    doc: Document, opened: Opened, named: Named = nameless
) -> tuple[Document, Attempt, tuple[Told, ...]]:
    """Return the document to store before the call, the attempt, and deliveries that never open."""
    doc, never = _learn(doc, opened)
    bare = doc.settling and doc.one_by_one
    values = _values(doc, opened)
    blank = (
        tuple(n for n in sorted(doc.wrote) if n not in values and not left(doc, n)) if doc.settling else ()
    )
    living = tuple(c for c in doc.copies if c.living)
    call: Call | None = None
    if doc.settling and not living and doc.touched:
        call = Erase(
            key=doc.key,
            vendor_id=doc.vendor_id,
            version=doc.version,
            cause=strongest(e.cause for e in doc.endings),
            also=doc.also,
            causes=frozenset(e.cause for e in doc.endings),
        )
    elif values or blank or (doc.settling and doc.touched):
        call = Write(
            key=doc.key,
            vendor_id=doc.vendor_id,
            version=doc.version,
            set={name: value for name, (_, value) in values.items()},
            blank=blank,
            purposes=_purposes(living),
            also=doc.also,
            again=doc.ended,
        )
    writers = {name: copy.delivery_id for name, (copy, _) in values.items()}
    attempt = Attempt(
        call=call,
        version=doc.version,
        before=doc.wrote,
        also=doc.also,
        was_ended=doc.ended,
        touched=doc.touched,
        carried=frozenset((c.delivery_id, c.revision) for c in doc.copies if c.delivery_id in opened),
        waits=frozenset(c.delivery_id for c in living if bare or _waits(c, opened)),
        ended=ending_grants(doc),
        lapses=frozenset(e.lapse for e in doc.endings),
        writers=writers,
        settles=doc.settling,
        bare=bare,
    )
    if call is not None:
        entered = {name: _also(doc.wrote.get(name, ()), writer) for name, writer in writers.items()}
        name = named(call.set) if isinstance(call, Write) else None
        also = doc.also if name is None or name == doc.vendor_id else _also(doc.also, name)
        ended = doc.ended or isinstance(call, Erase)
        doc = replace(doc, wrote={**doc.wrote, **entered}, also=also, ended=ended, touched=True)
    return doc, attempt, never


def _learn(doc: Document, opened: Opened) -> tuple[Document, tuple[Told, ...]]:
    """Enter which fields compartments have; drop deliveries never written that will never open."""
    copies, never = [], []
    for copy in doc.copies:
        parts = opened.get(copy.delivery_id)
        if parts is None:
            copies.append(copy)
            continue
        known = tuple(
            replace(part, fields=tuple(seen)) if isinstance(seen, Mapping) else part
            for part, seen in zip(copy.parts, parts, strict=True)
        )
        learned = replace(copy, parts=known)
        if any(isinstance(seen, Mapping) for seen in parts) or _waits(copy, opened):
            copies.append(learned)
        elif copy.maybe or any(copy.delivery_id in writers for writers in doc.wrote.values()):
            copies.append(replace(learned, owed=False))  # its lapse is on the way and will take it back
        else:
            code = next((seen for seen in parts if isinstance(seen, str)), "unknown")
            never.append(Told(about=copy.delivery_id, outcome="not_opened", code=code))
    return replace(doc, copies=tuple(copies)), tuple(never)


def _waits(copy: Copy, opened: Opened) -> bool:
    parts = opened.get(copy.delivery_id, ())
    return any(
        isinstance(seen, str) and seen in TEMPORARY and copy.holds(part)
        for part, seen in zip(copy.parts, parts, strict=False)
    )


def _values(doc: Document, opened: Opened) -> dict[str, tuple[Copy, str]]:
    """Return per field the latest opened copy's value, unless a later delivery is known to stand there."""
    best: dict[str, tuple[Copy, str]] = {}
    for copy in sorted(doc.copies, key=lambda c: c.order):
        for part, seen in zip(copy.parts, opened.get(copy.delivery_id, ()), strict=False):
            if isinstance(seen, Mapping) and copy.holds(part):
                best.update({name: (copy, value) for name, value in seen.items()})
    order = {copy.delivery_id: copy.order for copy in doc.copies}

    def later_stands(name: str, copy: Copy) -> bool:
        writers = doc.wrote.get(name, ())
        return bool(writers) and stays(doc, name) and min(order[w] for w in writers) > copy.order

    return {name: (copy, value) for name, (copy, value) in best.items() if not later_stands(name, copy)}


def _purposes(living: tuple[Copy, ...]) -> tuple[tuple[str, Micros], ...]:
    until: dict[str, Micros] = {}
    for copy in living:
        for grant in copy.grants:
            if grant.state == "held":
                until[grant.purpose] = max(until.get(grant.purpose, Micros(0)), grant.use_until)
    return tuple(sorted(until.items()))


def _also(several: tuple[_T, ...], one: _T) -> tuple[_T, ...]:
    return several if one in several else (*several, one)
