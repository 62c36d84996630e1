"""What is wrong with a policy: faults, and how pydantic's errors become some."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, NamedTuple

from pydantic import ValidationError

from schemas.errors import BadInput, Finding
from schemas.policy.model import Policy
from schemas.policy.yamltext import Path
from schemas.policy_words import PATTERNS


class Fault(NamedTuple):
    """One thing wrong: the path of the value, why it cannot stand, and what would mend it."""

    path: Path
    why: str
    mend: str


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint at the known word that was probably meant, or at all of them if they are few."""
    words = list(known)
    close = get_close_matches(word, words, n=1, cutoff=0.6)
    if close:
        return f"did you mean `{close[0]}`?"
    if not words:
        return "there is none yet: define it first"
    if len(words) <= 12:
        return f"known are {', '.join(words)}"
    return "look it up, none is similar"


def invalid(faults: Iterable[Fault], lines: Mapping[Path, int], *, where: str) -> BadInput:
    """Return the error with a finding for every fault (at least one), in the order of the file."""
    placed = sorted(((_line(fault.path, lines), fault) for fault in faults), key=lambda pair: pair[0])
    findings = tuple(
        Finding(where=f"{where}:{line} {dotted(fault.path)}".rstrip(), what=fault.why, do=fault.mend)
        for line, fault in placed
    )
    first = findings[0]
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    return BadInput("bad_policy", first.what + more, first.where, first.do, findings)


def dotted(path: Path) -> str:
    """Return a path as people write it: `forms.request-demo.fields[2]`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def _line(path: Path, lines: Mapping[Path, int]) -> int:
    while path not in lines:
        path = path[:-1]
    return lines[path]


def shape_faults(error: ValidationError, lines: Mapping[Path, int]) -> list[Fault]:
    """Return what pydantic found, in words for the person who wrote the file."""
    return [_shape(found, lines) for found in error.errors(include_url=False)]


def _shape(found: Any, lines: Mapping[Path, int]) -> Fault:
    kind: str = found["type"]
    context: dict[str, Any] = found.get("ctx", {})
    path: Path = ()
    for step in found["loc"]:
        # Steps that are no keys of the file name a branch of a union, or say that a key itself is meant.
        if (*path, step) in lines or kind == "missing":
            path = (*path, step) if not str(step).startswith("#") else path
    last = str(path[-1]) if path else "the policy"
    if kind == "policy":
        return Fault(path, context["why"], context["mend"])
    if kind == "extra_forbidden":
        return Fault(path, f"`{last}` is not a key of a policy here", nearest(last, _keys()))
    if kind == "missing":
        return Fault(path, f"`{last}` is missing", "add it")
    if context.get("pattern") in PATTERNS:
        return Fault(path, "this name cannot be used", PATTERNS[context["pattern"]])
    why, mend = _WORDS.get(kind, ("this value does not fit", found["msg"]))
    return Fault(path, why.format(**context), mend.format(**context))


_WORDS = {
    "literal_error": ("this is none of the words taken here", "write one of {expected}"),
    "string_pattern_mismatch": ("this name cannot be used", "write it like {pattern}"),
    "string_type": ("this is not text", "write words, in quotes if YAML reads them as something else"),
    "int_type": ("this is not a whole number", "write a number without quotes or decimals"),
    "bool_type": ("this is neither true nor false", "write true or false"),
    "dict_type": ("this is not a mapping", "write `key: value` lines, indented"),
    "model_type": ("this is not a mapping", "write `key: value` lines, indented"),
    "tuple_type": ("this is not a list", "write [a, b] or lines that begin with `-`"),
    "too_short": ("this is empty", "name at least {min_length}"),
    "too_long": ("these are too many", "name at most {max_length}"),
    "string_too_short": ("this text is empty", "write something, or leave the key out"),
    "string_too_long": ("this text is too long", "keep it to {max_length} characters"),
    "greater_than_equal": ("this number is too small", "write {ge} or more"),
    "less_than_equal": ("this number is too large", "write {le} or less"),
}


@lru_cache(maxsize=1)
def _keys() -> tuple[str, ...]:
    schema = Policy.model_json_schema()
    parts = [schema, *schema["$defs"].values()]
    return tuple(sorted({key for part in parts for key in part.get("properties", ())}))
