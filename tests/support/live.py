"""A whole running system for tests: `lapse up` in a process of its own, spoken to only from outside."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import verbs

READY_SECONDS = 240.0
REPOSITORY = Path(__file__).parents[2]


@dataclass(slots=True)
class Answer:
    """An HTTP answer: status, headers (names in lower case), body."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(slots=True)
class Done:
    """A finished command."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)

    def error(self) -> dict[str, str]:
        """The `error` object it printed on stderr under `-o json`."""
        return dict(json.loads(self.err.strip().splitlines()[-1])["error"])


@dataclass(slots=True)
class Live:
    """One `lapse up` on one data folder."""

    data: Path
    policy: Path
    clock: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def lapse(self, *arguments: str, timeout: float = 120.0, json_output: bool = True) -> Done:
        """Run one verb against this data."""
        command = [*arguments, "--data", str(self.data)]
        if json_output:
            command += ["-o", "json"]
        done = verbs.run(command, environment=self._env(), folder=REPOSITORY, timeout=timeout)
        return Done(done.returncode, done.stdout, done.stderr)

    def init(self) -> None:
        """Make the data folder as test data, which a manual clock and the super user's file need."""
        command = [sys.executable, "-m", "lapse.cli.app", "init", "--test", str(self.data)]
        command += ["--policy", str(self.policy), "-o", "json"]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, env=self._env(), cwd=REPOSITORY, check=False
        )
        assert done.returncode == 0, done.stderr

    def start(self, *extra: str) -> Live:
        """Start it and return when run.json says it is ready."""
        command = [sys.executable, "-m", "lapse.cli.app", "up", "--data", str(self.data)]
        command += [] if "--port" in extra else ["--port", "0"]
        command += ["--wait-ready", str(READY_SECONDS)]
        command += ["--policy", str(self.policy), *(["--clock", self.clock] if self.clock else []), *extra]
        self.data.parent.mkdir(parents=True, exist_ok=True)
        log = (self.data.parent / f"{self.data.name}.up.log").open("ab")
        with log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._env(),
                cwd=REPOSITORY,
                start_new_session=True,
            )
        until(lambda: self._is_ready(), READY_SECONDS, f"ready, see {log.name}")
        return self

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(90)

    def end(self) -> None:
        """Leave nothing running, however the test ended: SIGTERM, and what stays gets SIGKILL."""
        if self.process is None:
            return
        pids = [pid for pids in self.workers().values() for pid in pids]
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(60)
        for pid in {self.process.pid, *pids}:
            if self._is_ours(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait(10)

    def _is_ours(self, pid: int) -> bool:
        """Whether this process was started on this data; a pid may have been given to somebody else since."""
        try:
            return str(self.data).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False

    def kill_role(self, role: str) -> int:
        """SIGKILL a role's process and return when the supervisor has another one in its place."""
        pid = self.roles()[role]
        os.kill(pid, signal.SIGKILL)
        until(lambda: self.roles().get(role) not in (None, pid), 60, f"{role} restarted")
        return self.roles()[role]

    @property
    def run_file(self) -> Path:
        """Where the run file lies while the system is ready."""
        return self.data / "run.json"

    @property
    def run(self) -> dict[str, Any]:
        """The run file."""
        return dict(json.loads(self.run_file.read_text()))

    def roles(self) -> dict[str, int]:
        """The process ids by role, of a role with several workers the first one's."""
        return {role: pids[0] for role, pids in self.workers().items()}

    def workers(self) -> dict[str, list[int]]:
        """All process ids by role; nothing where nothing runs."""
        path = self.data / "roles.json"
        found = json.loads(path.read_text()) if path.exists() else {}
        return {role: pids if isinstance(pids, list) else [pids] for role, pids in found.items()}

    def url(self, name: str, path: str) -> str:
        """An address of one of the three ports."""
        return str(self.run["urls"][name]).rstrip("/") + path

    def site_key(self, site: str | None = None) -> str:
        """The key browsers of a site send."""
        sites = self.run["sites"]
        return str(sites[site or next(iter(sites))]["key"])

    def site_token(self, site: str | None = None) -> str:
        """The bearer token a site's servers send."""
        sites = self.run["sites"]
        return str(json.loads(Path(sites[site or next(iter(sites))]["token_file"]).read_text())["token"])

    def form(self, form: str, body: Mapping[str, Any], *, server: bool = False) -> Answer:
        """POST a form as JSON, as a browser, or as the site's server."""
        headers = (
            {"Authorization": f"Bearer {self.site_token()}"}
            if server
            else {"X-Lapse-Site-Key": self.site_key()}
        )
        return self.http("POST", self.url("collector", f"/f/{form}"), dict(body), headers)

    def http(
        self,
        method: str,
        url: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
    ) -> Answer:
        """One request; JSON for objects, bytes as they are; errors are answers too."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} if isinstance(body, Mapping | list) else {}
        request = urllib.request.Request(url, data=data, method=method, headers={**sent, **(headers or {})})  # noqa: S310
        context = ssl.create_default_context(cafile=self.run["ca_file"]) if url.startswith("https") else None
        handlers = [urllib.request.ProxyHandler({}), _NoRedirect()]
        if context:
            handlers.append(urllib.request.HTTPSHandler(context=context))
        try:
            with urllib.request.build_opener(*handlers).open(request, timeout=timeout) as answer:
                return Answer(answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, {k.lower(): v for k, v in error.headers.items()}, error.read())

    def outcome(self, event_id: str) -> dict[str, Any]:
        """`records show --event`."""
        done = self.lapse("records", "show", "--event", event_id)
        assert done.code == 0, done.err
        return dict(done.json())

    def quiet(self, timeout: float = 60.0) -> None:
        """Wait until nothing is on its way."""
        done = self.lapse("wait", "--timeout", str(timeout), timeout=timeout + 30)
        assert done.code == 0, done.err

    def _is_ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            log = self.data.parent / f"{self.data.name}.up.log"
            raise AssertionError(f"lapse up ended with {self.process.returncode}: {log.read_text()[-2000:]}")
        return (self.data / "run.json").exists()

    def _env(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("LAPSE_") or k in _PASSED}
        return {**inherited, **self.environment}


_PASSED = (
    "LAPSE_KAFKA_LIBS",
    "LAPSE_JAVA",
    "LAPSE_BOOTSTRAP",
    "LAPSE_BOOTSTRAP_USER",
    "LAPSE_BOOTSTRAP_PASSWORD",
)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def until(holds: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until something holds; an AssertionError names what did not."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)


def search_bytes(needles: Sequence[bytes], folders: Sequence[Path]) -> dict[Path, int]:
    """Files below these folders that contain one of the needles, with the number of finds."""
    found: dict[Path, int] = {}
    for folder in folders:
        for path in folder.rglob("*") if folder.is_dir() else [folder]:
            if path.is_file():
                data = path.read_bytes()
                if count := sum(data.count(needle) for needle in needles):
                    found[path] = count
    return found
