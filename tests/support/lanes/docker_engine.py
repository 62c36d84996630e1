"""A Docker engine for tests: started by them, in a network namespace of its own, and stopped again.

In its own namespace it has real bridges, names and published ports, and touches neither this machine's
firewall nor its ports. Nothing is ever pulled. Needs root and Debian's `docker.io`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.lanes.cache import cache, locked

PROGRAMS = ("docker", "dockerd", "containerd", "runc", "iptables", "ip", "unshare", "nsenter", "setpriv")
_START_SECONDS, _STOP_SECONDS = 30.0, 20.0


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A running engine: its socket, and the process whose network its containers' ports are published in."""

    socket: Path
    pid: int

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which every client finds this engine."""
        # The older builder: the newer one would look for its syntax image on the network.
        mine = {"DOCKER_HOST": f"unix://{self.socket}", "DOCKER_BUILDKIT": "0", "COMPOSE_HTTP_TIMEOUT": "300"}
        return {**os.environ, **mine}

    def inside(self, *command: str) -> list[str]:
        """A command line that runs in the engine's network."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", *command]

    def run(
        self, *command: str, seconds: float = 120.0, cwd: Path | None = None, ends: tuple[int, ...] = (0,)
    ) -> str:
        """Run a program against this engine and return what it printed; an AssertionError has its end."""
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=seconds,
            env=self.environment,
            cwd=cwd,
            check=False,
        )
        assert done.returncode in ends, f"{command[:4]}: {(done.stdout + done.stderr)[-3000:]}"
        return done.stdout


@contextmanager
def running_engine() -> Iterator[Engine]:
    """Start an engine whose images outlive it; the test is skipped, with the reason, where none can run."""
    if os.geteuid() != 0:
        pytest.skip("starting a Docker engine needs root")
    if missing := [program for program in PROGRAMS if shutil.which(program) is None]:
        pytest.skip(f"no {', '.join(missing)} (Debian: apt install docker.io iptables iproute2)")
    data = cache() / "docker"
    with locked(data), tempfile.TemporaryDirectory(prefix="lapse-docker-") as name:
        folder = Path(name)
        containerd = _spawn(folder, "containerd", *_containerd(data, folder))
        try:
            _until(folder / "containerd.sock", containerd, folder / "containerd.log")
            dockerd = _spawn(folder, "dockerd", *_dockerd(data, folder))
            try:
                yield _answering(dockerd, folder)
            finally:
                _end(dockerd)
                _unmount(folder)
        finally:
            _end(containerd)


def _containerd(data: Path, folder: Path) -> list[str]:
    where = ["--root", str(data / "containerd"), "--state", str(folder / "containerd")]
    return ["containerd", *where, "--address", str(folder / "containerd.sock"), "-l", "error"]


def _dockerd(data: Path, folder: Path) -> list[str]:
    places = ["--data-root", str(data / "engine"), "--exec-root", str(folder / "exec")]
    places += ["--pidfile", str(folder / "dockerd.pid"), "-H", f"unix://{folder / 'docker.sock'}"]
    arguments = ["--containerd", str(folder / "containerd.sock"), "--log-level", "error", *places]
    return ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec dockerd "$@"', "dockerd", *arguments]


def _spawn(folder: Path, name: str, *command: str) -> subprocess.Popen[bytes]:
    # Whoever ends the tests by force ends the engine with them.
    bound = ["setpriv", "--pdeathsig", "TERM", "--", *command]
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            bound, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )


def _until(socket: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not socket.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.skip(f"no Docker engine runs on this machine: {log.read_text()[-300:]}")
        time.sleep(0.05)


def _answering(process: subprocess.Popen[bytes], folder: Path) -> Engine:
    engine = Engine(socket=folder / "docker.sock", pid=process.pid)
    _until(engine.socket, process, folder / "dockerd.log")
    deadline = time.monotonic() + _START_SECONDS
    while True:
        done = subprocess.run(["docker", "info"], capture_output=True, env=engine.environment, check=False)
        if done.returncode == 0:
            return engine
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.skip(f"no Docker engine runs: {(folder / 'dockerd.log').read_text()[-300:]}")
        time.sleep(0.1)


def _unmount(folder: Path) -> None:
    """Let go of the namespaces of networks that the engine leaves mounted."""
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for place in reversed([place for place in mounted if place.startswith(f"{folder}/")]):
        subprocess.run(["umount", "--lazy", place], check=True, timeout=30)


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
