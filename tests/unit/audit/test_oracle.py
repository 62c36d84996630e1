"""The oracle's word on revisions: nothing old is granted once something newer was decided."""

from __future__ import annotations

from lapse.audit.oracle import overtaken
from schemas.ids import Micros, RecordId, Slot
from schemas.models import Outcome, RecordDecided, Verdict, VerdictGrant

GRANTED = [Verdict(processor=0, grants=[VerdictGrant(link=0, categories=[1])], refusals=[])]


def entry(revision: int, at: int, *, grants: bool = True, outcome: Outcome = "routed") -> RecordDecided:
    """A decision about one record."""
    return RecordDecided(
        record_id=RecordId(bytes(16)),
        revision=revision,
        source="form/x",
        policy=1,
        control_offset=0,
        state=0,
        decided_at=Micros(at),
        outcome=outcome,
        slot=Slot(0),
        links=[],
        verdicts=GRANTED if grants else [],
    )


def test_an_old_revision_granted_after_a_newer_one_is_found() -> None:
    """In whatever order the entries lie; what was granted before, or is refused since, is right."""
    assert overtaken([entry(2, 5), entry(1, 3)]) == []
    assert overtaken([entry(1, 3), entry(2, 5), entry(1, 6, grants=False)]) == []
    assert overtaken([entry(2, 5), entry(1, 6)]) == ["revision 1 was granted after revision 2 was decided"]
    assert len(overtaken([entry(1, 9), entry(2, 5), entry(3, 7), entry(2, 8)])) == 3


def test_a_correction_that_was_turned_away_overtakes_nothing() -> None:
    """A discarded revision never was one."""
    assert overtaken([entry(2, 5, grants=False, outcome="discarded"), entry(1, 6)]) == []
