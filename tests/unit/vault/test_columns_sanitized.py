"""The extension built with AddressSanitizer and UBSan makes no false step with memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[3] / "vault" / "_columns.c"
INCLUDE = Path(sysconfig.get_paths()["include"])


def sanitizers() -> list[str]:
    """The sanitizers' libraries, loaded before Python; empty where there is no gcc that has them."""
    if shutil.which("gcc") is None or not (INCLUDE / "Python.h").exists():
        return []
    asked = [["gcc", f"-print-file-name={name}"] for name in ("libasan.so", "libubsan.so")]
    found = [
        subprocess.run(each, capture_output=True, text=True, check=True).stdout.strip() for each in asked
    ]
    return found if all(Path(each).is_absolute() for each in found) else []


@pytest.mark.servers
def test_no_row_of_any_call_reads_or_writes_beside_its_memory(tmp_path: Path) -> None:
    """Right and wrong columns of every size, allocated one by one so that each edge is watched."""
    libraries = sanitizers()
    if not libraries:
        pytest.skip("no gcc with sanitizers and Python's headers (Debian: apt install gcc python3-dev)")
    built = tmp_path / "_columns.so"
    build = ["gcc", "-O1", "-g", "-std=c11", "-fPIC", "-shared", "-fsanitize=address,undefined"]
    build += ["-fno-sanitize-recover=undefined", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter"]
    subprocess.run([*build, f"-I{INCLUDE}", str(SOURCE), "-o", str(built)], check=True, timeout=120)
    watched = {"LD_PRELOAD": " ".join(libraries), "PYTHONMALLOC": "malloc", "ASAN_OPTIONS": "detect_leaks=0"}
    walk = [sys.executable, "-m", "tests.unit.vault.columns_walk", str(built)]
    done = subprocess.run(
        walk,
        env=os.environ | watched,
        cwd=SOURCE.parents[1],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "same\n"), done.stderr[-3000:]
