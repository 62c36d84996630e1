"""What docs/operating.md says about starting on a policy."""

from __future__ import annotations

from pathlib import Path

import pytest

from lapse.initialise import initialise, read_marker
from lapse.layout import Layout
from lapse.main import shipped_policy
from schemas.errors import Refused


def _start(root: Path, policy: Path) -> None:
    initialise(root, policy, test=True, clock="system", hosts=("127.0.0.1",))


def test_any_published_version_may_be_named_and_no_other_text(tmp_path: Path) -> None:
    """A restart with a published text goes on; one that was never published is refused."""
    root, first, second = tmp_path / "data", tmp_path / "1.yaml", tmp_path / "2.yaml"
    first.write_text(shipped_policy("demo").read_text())
    second.write_text(first.read_text().replace("version: 1\n", "version: 2\n", 1))
    _start(root, first)
    marker = read_marker(Layout(root))
    _start(root, first)
    with pytest.raises(Refused) as refused:
        _start(root, second)
    assert refused.value.code == "other_policy"
    Layout(root).policy(2).write_text(second.read_text())
    _start(root, second)
    assert read_marker(Layout(root)) == marker
