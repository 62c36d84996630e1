"""What is accepted while Kafka is unwell: sealed segments on disk, drained in order, then keys destroyed.

One thread owns the segment being written: it seals whatever waits, writes it at once and syncs once, so a
hundred events cost one fdatasync. A segment is never appended to after a restart, so no nonce repeats under
its key.
"""

import asyncio
import errno
import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lapse.collector import metrics
from lapse.collector.framing import Read, Spooled, header, read_segment, seal_frame
from lapse.collector.settings import SpoolSettings
from lapse.collector_faults import BEGUN, FORGOTTEN, KEYED, SYNCED, WRITTEN
from schemas.errors import Refused, Unavailable
from vault.faults import Crash, never

_log = logging.getLogger(__name__)
_GROUP = 512
_FRAME_OVERHEAD = 200
_PRIVATE = 0o600
_KEY_BYTES = 32


class _Job(NamedTuple):
    """Events to keep, or none: then the segment being written is to be closed."""

    events: Sequence[Spooled]
    done: asyncio.Future[None]


@dataclass(slots=True)
class _Active:
    """The segment being written, owned by the writer's thread."""

    number: int
    file: int
    cipher: AESGCM
    frames: int = 0
    size: int = 0


class Spool:
    """Acknowledged events on disk, encrypted, in order; one process per folder."""

    def __init__(
        self,
        settings: SpoolSettings,
        *,
        now: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = os.urandom,
        crash: Crash = never,
    ) -> None:
        self._settings = settings
        self._crash = crash
        self._now = now
        self._random = random
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._active: _Active | None = None
        self._sizes: dict[int, int] = {}
        self._born: dict[int, float] = {}
        self._waiting = 0
        self._next = 1
        self._thread = threading.Thread(target=self._write, name="spool", daemon=True)
        self._lock_file = -1

    # ---- state, read by the event loop ---------------------------------------------------------------------
    @property
    def empty(self) -> bool:
        """Whether nothing is kept and nothing is about to be."""
        return not self._sizes and not self._waiting

    @property
    def size(self) -> int:
        """Bytes kept or about to be."""
        return sum(list(self._sizes.values())) + self._waiting

    @property
    def has_room(self) -> bool:
        """Whether the next event would be taken."""
        oldest = min(list(self._born.values()), default=None)
        young = oldest is None or self._now() - oldest < self._settings.max_age_seconds
        return young and self.size < self._settings.max_bytes

    # ---- life ----------------------------------------------------------------------------------------------
    def open(self) -> None:
        """Take the folder over: find what an earlier process left, forget the keys of what was drained.

        Raises `Refused` where another process has it.
        """
        for folder in (self._settings.folder, self._settings.keys):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock_file = os.open(self._settings.folder / "lock", os.O_CREAT | os.O_RDWR, _PRIVATE)
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock_file)
            raise Refused(
                "conflict", "another collector has this spool", str(self._settings.folder), "stop it first"
            ) from None
        segments = {int(path.stem): path for path in self._settings.folder.glob("*.seg")}
        keys = {int(path.stem): path for path in self._settings.keys.glob("*.key")}
        self._next = max((*segments, *keys), default=0) + 1
        for number, path in sorted(segments.items()):
            if number in keys and any(keys[number].read_bytes()):
                self._sizes[number] = path.stat().st_size
                self._born[number] = path.stat().st_mtime
            else:
                path.unlink()
        for number in keys.keys() - self._sizes.keys():
            self._forget_key(number)
        self._report()
        self._thread.start()

    def close(self) -> None:
        """Write what waits, then stop; what is kept stays for the next process."""
        self._jobs.put(None)
        self._thread.join()
        os.close(self._lock_file)

    # ---- for the event loop --------------------------------------------------------------------------------
    async def append(self, events: Sequence[Spooled]) -> None:
        """Return when the events are on disk; raises `Unavailable` where there is no room or no disk."""
        if not self.has_room:
            raise Unavailable("unavailable", "the spool is full", "", "wait until the broker is back")
        size = sum(len(each.value) + _FRAME_OVERHEAD for each in events)
        self._waiting += size
        await self._do(events, size)

    async def oldest(self) -> int | None:
        """Number of the oldest segment, closed for writing; None when nothing is kept."""
        number = min(self._sizes, default=None)
        if number is None and not self._waiting:
            return None
        active = self._active
        if number is None or (active is not None and active.number == number):
            await self._do((), 0)
        return min(self._sizes, default=None)

    async def read(self, number: int) -> Read:
        """Open a closed segment; what a torn tail held was never acknowledged."""
        return await asyncio.to_thread(self._read, number)

    async def destroy(self, number: int) -> None:
        """Destroy a drained segment: its key first, so that the bytes left in the file open no more."""
        await asyncio.to_thread(self._destroy, number)
        self._sizes.pop(number, None)
        self._born.pop(number, None)
        self._report()

    async def _do(self, events: Sequence[Spooled], size: int) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.add_done_callback(lambda _: self._written(size))
        self._jobs.put(_Job(events, done))
        # The write goes on if the request that asked for it is gone: nothing half-kept.
        await asyncio.shield(done)

    def _written(self, size: int) -> None:
        self._waiting -= size
        self._report()

    def _report(self) -> None:
        metrics.SPOOL_BYTES.set(self.size)
        metrics.SPOOL_LIMIT.set(self._settings.max_bytes)
        metrics.SPOOL_SEGMENTS.set(len(self._sizes))

    # ---- disk ----------------------------------------------------------------------------------------------
    def _segment(self, number: int) -> Path:
        return self._settings.folder / f"{number:016d}.seg"

    def _key(self, number: int) -> Path:
        return self._settings.keys / f"{number:016d}.key"

    def _read(self, number: int) -> Read:
        key = self._key(number).read_bytes()
        if len(key) != _KEY_BYTES:
            raise OSError(errno.EIO, "a spool segment's key has the wrong length")
        return read_segment(AESGCM(key), self._segment(number).read_bytes())

    def _destroy(self, number: int) -> None:
        self._forget_key(number)
        self._crash(FORGOTTEN)
        self._segment(number).unlink(missing_ok=True)
        _sync_folder(self._settings.folder)

    def _forget_key(self, number: int) -> None:
        path = self._key(number)
        file = os.open(path, os.O_WRONLY)
        try:
            os.write(file, bytes(os.fstat(file).st_size))
            os.fsync(file)
        finally:
            os.close(file)
        path.unlink()
        _sync_folder(self._settings.keys)

    # ---- the writer's thread -------------------------------------------------------------------------------
    def _write(self) -> None:
        while (job := self._jobs.get()) is not None:
            group, stop = self._group(job)
            for part in _split(group):
                self._perform(part)
            if stop:
                break
        self._close_active()

    def _group(self, first: _Job) -> tuple[list[_Job], bool]:
        """What waits already, at most a group of it; true when the end was asked for."""
        group = [first]
        while len(group) < _GROUP:
            try:
                job = self._jobs.get_nowait()
            except Empty:
                break
            if job is None:
                return group, True
            group.append(job)
        return group, False

    def _perform(self, jobs: Sequence[_Job]) -> None:
        """Keep the events of all jobs under one sync, then tell the loop, once."""
        failure: Unavailable | None = None
        try:
            if jobs[0].events:
                self._keep([event for job in jobs for event in job.events])
            else:
                self._close_active()
        except OSError as error:
            _log.error("the spool cannot be written", extra={"errno": error.errno})
            failure = Unavailable("unavailable", "the spool cannot be written", "", "look at the disk")
            self._close_active()
        jobs[0].done.get_loop().call_soon_threadsafe(_settle, jobs, failure)

    def _keep(self, events: Sequence[Spooled]) -> None:
        active = self._active or self._start()
        frames = bytearray()
        for event in events:
            frames += seal_frame(active.cipher, active.number, active.frames, event)
            active.frames += 1
        _write_all(active.file, frames)
        self._crash(WRITTEN)
        os.fdatasync(active.file)
        self._crash(SYNCED)
        active.size += len(frames)
        self._sizes[active.number] = active.size
        if active.size >= self._settings.segment_bytes:
            self._close_active()

    def _start(self) -> _Active:
        number, key = self._next, self._random(_KEY_BYTES)
        self._next += 1
        file = os.open(self._key(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE)
        try:
            _write_all(file, key)
            os.fsync(file)
        finally:
            os.close(file)
        _sync_folder(self._settings.keys)
        self._crash(KEYED)
        file = os.open(self._segment(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, _PRIVATE)
        first = header(number)
        self._active = active = _Active(number=number, file=file, cipher=AESGCM(key), size=len(first))
        # Listed from birth: a segment whose first write fails is drained, empty, and its key destroyed too.
        self._sizes[number], self._born[number] = active.size, self._now()
        _write_all(file, first)
        _sync_folder(self._settings.folder)
        self._crash(BEGUN)
        return active

    def _close_active(self) -> None:
        if self._active is not None:
            os.close(self._active.file)
            self._active = None


def _settle(jobs: Sequence[_Job], failure: Unavailable | None) -> None:
    for job in jobs:
        if job.done.done():
            continue
        if failure is None:
            job.done.set_result(None)
        else:
            job.done.set_exception(failure)


def _split(group: Sequence[_Job]) -> list[list[_Job]]:
    """Runs of jobs that keep events, and each closing on its own, in the order asked."""
    parts: list[list[_Job]] = []
    for job in group:
        if parts and job.events and parts[-1][0].events:
            parts[-1].append(job)
        else:
            parts.append([job])
    return parts


def _write_all(file: int, data: bytes | bytearray) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
