"""Modules that load when a verb first uses them: `lapse --help` needs no Kafka client and no web server."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType


def lazily(*names: str) -> tuple[ModuleType, ...]:
    """Return the modules of these names, unloaded where nobody has loaded them yet.

    Type checkers are shown plain imports under TYPE_CHECKING beside the call.
    """
    return tuple(sys.modules.get(name) or _unloaded(name) for name in names)


def _unloaded(name: str) -> ModuleType:
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.loader is not None, f"{name} is a module of ours"
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    parent, _, own = name.rpartition(".")
    setattr(sys.modules[parent], own, module)
    spec.loader.exec_module(module)
    return module
