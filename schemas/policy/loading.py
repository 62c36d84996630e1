"""From text to a checked policy: read, shape, contradictions; everything wrong is said at once."""

import hashlib
import json
from collections.abc import Callable, Iterable

from pydantic import ValidationError

from schemas.policy import yamltext
from schemas.policy.checks import contradictions
from schemas.policy.faults import Fault, invalid, shape_faults
from schemas.policy.model import Policy

Judge = Callable[[Policy], Iterable[Fault]]
"""Yields what is wrong with a policy for a reason that this package knows nothing of."""


def load(text: str, *, where: str, also: Judge = lambda _policy: ()) -> Policy:
    """Return the policy written in this YAML text; BadInput lists everything wrong with it.

    `where` names the text in findings (a file name). Shapes are judged first; contradictions, and what `also`
    finds, are looked for once every shape is right.
    """
    raw, lines = yamltext.read(text, where=where)
    context = {"sha256": hashlib.sha256(text.encode()).digest()}
    try:
        # Through JSON, because strict models take lists as tuples and text as words from there alone.
        policy = Policy.model_validate_json(json.dumps(raw), context=context)
    except ValidationError as error:
        faults = shape_faults(error, lines)
    else:
        faults = [*contradictions(policy), *also(policy)]
        if not faults:
            return policy
    raise invalid(faults, lines, where=where)
