"""What a consumer's team is handed: where its topic is, who it is there, where keys are, and how to begin."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from typing import Any

from schemas import codec
from schemas.models import Depersonalized, RecordDelivered


@dataclass(frozen=True, slots=True, kw_only=True)
class Onboarding:
    """The facts for one processor; files hold the secrets, nothing here does."""

    processor: str
    bootstrap: str
    security: str
    mechanism: str | None
    topic: str
    group: str
    credentials_file: str
    key_endpoint: str
    ca_file: str
    run_file: str = "DATA/run.json"

    def as_json(self) -> dict[str, Any]:
        """Return the facts as one JSON object, with the schema ids to be met and a first command."""
        return asdict(self) | {
            "group_prefix": f"{self.group}.",
            "endpoints": {
                "keys": f"{self.key_endpoint}/v1/keys",
                "receipts": f"{self.key_endpoint}/v1/receipts",
                "openapi": f"{self.key_endpoint}/openapi.json",
                "schemas": f"{self.key_endpoint}/schemas/ids/{{id}}",
            },
            "schemas": {c.__name__: codec.schema_id(c) for c in (RecordDelivered, Depersonalized)},
            "how": list(HOW),
            "example": example(self),
        }


HOW = (
    "Read your topic with your own Kafka user and a group that starts with your group's name.",
    "Values are Confluent-framed Avro: a zero byte, four of schema id, the body. Null is a tick: skip it.",
    "RecordDelivered is sealed for you: compartments of fields, each with one wrapped key per purpose.",
    "Open at the moment of use: send the wraps to the key endpoint, at most 500 deliveries in a batch.",
    "A compartment's answer is a key and `use_until`, or `closed` and a code: do not use it, or not yet.",
    "Check the commitment, decrypt with AES-256-GCM (docs/wire.md), keep neither key nor clear text.",
    "Store what you keep by delivery_id, each field with its grants (purpose, period, terms, decided).",
    "Depersonalized takes grants back: those of its scope whose `decided` is smaller than its `reaches`.",
    "Remove a field once its last grant is gone, before `answer_by`, and tell POST /v1/receipts so.",
    "The same message may come twice: go by delivery_id, revision and lapse_id; the highest revision counts.",
)
"""Ten lines that a consumer's developer needs; docs/processing.md has the rest."""


def example(facts: Onboarding) -> str:
    """Return a command that prints what the processor holds."""
    words = ("python", "examples/python/consumer.py", facts.run_file, facts.processor, "10")
    return shlex.join(words)


def guide(facts: Onboarding) -> str:
    """Return the text to hand over."""
    login = f"{facts.security}, {facts.mechanism}" if facts.mechanism else facts.security
    ids = ", ".join(f"{name} {number}" for name, number in facts.as_json()["schemas"].items())
    rows = {
        "Kafka": f"{facts.bootstrap} ({login})",
        "topic": facts.topic,
        "group": f"{facts.group}, or {facts.group}.<anything>",
        "credentials": f"{facts.credentials_file} (JSON: username, password, token)",
        "keys": f"{facts.key_endpoint}/v1/keys, with `Authorization: Bearer <token>`",
        "receipts": f"{facts.key_endpoint}/v1/receipts",
        "authority": facts.ca_file,
        "schemas": f"{ids}; GET {facts.key_endpoint}/schemas/ids/<id>",
    }
    width = max(map(len, rows))
    lines = [f"Processor {facts.processor}", ""]
    lines += [f"  {name:<{width}}  {value}" for name, value in rows.items()]
    lines += ["", "How it works", ""]
    lines += [f"  {number:>2}. {line}" for number, line in enumerate(HOW, 1)]
    lines += ["", "Try it", "", f"  {example(facts)}", ""]
    return "\n".join(lines)
