"""What a recipient is shown when it asks: a copy is made by our answer, not by a call.

The answer counts as a copy from the transaction that opens on, whether or not it arrives. Nothing is shown of
an object that is being taken back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

from msgspec.structs import replace

from processors.answers import Done
from processors.calls import Opened, Told, Write
from processors.finishing import finish
from processors.objects import Document
from processors.planning import plan

Compose = Callable[[Mapping[str, str]], bytes]
"""Makes the answer of the fields that may be shown (`recipient.Hears.answer`); none where nothing may."""


def asking(doc: Document) -> Document:
    """Return the document as it is when everything living is to be opened."""
    return replace(doc, copies=tuple(replace(c, owed=c.living) for c in doc.copies))


def resting(doc: Document) -> Document:
    """Return the document with nothing owed: whoever asks gets what is open then."""
    return replace(doc, copies=tuple(replace(c, owed=False) for c in doc.copies))


def shown(doc: Document, opened: Opened, compose: Compose) -> tuple[Document, bytes, tuple[Told, ...]]:
    """Return the document after showing what opened, the answer, and what to tell: each delivery once."""
    before = {writer for writers in doc.wrote.values() for writer in writers}
    # A delivery that a later one covers writes nothing, now or ever: its fields are known since it was told.
    known = {c.delivery_id for c in doc.copies if any(part.fields for part in c.parts)} | before
    entered, attempt, never = plan(asking(doc), opened)
    fields = attempt.call.set if isinstance(attempt.call, Write) else {}
    body = compose(fields)
    if not fields:
        return resting(entered), body, never
    done = Done(outcome="delivered", evidence=hashlib.sha256(body).digest())
    after, told = finish(entered, attempt, done)
    return (
        resting(after),
        body,
        (*never, *(t for t in told if t.about not in (before if t.outcome == "delivered" else known))),
    )
