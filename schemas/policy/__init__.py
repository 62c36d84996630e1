"""The privacy policy: the model people write, `load` that checks it, and its plan for the hot path."""

from schemas.policy.compiling import compile_plan
from schemas.policy.loading import load
from schemas.policy.model import Policy

__all__ = ["Policy", "compile_plan", "load"]
