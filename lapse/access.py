"""Answering access and portability: ordered on `control`, found on the log, said on `decisions`, handed over.

The order of things is the point: the signed order stands on `control` before the log is read, and that fields
were opened stands on `decisions` before anybody sees them.
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from lapse import personal, records, requests, subjects
from lapse.access_document import Dossier, Kept, access, commitment, leaves, portable
from lapse.commands import person, publish
from lapse.main import Installation
from lapse.reading import scanning
from schemas.errors import Refused
from schemas.ids import RecordId
from schemas.models import FieldsRevealed, RecordDecided, Right
from schemas.plan import Plans, PolicyPlan
from schemas.policy import load
from streams.scan import Scan
from vault.checked import checks_of
from vault.port import Tx, Vault
from vault.values import SubjectState

ID_BYTES, SALT_BYTES = 16, 32


def export(
    here: Installation,
    who: str | None,
    *,
    portability: bool,
    reason: str,
    request: str | None,
    proven: str | None,
    timeout: float,
) -> dict[str, Any]:
    """Find, open and record everything held of a person; alike for somebody erased and somebody unknown.

    `Refused` where the identifier leads to several people, or to records of somebody named otherwise, and
    nobody showed that it is theirs; and where the policy does not name the right.
    """
    right: Right = "portability" if portability else "access"
    asked = requests.asked(here, who, right, request)
    alone(here, asked.hashes, proven)
    why = f"{reason}; possession shown by: {proven}" if proven else reason
    requests.decide(here, asked, right, who, why, timeout)
    dossier = gather(here.vault, here.plans, scanning(here), partial(_decided, here), right, asked)
    theirs(dossier, partial(subjects.named, here, asked.hashes), proven)
    revealed = entry(dossier, why)
    if revealed is not None:
        publish(here, "decisions", [revealed], role="govern")
    return portable(dossier) if portability else access(dossier)


def alone(here: Installation, hashes: Sequence[bytes], proven: str | None) -> None:
    """Refuse an identifier of several people, unless it was shown to be theirs who asks."""
    with here.vault.transaction(write=False) as tx:
        several = len(personal.whose(tx, hashes)) > 1
    if several and not proven:
        do = "name one that is theirs alone; or let them show that it is theirs, and say how: --proven HOW"
        raise Refused("shared", "the identifier leads to more than one person", "KIND:VALUE", do)


def theirs(dossier: Dossier, asks: Callable[[str, str], bool], proven: str | None) -> None:
    """Refuse records that name their person by no identifier that `asks` (kind, value), unless shown."""
    for record in () if proven else dossier.records:
        form = dossier.plans.version(record.policy).sources[record.source]
        if personal.names_another(record, form, asks):
            what = "a record names its person by another identifier than the one that was asked by"
            do = "ask by that one; or let them show that they are the same, and say how: --proven HOW"
            raise Refused("shared", what, record.record_id.hex(), do)


def gather(
    vault: Vault,
    plans: Plans,
    scan: Scan,
    decided: Callable[[Sequence[RecordId]], Mapping[RecordId, Sequence[RecordDecided]]],
    right: Right,
    asked: requests.Asked,
) -> Dossier:
    """Read everything the answer needs, at one moment of the vault and to the head of the log."""
    with vault.transaction(write=False) as tx:
        numbers, now = personal.whose(tx, asked.hashes), tx.now
        today = plans.today(now)
        people = list(tx.subjects(numbers).values())
        told = sorted({name for number in numbers for name in tx.told_of_subject(number)})
        kept = _kept(tx, plans, today, people)
        text = next(row.body for row in tx.policies() if row.version == today.version)
    found = list(personal.records_of(vault, plans, scan, numbers))
    return Dossier(
        right=right,
        request_id=asked.request_id,
        who=asked.who,
        now=now,
        plans=plans,
        policy=load(text, where="policy"),
        people=people,
        records=found,
        decided=decided([record.record_id for record in found]),
        told=told,
        kept=kept,
        salt=secrets.token_bytes(SALT_BYTES),
    )


def _decided(here: Installation, ids: Sequence[RecordId]) -> dict[RecordId, list[RecordDecided]]:
    """Every decision about these records, in log order."""
    found = records.decided(here, ids) if ids else {}
    return {record: [entry for _, entry in each.entries] for record, each in found.items()}


def _kept(tx: Tx, plans: Plans, today: PolicyPlan, people: Sequence[SubjectState]) -> list[Kept]:
    """What the vault itself keeps of them: the day of the last mail opened, and checks of their addresses."""
    purposes = {purpose.name: purpose for plan in (*plans, today) for purpose in plan.purposes}
    found = [
        Kept(what="result of an address check", purpose=purpose, value=verdict, by=by)
        for state in people
        for by, verdict, purpose in checks_of(tx, state, purposes)
    ]
    name = None if today.last_open is None else today.purposes[today.last_open].name
    for state in people:
        if state.last_open is not None and name is not None and state.purpose(name).key is not None:
            day = dt.datetime.fromtimestamp(state.last_open / 1_000_000, dt.UTC).date()
            found.append(Kept(what="day on which a mail was last opened", purpose=name, value=str(day)))
    return found


def entry(dossier: Dossier, reason: str) -> FieldsRevealed | None:
    """Return what `decisions` says of the opening before anybody sees it; None where nothing was opened.

    One entry for the whole answer: an entry per record would say for years which records are one person's.
    """
    named = leaves(dossier.records)
    if not named and not dossier.kept:
        return None
    purposes = {link.purpose for record in dossier.records for link in record.links if link.lives}
    return FieldsRevealed(
        reveal_id=secrets.token_bytes(ID_BYTES),
        record_id=RecordId(bytes(ID_BYTES)),
        revision=0,
        purposes=sorted(purposes | {kept.purpose for kept in dossier.kept}),
        reason=f"{dossier.right}: {reason}",
        revealed_by=person(),
        at=dossier.now,
        request_id=dossier.request_id,
        records=len(named),
        root=commitment(dossier.salt, named),
    )
