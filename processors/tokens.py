"""Bearer tokens of the key endpoint, and the secrets that sign what goes to a webhook.

A token is `lk_<processor>_<43 characters>`, kept only as a hash and compared in constant time.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

from schemas.errors import BadInput
from vault.port import Tx

SECRET_CHARS = 43
"""256 random bits in base64url."""
PREFIX = "lk_"
_NOBODY = bytes(32)


def processor_of(token: str) -> str | None:
    """Return the processor a token says it is of, None where it is not of a token's form."""
    name, mark, secret = (
        token[: -SECRET_CHARS - 1],
        token[-SECRET_CHARS - 1 : -SECRET_CHARS],
        token[-SECRET_CHARS:],
    )
    sound = name.startswith(PREFIX) and len(name) > len(PREFIX) and mark == "_" and secret.isascii()
    return name[len(PREFIX) :] if sound else None


def make_secret() -> str:
    """Return a new Standard Webhooks secret: `whsec_` and 32 random bytes in base64."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def register_token(tx: Tx, processor: str, token: str) -> None:
    """Make this the one token of a processor: an earlier one ends with the transaction."""
    if processor_of(token) != processor:
        raise BadInput(
            "bad_argument", "not a token of this processor", "token", "use lk_<processor>_<43 characters>"
        )
    tx.put_meta(_key(processor), _hash(token))


def revoke_token(tx: Tx, processor: str) -> None:
    """End the processor's token."""
    tx.put_meta(_key(processor), None)


def authenticate(tx: Tx, token: str) -> str | None:
    """Return the processor whose token this is, None where it is nobody's; as slow for either."""
    claimed = processor_of(token)
    kept = tx.meta(_key(claimed or "")) or _NOBODY
    return claimed if hmac.compare_digest(kept, _hash(token)) else None


def _key(processor: str) -> str:
    return f"token/{processor}"


def _hash(token: str) -> bytes:
    # A plain hash is enough for 256 random bits: there is nothing to guess that stretching would slow down.
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
