"""The vectors of docs/wire.md, made by following that page and nothing of the product.

`python -m tests.unit.vault.vectors` writes docs/wire-vectors.json; a test compares the file, this page and
the product. Bytes are hex, integers and texts are themselves.
"""

import hmac
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

FILE = Path(__file__).resolve().parents[3] / "docs" / "wire-vectors.json"

Vector = dict[str, Any]


def octets(seed: str, n: int) -> bytes:
    """Bytes that look random and are the same everywhere: SHA-256 of the seed, again and again."""
    out, block = b"", seed.encode()
    while len(out) < n:
        block = sha256(block).digest()
        out += block
    return out[:n]


def mac(key: bytes, text: bytes) -> bytes:
    """HMAC-SHA256."""
    return hmac.new(key, text, sha256).digest()


def expand(key: bytes, info: bytes) -> bytes:
    """HKDF-Expand to 32 bytes."""
    return mac(key, info + b"\x01")


def text(value: str) -> bytes:
    """`str(x)` of the page."""
    raw = value.encode()
    return len(raw).to_bytes(2, "big") + raw


def u(n: int, size: int) -> bytes:
    """An unsigned integer."""
    return n.to_bytes(size, "big")


def i64(n: int) -> bytes:
    """A signed integer."""
    return n.to_bytes(8, "big", signed=True)


BUCKET_KEY, SUBJECT_KEY = octets("bucket key", 32), octets("subject key", 32)
K = expand(mac(BUCKET_KEY, SUBJECT_KEY), b"lapse/v1/k")
RECORD_ID, DELIVERY_ID, EVENT_ID = octets("record", 16), octets("delivery", 16), octets("event", 16)
NONCE, CONTENT_KEY = octets("nonce", 12), octets("content key", 32)
SUBJECT, GENERATION, PERIOD, TERMS = 1_795_368_724_594_852, 3, 19_675, 1
POLICY, REVISION, PROCESSOR, CATEGORY = 7, 1, "crm", "user.contact.email"


def hexed(inputs: dict[str, Any]) -> dict[str, Any]:
    """Inputs as they stand in the file."""
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in inputs.items()}


def vector(of: str, out: bytes, **inputs: Any) -> Vector:
    """One entry of the file."""
    return {"of": of, "inputs": hexed(inputs), "out": out.hex()}


def sealed(key: bytes, clear: bytes, aad: bytes) -> bytes:
    """The sealed layout, with the vectors' nonce."""
    return mac(key, b"lapse/v1/commit" + NONCE)[:16] + NONCE + AESGCM(key).encrypt(NONCE, clear, aad)


def handle(name: bytes) -> bytes:
    """One block."""
    clear = u(SUBJECT, 8) + u(GENERATION, 4) + bytes(4)
    block = bytes(a ^ b for a, b in zip(clear, name, strict=True))
    key = expand(BUCKET_KEY, b"lapse/v1/handle")
    return Cipher(algorithms.AES256(key), modes.ECB()).encryptor().update(block)  # noqa: S305


def keys() -> list[Vector]:
    """Derived and wrapped keys."""
    root = expand(K, b"deliver:" + PROCESSOR.encode())
    place = DELIVERY_ID + u(REVISION, 4) + u(0, 2) + CATEGORY.encode()
    kek = expand(root, b"lapse/v1/wrap" + place)
    record_kek = expand(K, b"lapse/v1/wrap")
    content = expand(K, b"lapse/v1/content" + RECORD_ID + u(REVISION, 4) + u(2, 2))
    named = {"delivery_id": DELIVERY_ID, "revision": REVISION, "n": 0, "category": CATEGORY}
    return [
        vector("K", K, bucket_key=BUCKET_KEY, subject_key=SUBJECT_KEY),
        vector("record_kek", record_kek, k=K),
        vector("record_wrap", aes_key_wrap(record_kek, CONTENT_KEY), kek=record_kek, content_key=CONTENT_KEY),
        vector("record_content_key", content, k=K, record_id=RECORD_ID, revision=REVISION, n=2),
        vector("delivery_root", root, k=K, processor=PROCESSOR),
        vector("delivery_kek", kek, root=root, **named),
        vector("delivery_wrap", aes_key_wrap(kek, CONTENT_KEY), kek=kek, content_key=CONTENT_KEY),
        vector(
            "quarantine_key",
            expand(BUCKET_KEY, b"lapse/v1/quarantine" + RECORD_ID),
            bucket_key=BUCKET_KEY,
            record_id=RECORD_ID,
        ),
        vector("handle_key", expand(BUCKET_KEY, b"lapse/v1/handle"), bucket_key=BUCKET_KEY),
    ]


