"""Ids as people write them on a command line."""

from schemas.errors import BadInput

ID_BYTES = 16


def read_id(text: str, called: str, where: str, do: str) -> bytes:
    """Return the 16 bytes of an id written in hexadecimal; `BadInput` where it is none."""
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != ID_BYTES:
        raise BadInput("bad_id", f"{called} is 32 hexadecimal digits", where, do)
    return raw
