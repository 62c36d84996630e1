"""A real Apache Kafka in a process of its own: one secured KRaft node on a data folder, safe to kill."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import IO, Self

from lapse.broker.connection import BrokerAddress, Credentials
from lapse.broker.node import Node, load_or_create, write_private
from lapse.broker.probe import probe
from lapse.broker.properties import ADMIN_USER, BROKER_USER, MECHANISM, render, server_properties
from schemas.errors import Refused, Unavailable

_POLL_SECONDS = 0.05
_STOP_SECONDS, _RECORD_SECONDS = 20.0, 120.0
_LOG_KEPT_BYTES = 20_000_000


class EmbeddedKafka:
    """The broker of one data folder, owned by one process at a time.

    Layout of `data_dir`: `node.json` and `server.properties` (both 0600), `log/` (Kafka's own), `pid`,
    `lock`, and `broker.log` unless `log_file` says otherwise. Ports are chosen once and kept, so that clients
    outlive a restart. One that is given `record` writes its classes there as it ends.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        libs: Path,
        java: Path,
        heap: str = "512m",
        host: str = "127.0.0.1",
        port: int = 0,
        log_file: Path | None = None,
        record: Path | None = None,
    ) -> None:
        self.data_dir = data_dir
        self.log_file = log_file or data_dir / "broker.log"
        self._libs, self._java, self._heap = libs, java, heap
        self._host, self._port, self._record = host, port, record
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: IO[bytes] | None = None
        self._node: Node | None = None

    @property
    def log_dirs(self) -> tuple[Path, ...]:
        """Folders that hold every byte of every topic."""
        return (self.data_dir / "log",)

    @property
    def pid(self) -> int | None:
        """Process id of the running broker, or None."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def admin(self) -> Credentials:
        """The super user; known once the broker has been started for the first time."""
        assert self._node, "start() comes first"
        return Credentials(username=ADMIN_USER, password=self._node.admin_password)

    @property
    def address(self) -> BrokerAddress:
        """Where clients connect; known once the broker has been started for the first time."""
        assert self._node, "start() comes first"
        return BrokerAddress(
            bootstrap=self._node.bootstrap,
            protocol="SASL_PLAINTEXT",
            mechanism=MECHANISM,
            cluster_id=self._node.cluster_id,
        )

    def start(self, timeout: float = 60.0) -> BrokerAddress:
        """Format the folder if it is new, run the broker and return once it answers its super user.

        Raises `Refused` if another living process owns the folder, `Unavailable` if the broker does not come
        up.
        """
        if self.pid is not None:
            return self.address
        deadline = time.monotonic() + timeout
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._own()
        try:
            self._stop_orphan()
            self._prepare(deadline)
            self._launch()
            self._await_answer(deadline)
        except BaseException:
            self.stop()
            raise
        return self.address

    def stop(self) -> None:
        """End the broker (SIGTERM, after 20 s SIGKILL) and give up the folder; safe to call at any time."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.terminate()
                try:
                    self._process.wait(_RECORD_SECONDS if self._record else _STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    os.killpg(self._process.pid, signal.SIGKILL)
                    self._process.wait()
            self._process = None
            (self.data_dir / "pid").unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _own(self) -> None:
        if self._lock is not None:
            return
        lock = (self.data_dir / "lock").open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as taken:
            lock.close()
            raise Refused(
                code="conflict",
                what="another process already runs the broker of this data folder",
                where=str(self.data_dir),
                do="stop that process, or use another data folder",
            ) from taken
        self._lock = lock

    def _stop_orphan(self) -> None:
        """End a broker whose owner was killed: it would hold Kafka's own lock on the log folder."""
        with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
            pid = int((self.data_dir / "pid").read_text("ascii"))
            if not _runs(pid, self._properties_file):
                return
            os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + _STOP_SECONDS
            while _runs(pid, self._properties_file):
                if time.monotonic() > deadline:
                    os.kill(pid, signal.SIGKILL)
                time.sleep(_POLL_SECONDS)

    @property
    def _properties_file(self) -> Path:
        return (self.data_dir / "server.properties").resolve()

    def _prepare(self, deadline: float) -> None:
        # Later starts of the same owner keep the ports at any price: its clients know no others.
        if self._node is None:
            self._node = load_or_create(self.data_dir / "node.json", host=self._host, port=self._port)
        log_dir = self.log_dirs[0].resolve()
        write_private(self._properties_file, render(server_properties(self._node, log_dir)))
        if not (log_dir / "meta.properties").exists():
            self._format(deadline)

    def _format(self, deadline: float) -> None:
        """Write Kafka's identity and first users; passwords go by a 0600 file, not the process list."""
        assert self._node
        users = {BROKER_USER: self._node.broker_password, ADMIN_USER: self._node.admin_password}
        arguments = ["-cp", f"{self._libs}/*", "kafka.tools.StorageTool", "format", "--ignore-formatted"]
        arguments += ["-t", self._node.cluster_id, "-c", str(self._properties_file)]
        for name, password in users.items():
            arguments += ["--add-scram", f"{MECHANISM}=[name={name},password={password}]"]
        file = self.data_dir / "format.args"
        write_private(file, "".join(f'"{argument}"\n' for argument in arguments))
        try:
            done = subprocess.run(
                [str(self._java), *_LIGHT, *self._classes(), f"@{file}"],
                capture_output=True,
                text=True,
                timeout=max(1.0, deadline - time.monotonic()),
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            raise self._failed("formatting its folder took too long") from late
        finally:
            file.unlink()
        if done.returncode != 0:
            raise self._failed(f"its folder could not be formatted: {done.stderr.strip()[-400:]}")

    def _launch(self) -> None:
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        if self.log_file.exists() and self.log_file.stat().st_size > _LOG_KEPT_BYTES:
            self.log_file.replace(self.log_file.with_suffix(".log.1"))
        memory = ["-Xms128m", f"-Xmx{self._heap}", *_LIGHT, *self._classes(self._record)]
        logging = [f"-Dorg.slf4j.simpleLogger.{option}" for option in _LOGGING]
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(self._java),
                    *memory,
                    *logging,
                    "-cp",
                    f"{self._libs}/*",
                    "kafka.Kafka",
                    str(self._properties_file),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is the owner's to handle: workers drain first
            )
        (self.data_dir / "pid").write_text(str(self._process.pid), "ascii")

    def _classes(self, record: Path | None = None) -> list[str]:
        """Where Java finds classes as it had them in memory before, or is to write them as it ends."""
        if record is not None:
            return [f"-XX:ArchiveClassesAtExit={record}"]
        archive = archive_of(self._libs)
        return [f"-XX:SharedArchiveFile={archive}"] if archive.exists() else []

    def _await_answer(self, deadline: float) -> None:
        process = self._process
        assert process
        assert self._node
        while time.monotonic() < deadline:
            if (code := process.poll()) is not None:
                raise self._failed(f"it ended with code {code}: {self._log_tail()}")
            # Its first users are in its log: until that is replayed, the right password is refused too.
            with contextlib.suppress(Refused, Unavailable):
                probe(self.address, self.admin, timeout=_POLL_SECONDS)
                return
            time.sleep(_POLL_SECONDS)
        raise self._failed("it did not answer in time")

    def _log_tail(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return " / ".join(self.log_file.read_text("utf-8", "replace").splitlines()[-3:])[-600:]
        return "no log"

    def _failed(self, why: str) -> Unavailable:
        return Unavailable(
            code="unavailable",
            what=f"the embedded Kafka did not start: {why}",
            where=str(self.log_file),
            do="read its log; `LAPSE_BOOTSTRAP=host:port` uses another Kafka",
        )


_LOGGING = (
    "defaultLogLevel=warn",
    "log.kafka.server.KafkaRaftServer=info",
    "log.org.apache.kafka.common.utils.AppInfoParser=error",
    "showDateTime=true",
    "dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
)


_LIGHT = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""For a small heap, and a process that is not to spend its first minute on optimising itself."""


def archive_of(libs: Path) -> Path:
    """Where the archive of Kafka's classes lies, if there is one (`lapse/broker/archive.py`)."""
    return libs / "classes.jsa"


def _runs(pid: int, properties_file: Path) -> bool:
    """Whether `pid` is a broker of exactly this folder; a reused process id is somebody else's."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"kafka.Kafka" in command and os.fsencode(properties_file) in command
