"""Confluent's framing: one zero byte, the schema id as four bytes big-endian, then the Avro body.

Every serializer that speaks to a Confluent-compatible registry writes it.
"""

from schemas.errors import BadInput, Rejected

MAGIC = 0
"""First byte of every framed value."""
HEADER = 5
"""Bytes before the Avro body."""
MAX_BYTES = 1_000_000
"""Longest framed value: Kafka's default batch is 1 MiB, and a larger one poisons an idempotent producer."""


def header(schema_id: int) -> bytes:
    """Return the five bytes before a body of this schema; BadInput for an id outside Java's int."""
    if not 0 <= schema_id < 2**31:
        raise BadInput("schema_unknown", "a schema id is a non-negative 32-bit number", "schema id")
    return bytes((MAGIC,)) + schema_id.to_bytes(4, "big")


def frame(schema_id: int, body: bytes) -> bytes:
    """Return the framed value."""
    return header(schema_id) + body


def unframe(data: bytes) -> tuple[int, bytes]:
    """Return schema id and body; Rejected `framing` for anything else, `too_large` over MAX_BYTES."""
    if len(data) > MAX_BYTES:
        raise Rejected("too_large", f"longer than {MAX_BYTES} bytes", "value")
    if len(data) < HEADER or data[0] != MAGIC or data[1] > 127:
        raise Rejected("framing", "no Confluent header", "value", "send 0, the schema id, then Avro")
    return int.from_bytes(data[1:HEADER], "big"), data[HEADER:]
