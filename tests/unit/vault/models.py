"""The checked models of docs/model, importable: the vault is walked in step with them."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "model"


def model(name: str) -> ModuleType:
    """Import one model; they import each other as plain scripts do."""
    if str(FOLDER) not in sys.path:
        sys.path.insert(0, str(FOLDER))
    return importlib.import_module(name)
