"""Which deliveries an object need not remember, so that who is seen a thousand times is not kept so often.

A delivery is *covered* by a later one of the same person that has written all its fields for certain, under
every purpose that still justifies them, and at least as long. Retention ends it first, and withdrawal or
erasure end both at once: its values will never be wanted again, and nothing of it stands at the recipient.
Only the end of the later delivery alone (a correction, which brings its own values) could have brought them
back.
"""

from __future__ import annotations

from msgspec.structs import replace

from processors.objects import Copy, Document, Part

MOST = 32
"""Deliveries kept on an object before covered ones are forgotten."""


def pruned(doc: Document, most: int = MOST) -> Document:
    """Return the document without its oldest covered deliveries, as far as it has more than `most`."""
    surplus = len(doc.copies) - most
    if surplus <= 0:
        return doc
    writers = {writer for several in doc.wrote.values() for writer in several}
    copies = sorted(doc.copies, key=lambda copy: copy.order)
    later = [copy for copy in copies if _certain(copy)]
    gone: set[bytes] = set()
    for copy in copies:
        if len(gone) == surplus:
            break
        free = copy.delivery_id not in writers and _certain(copy)
        if free and any(_covers(other, copy) for other in reversed(later) if other.delivery_id not in gone):
            gone.add(copy.delivery_id)
    return replace(doc, copies=tuple(c for c in doc.copies if c.delivery_id not in gone)) if gone else doc


def _certain(copy: Copy) -> bool:
    return not copy.owed and not copy.maybe and all(grant.state != "ending" for grant in copy.grants)


def _covers(later: Copy, earlier: Copy) -> bool:
    if later.order <= earlier.order or later.subject_ref != earlier.subject_ref:
        return False
    return all(
        any(_covers_part(later, mine, earlier, part) for mine in later.parts)
        for part in earlier.parts
        if earlier.holds(part)
    )


def _covers_part(later: Copy, mine: Part, earlier: Copy, part: Part) -> bool:
    if not set(part.fields) <= set(mine.fields):
        return False
    until = {g.purpose: g.use_until for g in (later.grants[n] for n in mine.grants) if g.state == "held"}
    wanted = [g for g in (earlier.grants[n] for n in part.grants) if g.state == "held"]
    return all(until.get(grant.purpose, -1) >= grant.use_until for grant in wanted)
