"""`python -m schemas.policy` writes `schemas/policy.schema.json` anew."""

from schemas.policy.jsonschema import FILE, text

FILE.write_text(text(), encoding="utf-8")