def names() -> list[Vector]:
    """Ids, pseudonyms, slots, handles, periods."""
    secret = octets("a secret", 32)

    def name(label: bytes, rest: bytes) -> bytes:
        return mac(secret, label + rest)[:16]

    site = text("www") + text("form") + EVENT_ID
    tag = u(SUBJECT, 8) + u(GENERATION, 4) + text("newsletter")
    about = {"key": secret, "subject": SUBJECT}
    of_handle = {"bucket_key": BUCKET_KEY, "subject": SUBJECT, "generation": GENERATION}
    return [
        vector(
            "record_id",
            name(b"lapse/v1/record-id", site),
            key=secret,
            site="www",
            kind="form",
            event_id=EVENT_ID,
        ),
        vector("delivery_id", name(b"lapse/v1/delivery-id", RECORD_ID), key=secret, record_id=RECORD_ID),
        vector("subject_ref", name(b"lapse/v1/subject-ref", u(SUBJECT, 8)), **about),
        vector(
            "lifecycle_tag",
            name(b"lapse/v1/lifecycle", tag),
            purpose="newsletter",
            generation=GENERATION,
            **about,
        ),
        vector(
            "alias_hash",
            name(b"lapse/v1/alias", text("email") + text("jos\u00e9@example.org")),
            key=secret,
            kind="email",
            value="jos\u00e9@example.org",
        ),
        vector("slot", mac(secret, b"lapse/v1/slot" + u(SUBJECT, 8))[:1], **about),
        vector("handle", handle(RECORD_ID), name=RECORD_ID, **of_handle),
        vector("handle", handle(DELIVERY_ID), name=DELIVERY_ID, **of_handle),
        vector(
            "period",
            i64(1_700_000_000_000_000 // 86_400_000_000),
            at=1_700_000_000_000_000,
            width=86_400_000_000,
        ),
        vector("period", i64(-1), at=-1, width=1_000_000),
    ]


def bodies() -> list[Vector]:
    """AAD, commitment and sealed bytes of records, deliveries and quarantine."""
    # msgpack: an array of three; a text of ten bytes, nil, an unsigned 64-bit integer. Then the padding.
    array = b"\x93" + b"\xaa" + b"ada@x.test" + b"\xc0" + b"\xcf" + u(1_700_000_000_000_000, 8)
    clear_record = b"\xc1" + array + b"\x80" + bytes(64 - len(array) - 2)
    clear_delivery = b'{"email":"ada@x.test"}' + b" " * (64 - 22)
    link = u(4, 2) + i64(PERIOD) + u(TERMS, 4) + handle(RECORD_ID)
    record = b"lapse/v1/record" + RECORD_ID + u(REVISION, 4) + text("form/demo") + u(POLICY, 4) + u(0, 2)
    record += u(2, 2) + u(1, 2) + u(5, 2) + u(1, 2) + link
    grant = text("newsletter") + i64(PERIOD) + u(TERMS, 4) + handle(DELIVERY_ID)
    grant += u(SUBJECT + 9, 8) + i64(1_800_000_000_000_000)
    delivery = b"lapse/v1/delivery" + DELIVERY_ID + u(REVISION, 4) + text("form/demo") + u(0, 2)
    delivery += u(1, 2) + text(CATEGORY) + u(1, 2) + grant
    quarantine = b"lapse/v1/quarantine" + RECORD_ID + text("intake.form") + i64(1_700_000_000_000_000)
    quarantine += i64(PERIOD) + u(TERMS, 4)
    place = {"period": PERIOD, "terms": TERMS}
    of_record = {
        "record_id": RECORD_ID,
        "revision": REVISION,
        "source": "form/demo",
        "policy": POLICY,
        "n": 0,
    }
    of_record |= {"categories": [1, 5], "purpose": 4, "handle": handle(RECORD_ID), **place}
    of_delivery = {"delivery_id": DELIVERY_ID, "revision": REVISION, "source": "form/demo", "n": 0}
    of_delivery |= {"category": CATEGORY, "purpose": "newsletter", "handle": handle(DELIVERY_ID), **place}
    of_delivery |= {"decided": SUBJECT + 9, "use_until": 1_800_000_000_000_000}
    of_raw = {"record_id": RECORD_ID, "topic": "intake.form", "received_at": 1_700_000_000_000_000, **place}
    with_key = {"content_key": CONTENT_KEY, "nonce": NONCE}
    quarantine_key = expand(BUCKET_KEY, b"lapse/v1/quarantine" + RECORD_ID)
    fields = ["ada@x.test", None, 1_700_000_000_000_000]
    return [
        vector("commitment", mac(CONTENT_KEY, b"lapse/v1/commit" + NONCE)[:16], **with_key),
        vector("record_fields", clear_record, values=fields),
        vector("record_aad", record, **of_record),
        vector(
            "sealed", sealed(CONTENT_KEY, clear_record, record), clear=clear_record, aad=record, **with_key
        ),
        vector("delivery_fields", clear_delivery, fields={"email": "ada@x.test"}),
        vector("delivery_aad", delivery, **of_delivery),
        vector(
            "sealed",
            sealed(CONTENT_KEY, clear_delivery, delivery),
            clear=clear_delivery,
            aad=delivery,
            **with_key,
        ),
        vector("quarantine_aad", quarantine, **of_raw),
        vector(
            "sealed",
            sealed(quarantine_key, b"\0garbage", quarantine),
            clear=b"\0garbage",
            aad=quarantine,
            content_key=quarantine_key,
            nonce=NONCE,
        ),
    ]


def vectors() -> list[Vector]:
    """All vectors, in the order of the page."""
    return keys() + names() + bodies()


def written() -> str:
    """The file as it must be."""
    return json.dumps(vectors(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(written(), encoding="utf-8")
