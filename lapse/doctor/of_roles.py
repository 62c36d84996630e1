"""What the roles say of themselves, and whether their processes answer."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from lapse import crew
from lapse.doctor import judging
from lapse.doctor.finding import Finding, bad
from lapse.layout import ROLES, Layout, read_json
from lapse.main import Installation

ANSWER_SECONDS = 5.0


def roles(here: Installation) -> Iterator[Finding]:
    """Every role's word, and a request to its metrics port: a frozen process keeps its last word."""
    layout = here.layout
    if not layout.roles_file.exists():
        where, do = str(layout.root), f"start it: lapse up --data {layout.root}"
        yield bad("roles", "the system is not up", where=where, do=do)
        return
    wanted = [role for role in ROLES if role != "broker"]
    counts = crew.wished(layout)
    wanted += [crew.named(role, n) for role, count in counts.items() for n in range(2, count + 1)]
    with ThreadPoolExecutor(len(wanted)) as pool:
        yield from judging.roles(list(pool.map(lambda role: word_of(layout, role), wanted)))


def word_of(layout: Layout, role: str) -> judging.RoleWord:
    """Read one role's word and knock at its port."""
    path = layout.role_state(role)
    word = read_json(path) if path.exists() else {}
    return judging.RoleWord(
        role=role,
        ready=bool(word.get("ready")),
        waiting_for=word.get("waiting_for"),
        answers=page_of(str(word.get("metrics_url", ""))) is not None,
        log=str(layout.logs / f"{role}.log"),
    )


def page_of(url: str) -> str | None:
    """A role's metrics page; None where nobody answers."""
    if not url.startswith("http://127.0.0.1:"):
        return None
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=ANSWER_SECONDS) as answer:
            return str(answer.read().decode())
    except (OSError, ValueError):
        return None
