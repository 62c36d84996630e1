"""Rectification in the vault (GDPR Art. 16, model m8): from one commit on, one revision of a record opens.

No key ends here, for all revisions hang on the same two. An older revision is closed by the rule that
everybody who opens asks for (`superseded`), under the record's own id and the one it has at each processor.
"""

from hashlib import sha256

from schemas.ids import RecordId
from vault.handles import delivery_id
from vault.herald import Herald, announce_rectification
from vault.port import Tx

AGAIN = bytes(16)
"""What is remembered in place of a correction's digest where a restored vault knows of it from `control`
alone: if intake still holds it, it is taken once more.
"""


def correction_id(record_id: RecordId, revision: int) -> RecordId:
    """Return under what a correction is remembered (`Tx.seen`), so that the same again is swallowed."""
    return RecordId(sha256(b"lapse/v1/correction" + record_id + revision.to_bytes(4, "big")).digest()[:16])


def rectify(tx: Tx, herald: Herald, record_id: RecordId, revision: int) -> None:
    """Let no revision below this one open any more, whoever has it, and owe `control` that it is so."""
    _supersede(tx, herald, record_id, revision)
    announce_rectification(tx, herald, record_id, revision)


def rectify_again(tx: Tx, herald: Herald, record_id: RecordId, revision: int) -> None:
    """Do it again in a restored vault, to which `control` has said it (Protocol 10)."""
    _supersede(tx, herald, record_id, revision)
    name = correction_id(record_id, revision)
    if not tx.seen([name]):
        tx.put_seen({name: AGAIN})


def _supersede(tx: Tx, herald: Herald, record_id: RecordId, revision: int) -> None:
    ids = [delivery_id(herald.secrets.processor(name), record_id) for name in sorted(herald.recipients)]
    tx.supersede(dict.fromkeys((record_id, *ids), revision))
