"""How the processes of a data folder come to be: born in the nursery, or each started plainly."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from lapse.layout import Layout
from lapse.main import environment
from lapse.nursery import Nursery
from lapse.processes import RoleProcess
from lapse.settings import Settings
from lapse.supervisor import interpreter_environment


def nursery(layout: Layout, settings: Settings) -> Nursery | None:
    """Where roles are born; None where each is to be started plainly."""
    if not settings.nursery or sys.platform != "linux":
        return None
    return Nursery(layout=layout, environment=_variables())


def _variables() -> dict[str, str]:
    return interpreter_environment(environment(), Path(__file__).parents[1])


def by(layout: Layout, home: Nursery | None) -> Callable[[str], RoleProcess]:
    """What makes the process of a role's worker."""
    variables = _variables()

    def hire(name: str) -> RoleProcess:
        command = [sys.executable, "-m", "lapse.roles", name, str(layout.root)]
        return RoleProcess(role=name, command=command, environment=variables, layout=layout, nursery=home)

    return hire
