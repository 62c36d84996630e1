"""From text to a checked policy: read, shape, contradictions; everything wrong is said at once."""

import hashlib
import json

from pydantic import ValidationError

from schemas.policy import yamltext
from schemas.policy.checks import contradictions
from schemas.policy.faults import invalid, shape_faults
from schemas.policy.model import Policy


def load(text: str, *, where: str) -> Policy:
    """Return the policy written in this YAML text; BadInput lists everything wrong with it.

    `where` names the text in findings (a file name). Shapes are judged first; contradictions are looked for
    once every shape is right.
    """
    raw, lines = yamltext.read(text, where=where)
    context = {"sha256": hashlib.sha256(text.encode()).digest()}
    try:
        # Through JSON, because strict models take lists as tuples and text as words from there alone.
        policy = Policy.model_validate_json(json.dumps(raw), context=context)
    except ValidationError as error:
        faults = shape_faults(error, lines)
    else:
        faults = list(contradictions(policy))
        if not faults:
            return policy
    raise invalid(faults, lines, where=where)
