"""Two hosts on one machine: network namespaces, each with a cable of its own to the machine they share."""

from __future__ import annotations

import os
import shutil
import subprocess
from types import TracebackType

import pytest


class Hosts:
    """Namespaces 0 and 1; the machine is `here(n)` to each. Needs root and iproute2; skips otherwise."""

    def __init__(self) -> None:
        """Names and addresses are this process's own."""
        if os.geteuid() != 0 or shutil.which("ip") is None:
            pytest.skip("network namespaces need root and iproute2 (apt-get install iproute2)")
        self._net = f"10.{os.getpid() % 200 + 20}"
        self._pid = os.getpid()

    def __enter__(self) -> Hosts:
        """Make both, or skip where the kernel does not let us."""
        for n in range(2):
            near, far = self._ends(n)
            steps = (
                f"netns add {self.name(n)}",
                f"link add {near} type veth peer name {far} netns {self.name(n)}",
                f"addr add {self.here(n)}/30 dev {near}",
                f"link set {near} up",
                f"-n {self.name(n)} addr add {self._net}.{n}.2/30 dev {far}",
                f"-n {self.name(n)} link set {far} up",
            )
            for step in steps:
                done = subprocess.run(["ip", *step.split()], capture_output=True, text=True, check=False)
                if done.returncode != 0:
                    self._remove()
                    pytest.skip(f"no network namespaces here: {done.stderr.strip()}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove both, with their cables."""
        self._remove()

    def name(self, n: int) -> str:
        """The namespace's name."""
        return f"lapse-{self._pid}-{n}"

    def here(self, n: int) -> str:
        """The shared machine's address as a host sees it."""
        return f"{self._net}.{n}.1"

    @property
    def network(self) -> str:
        """All of them."""
        return f"{self._net}.0.0/16"

    def command(self, n: int, *words: str) -> list[str]:
        """What runs a command on a host."""
        return ["ip", "netns", "exec", self.name(n), *words]

    def cable(self, n: int, state: str) -> None:
        """Pull a host's cable (`down`) or put it back (`up`)."""
        subprocess.run(["ip", "link", "set", self._ends(n)[0], state], check=True)

    def _ends(self, n: int) -> tuple[str, str]:
        return f"lp{self._pid}a{n}", f"lp{self._pid}b{n}"

    def _remove(self) -> None:
        for n in range(2):
            for step in (f"link delete {self._ends(n)[0]}", f"netns delete {self.name(n)}"):
                subprocess.run(["ip", *step.split()], capture_output=True, check=False)
