"""Verbs in processes of their own that need not import everything again: `Live.lapse` asks for hundreds.

One process per pytest imports the command line and forks a child per verb. To the verb it is as ever: its own
process, environment, folder, output and exit code, or the signal that ended it. `init` and `up` start from
nothing, as does what tests/unit/reach looks at. `LAPSE_TEST_PLAIN=1` starts every verb so.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lapse import cradle
from lapse.cli import app

REPOSITORY = Path(__file__).parents[2]
MODULE = "tests.support.verbs"
LOADED = (
    *(
        "lapse.cli.app",
        "lapse.main",
        "lapse.broker.admin",
        "lapse.clockwork",
        "lapse.connecting",
        "lapse.crew",
    ),
    *("lapse.doctor", "lapse.holds", "lapse.ledger", "lapse.policies", "lapse.proving", "lapse.quarantine"),
    *("lapse.recalls", "lapse.recall_page", "lapse.recipients", "lapse.records", "lapse.showing"),
    *("lapse.subjects", "lapse.tasks", "lapse.topics", "lapse.waiting"),
)
_MOST, _NUMBER = 1 << 17, 4


def run(
    arguments: list[str], *, environment: Mapping[str, str], folder: Path, timeout: float
) -> subprocess.CompletedProcess[str]:
    """One verb, as `subprocess.run` of `python -m lapse.cli.app`; `subprocess.TimeoutExpired` as there."""
    if os.environ.get("LAPSE_TEST_PLAIN") or sys.platform != "linux":
        return subprocess.run(
            [sys.executable, "-m", "lapse.cli.app", *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=dict(environment),
            cwd=folder,
            check=False,
        )
    asked = {"arguments": arguments, "environment": dict(environment), "folder": str(folder)}
    said, saying = os.pipe()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, os.fdopen(said, "rb", 0) as told:
        try:
            _home.ask(json.dumps(asked).encode(), [out.fileno(), err.fileno(), saying])
        finally:
            os.close(saying)
        pid = _number(told.read(_NUMBER))
        if not select.select([told], [], [], timeout)[0]:
            os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(arguments, timeout)
        status = _number(told.read(_NUMBER))
        texts = [(file.seek(0), file.read().decode())[1] for file in (out, err)]
    return subprocess.CompletedProcess(arguments, status, *texts)


@dataclass
class _Home:
    """The process that forks verbs, started when first asked. It ends as this end of the socket closes."""

    asking: socket.socket | None = None
    process: subprocess.Popen[bytes] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, message: bytes, files: list[int]) -> None:
        """Safe for several threads: each request is one packet."""
        with self.lock:
            if self.asking is None:
                self.asking = self._started()
        socket.send_fds(self.asking, [message], files)

    def _started(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", MODULE, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                cwd=REPOSITORY,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        atexit.register(self.end)
        return ours

    def end(self) -> None:
        """Nobody is asked any more."""
        assert self.asking is not None and self.process is not None
        self.asking.close()
        self.process.wait(30)


_home = _Home()


def _number(said: bytes) -> int:
    assert len(said) == _NUMBER, "the process that runs verbs has ended"
    return int.from_bytes(said, "big", signed=True)


# ---- the process -------------------------------------------------------------------------------------------
def serve(asking: socket.socket) -> int:
    """Fork whoever is asked for, until nobody asks any more; returns a verb's exit code in its process."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those who wait for verbs are waited for by nobody
    while True:
        message, files, _, _ = socket.recv_fds(asking, _MOST, 3)
        if not message:
            return 0
        if os.fork() == 0:
            asking.close()
            return _tell(json.loads(message), *files)
        for file in files:
            os.close(file)


def _tell(asked: dict[str, Any], out: int, err: int, saying: int) -> int:
    """Fork the verb and say how it ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    verb = os.fork()
    if verb == 0:
        os.close(saying)
        return _verb(asked, out, err)
    os.write(saying, verb.to_bytes(_NUMBER, "big"))
    _, status = os.waitpid(verb, 0)
    os.write(saying, os.waitstatus_to_exitcode(status).to_bytes(_NUMBER, "big", signed=True))
    os._exit(0)


def _verb(asked: dict[str, Any], out: int, err: int) -> int:
    for standard, file in ((1, out), (2, err)):
        os.dup2(file, standard)
        os.close(file)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.argv = ["lapse", *asked["arguments"]]
    gc.enable()
    app.main()
    return 0


if __name__ == "__main__":
    for each in LOADED:
        vars(importlib.import_module(each))  # a lazy one loads when it is looked into
    cradle.prepare(LOADED)
    with socket.socket(fileno=int(sys.argv[1])) as mine:
        ended = serve(mine)
    sys.exit(ended)
