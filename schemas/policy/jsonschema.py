"""The JSON Schema of a policy's YAML, generated from the models."""

import json
from pathlib import Path

from schemas.policy.model import Policy

FILE = Path(__file__).parent.parent / "policy.schema.json"
"""Where the generated schema lies; a test keeps it current."""


def text() -> str:
    """Return the schema's file content."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "urn:lapse:policy:v1"}
    return json.dumps(schema | Policy.model_json_schema(), indent=1, ensure_ascii=False) + "\n"
