"""The privacy policy: the model people write, `load` that checks it, its plan, and `diff`."""

from schemas.policy.changes import Change, Changes, diff
from schemas.policy.compiling import compile_plan
from schemas.policy.loading import load
from schemas.policy.model import Policy

__all__ = ["Change", "Changes", "Policy", "compile_plan", "diff", "load"]
