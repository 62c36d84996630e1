"""docs/wire.md, docs/wire-vectors.json and the product say the same."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from schemas.ids import DeliveryId, EventId, Handle, Micros, Period, RecordId, SubjectNumber, Terms
from schemas.ids import Sequence as Seq
from schemas.models import Grant, Link
from tests.unit.vault.vectors import FILE, written
from vault import columns, handles, keys, sealing

pytestmark = pytest.mark.usefixtures("sealed_by")

PAGE = (FILE.parent / "wire.md").read_text(encoding="utf-8")


def sealed(i: dict[str, Any]) -> bytes:
    """Seal with the nonce of the vector, and open again."""
    nonce, key, aad = (bytes.fromhex(i[name]) for name in ("nonce", "content_key", "aad"))
    made = sealing.seal(key, bytes.fromhex(i["clear"]), aad, lambda n: nonce[:n])
    assert sealing.unseal(key, made, aad) == bytes.fromhex(i["clear"])
    clear, do = [bytes.fromhex(i["clear"])], columns.used()
    assert do.seals(sealing.COMMIT_LABEL, [key], nonce, clear, [aad]) == [made]
    assert do.opens(sealing.COMMIT_LABEL, [key], [made], [aad]) == clear
    return made


def record_aad(i: dict[str, Any]) -> bytes:
    """The AAD of a record with one link."""
    link = Link(
        purpose=i["purpose"],
        period=Period(i["period"]),
        terms=Terms(i["terms"]),
        handle=Handle(bytes.fromhex(i["handle"])),
    )
    header = sealing.RecordHeader(
        RecordId(bytes.fromhex(i["record_id"])), i["revision"], i["source"], i["policy"], [link]
    )
    return sealing.record_aad(header, i["n"], i["categories"])


def delivery_aad(i: dict[str, Any]) -> bytes:
    """The AAD of a delivery with one grant."""
    grant = Grant(
        purpose=i["purpose"],
        period=Period(i["period"]),
        terms=Terms(i["terms"]),
        handle=Handle(bytes.fromhex(i["handle"])),
        decided=Seq(i["decided"]),
        use_until=Micros(i["use_until"]),
    )
    header = sealing.DeliveryHeader(
        DeliveryId(bytes.fromhex(i["delivery_id"])), i["revision"], i["source"], [grant]
    )
    return sealing.delivery_aad(header, i["n"], [i["category"]])


def made_handle(i: dict[str, Any]) -> bytes:
    """A handle, made and read back."""
    key = handles.handle_key(bytes.fromhex(i["bucket_key"]))
    name = bytes.fromhex(i["name"])
    who = (SubjectNumber(i["subject"]), i["generation"])
    (handle,) = handles.make_handles(key, [(*who, name)])
    assert handles.read_handles(key, [(handle, name)]) == [who]
    return handle


def raw(name: str) -> Callable[[dict[str, Any]], bytes]:
    """Read one input as bytes."""
    return lambda i: bytes.fromhex(i[name])


def wrapped(i: dict[str, Any]) -> bytes:
    """Wrap, and unwrap again."""
    kek, key = bytes.fromhex(i["kek"]), bytes.fromhex(i["content_key"])
    assert keys.unwrap(kek, keys.wrap(kek, key)) == key
    (made,) = columns.used().wraps([kek], key)
    assert made == keys.wrap(kek, key)
    assert columns.used().unwraps(kek, [made]) == [key]
    return made


def delivery_id(i: dict[str, Any]) -> bytes:
    """The name of a record towards a processor, alone and in a column."""
    key, record = raw("key")(i), RecordId(raw("record_id")(i))
    (made,) = handles.delivery_ids(key, [record])
    assert made == handles.delivery_id(key, record)
    return made


def subject_ref(i: dict[str, Any]) -> bytes:
    """The name of a person towards a processor, alone and in a column."""
    key, number = raw("key")(i), SubjectNumber(i["subject"])
    (made,) = handles.subject_refs(key, [number])
    assert made == handles.subject_ref(key, number)
    return made


DONE: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "K": lambda i: keys.derive_k(raw("bucket_key")(i), raw("subject_key")(i)),
    "record_kek": lambda i: keys.record_kek(raw("k")(i)),
    "record_wrap": wrapped,
    "record_content_key": lambda i: keys.record_content_key(
        raw("k")(i), raw("record_id")(i), i["revision"], i["n"]
    ),
    "delivery_root": lambda i: keys.delivery_root(raw("k")(i), i["processor"]),
    "delivery_kek": lambda i: keys.delivery_kek(
        raw("root")(i), raw("delivery_id")(i), i["revision"], i["n"], i["category"]
    ),
    "delivery_wrap": wrapped,
    "quarantine_key": lambda i: keys.quarantine_key(raw("bucket_key")(i), raw("record_id")(i)),
    "handle_key": lambda i: handles.handle_key(raw("bucket_key")(i)),
    "record_id": lambda i: handles.record_id(
        raw("key")(i), i["site"], i["kind"], EventId(raw("event_id")(i))
    ),
    "delivery_id": delivery_id,
    "subject_ref": subject_ref,
    "lifecycle_tag": lambda i: handles.lifecycle_tag(
        raw("key")(i), SubjectNumber(i["subject"]), i["purpose"], i["generation"]
    ),
    "alias_hash": lambda i: handles.alias_hash(raw("key")(i), i["kind"], i["value"]),
    "slot": lambda i: bytes([handles.slot_of(raw("key")(i), SubjectNumber(i["subject"]))]),
    "handle": made_handle,
    "period": lambda i: (i["at"] // i["width"]).to_bytes(8, "big", signed=True),
    "commitment": lambda i: sealing.seal(raw("content_key")(i), b"", b"", lambda n: raw("nonce")(i)[:n])[:16],
    "record_fields": lambda i: sealing.encode_fields(i["values"]),
    "delivery_fields": lambda i: sealing.encode_delivered(i["fields"]),
    "record_aad": record_aad,
    "delivery_aad": delivery_aad,
    "quarantine_aad": lambda i: sealing.quarantine_aad(
        RecordId(raw("record_id")(i)),
        i["topic"],
        Micros(i["received_at"]),
        Period(i["period"]),
        Terms(i["terms"]),
    ),
    "sealed": sealed,
}

VECTORS = json.loads(FILE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("number", range(len(VECTORS)))
def test_the_product_makes_every_vector(number: int) -> None:
    """What another language checks is what the product writes."""
    vector = VECTORS[number]
    assert DONE[vector["of"]](vector["inputs"]).hex() == vector["out"]


def test_the_file_is_what_the_page_makes() -> None:
    """The vectors are those an implementation of the page alone produces, and every kind has one."""
    assert FILE.read_text(encoding="utf-8") == written(), "run python -m tests.unit.vault.vectors"
    assert {v["of"] for v in VECTORS} == set(DONE)


def test_the_page_names_every_label_of_the_product() -> None:
    """No info string, label or domain exists that docs/wire.md does not state."""
    labels = [keys.INFO_K, keys.INFO_WRAP, keys.INFO_CONTENT, keys.INFO_HANDLE, keys.INFO_DELIVER]
    labels += [keys.INFO_QUARANTINE, b"lapse/v1/commit", b"lapse/v1/record", b"lapse/v1/delivery"]
    labels += [b"lapse/v1/record-id", b"lapse/v1/delivery-id", b"lapse/v1/subject-ref", b"lapse/v1/lifecycle"]
    labels += [b"lapse/v1/alias", b"lapse/v1/slot", b"lapse/v1/lapse-id"]
    assert not [label for label in labels if f'"{label.decode()}"' not in PAGE]
    assert "lapse-tick" in PAGE and "wire-vectors.json" in PAGE
