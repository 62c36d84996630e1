"""The embedded Kafka's jars: fetched once per user by Maven, then shared by every data folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import Unavailable

POM = Path(__file__).with_name("pom.xml")
COMPLETE = ".complete"
MINIMUM_JAVA = 17
DO_WITHOUT = "or set LAPSE_BOOTSTRAP=host:port to use any Kafka you have, or run `docker compose up`"


def kafka_version() -> str:
    """The version the pom names."""
    found = re.search(r"<kafka\.version>([^<]+)</kafka\.version>", POM.read_text("utf-8"))
    assert found, "pom.xml names no kafka.version"
    return found.group(1)


def default_libs(environ: Mapping[str, str]) -> Path:
    """`LAPSE_KAFKA_LIBS`, or `lapse/kafka-<version>` in the user's cache (XDG): one fetch serves all."""
    if given := environ.get("LAPSE_KAFKA_LIBS"):
        return Path(given)
    cache = environ.get("XDG_CACHE_HOME") or str(Path(environ.get("HOME") or "~").expanduser() / ".cache")
    return Path(cache) / "lapse" / f"kafka-{kafka_version()}"


def present(libs: Path) -> bool:
    """Whether `libs` holds a complete fetch."""
    return (libs / COMPLETE).exists()


def fetch(libs: Path, *, version: str | None = None, timeout: float = 600.0) -> Path:
    """Make sure `libs` holds the jars and return it; raises `Unavailable` where Maven is missing or fails.

    `version` is another Kafka than the pom's, for those who must know whether that one carries Lapse, too.

    Safe when two processes do it at once: the second waits for the first. An interrupted fetch leaves no
    marker and is done again.
    """
    if present(libs):
        return libs
    libs.parent.mkdir(parents=True, exist_ok=True)
    with _locked(libs.with_name(libs.name + ".lock")):
        if not present(libs):
            _copy_dependencies(libs, version or kafka_version(), timeout)
            (libs / COMPLETE).touch()
    return libs


def _copy_dependencies(libs: Path, version: str, timeout: float) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise Unavailable(
            code="unavailable",
            what="Kafka's jars are not on this machine and Maven, which fetches them, is missing",
            where=str(libs),
            do=f"install Maven (Debian: apt install maven), {DO_WITHOUT}",
        )
    command = [maven, "-q", "-B", "-f", str(POM), "dependency:copy-dependencies", "-DincludeScope=runtime"]
    try:
        done = subprocess.run(
            [*command, f"-DoutputDirectory={libs}", f"-Dkafka.version={version}"],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise _maven_failed(libs, f"no end after {timeout:.0f} s") from late
    if done.returncode != 0 or not any(libs.glob("kafka-server-*.jar")):
        raise _maven_failed(libs, (done.stdout + done.stderr).strip()[-600:])


def _maven_failed(libs: Path, why: str) -> Unavailable:
    return Unavailable(
        code="unavailable",
        what=f"Maven could not fetch Kafka's jars: {why}",
        where=str(libs),
        do=f"check Maven's access to its repository and try again, {DO_WITHOUT}",
    )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def find_java(environ: Mapping[str, str]) -> Path:
    """`LAPSE_JAVA`, `JAVA_HOME/bin/java` or `java` on PATH, 17 or newer; raises `Unavailable` otherwise."""
    home = environ.get("JAVA_HOME")
    candidates = [environ.get("LAPSE_JAVA"), f"{home}/bin/java" if home else None, shutil.which("java")]
    found = [path for path in candidates if path and shutil.which(path)]
    versions = {path: _java_major(path) for path in found}
    for path in found:
        if versions[path] >= MINIMUM_JAVA:
            return Path(path)
    raise Unavailable(
        code="unavailable",
        what=f"the embedded Kafka needs Java {MINIMUM_JAVA}+; found: {sorted(versions.values()) or 'none'}",
        where="LAPSE_JAVA, JAVA_HOME, PATH",
        do=f"install it (Debian: apt install openjdk-17-jre-headless), {DO_WITHOUT}",
    )


def _java_major(java: str) -> int:
    done = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False)
    found = re.search(r'version "(?:1\.)?(\d+)', done.stderr + done.stdout)
    return int(found.group(1)) if found else 0


def main() -> int:
    """Fetch the jars for `make setup` and write down their classes; 5 where Maven is unavailable."""
    libs = default_libs(os.environ)
    try:
        fetch(libs)
    except Unavailable as error:
        sys.stderr.write(f"{error}\n")
        return 5
    sys.stdout.write(f"      Kafka {kafka_version()}: {len(list(libs.glob('*.jar')))} jars in {libs}\n")
    sys.stdout.flush()
    _archive(libs)
    return 0


def _archive(libs: Path) -> None:
    """Let brokers start in half the time, where that can be had."""
    from lapse.broker import archive  # which starts brokers, as nobody else here does

    with contextlib.suppress(Unavailable, OSError):  # no Java yet, a folder that is not ours: no archive
        archive.make(libs, find_java(os.environ))


if __name__ == "__main__":
    raise SystemExit(main())
