"""From text to a checked policy: read, shape, contradictions; everything wrong is said at once."""

import hashlib
import json

from schemas.policy import yamltext
from schemas.policy.model import Policy


def load(text: str, *, where: str) -> Policy:
    """Return the policy written in this YAML text; BadInput lists everything wrong with it.

    `where` names the text in findings (a file name). Shapes are judged first; contradictions are looked for
    once every shape is right.
    """
    raw, _ = yamltext.read(text, where=where)
    digest = hashlib.sha256(text.encode()).digest()
    return Policy.model_validate_json(json.dumps(raw), context={"sha256": digest})
