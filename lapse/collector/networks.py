"""Sets of networks that answer in microseconds: Apple's egress list alone has a quarter of a million."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path

from lapse.collector.access import parse_address


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """Addresses of these networks are in it; kept as sorted, merged ranges per IP version."""

    starts: dict[int, list[int]] = field(repr=False)
    ends: dict[int, list[int]] = field(repr=False)
    refused: int = 0
    """Lines that were no network."""

    @classmethod
    def of(cls, lines: Iterable[str]) -> "Networks":
        """Read one network a line, first of any comma-separated columns; `#` begins a comment."""
        ranges: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
        refused = 0
        for line in lines:
            entry = line.partition("#")[0].partition(",")[0].strip()
            if not entry:
                continue
            try:
                network = ip_network(entry, strict=False)
            except ValueError:
                refused += 1
                continue
            ranges[network.version].append((int(network.network_address), int(network.broadcast_address)))
        starts: dict[int, list[int]] = {4: [], 6: []}
        ends: dict[int, list[int]] = {4: [], 6: []}
        for version, found in ranges.items():
            for start, end in sorted(found):
                if ends[version] and start <= ends[version][-1] + 1:
                    ends[version][-1] = max(end, ends[version][-1])
                else:
                    starts[version].append(start)
                    ends[version].append(end)
        return cls(starts=starts, ends=ends, refused=refused)

    def __contains__(self, address: object) -> bool:
        parsed = parse_address(address) if isinstance(address, str) else None
        if parsed is None:
            return False
        at = bisect_right(self.starts[parsed.version], parsed.number) - 1
        return at >= 0 and parsed.number <= self.ends[parsed.version][at]


class NetworkFile:
    """Networks in a file the operator refreshes: read again when it changes; the last good ones otherwise."""

    def __init__(self, path: Path | None, otherwise: Iterable[str] = ()) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self.networks = Networks.of(otherwise)
        self.refresh()

    def refresh(self) -> bool:
        """Read the file if it has changed; true if it has. A missing or empty file changes nothing."""
        if self._path is None:
            return False
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp == self._stamp:
                return False
            read = Networks.of(self._path.read_text(encoding="utf-8", errors="replace").splitlines())
        except OSError:
            return False
        self._stamp = stamp
        if not (read.starts[4] or read.starts[6]):
            return False
        self.networks = read
        return True
