"""What a fetch of a clear gif means: a person, a proxy that may stand for one, or a machine."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from lapse.collector.networks import NetworkFile
from schemas.models import OpenKind

GIF = bytes.fromhex("47494638396101000100800000ffffff00000021f90401000000002c00000000010001000002024401003b")
"""A transparent pixel, 43 bytes (GIF89a)."""
GIF_HEADERS = (
    (b"content-type", b"image/gif"),
    (b"cache-control", b"no-store, no-cache, must-revalidate, private, max-age=0"),
    (b"pragma", b"no-cache"),
    (b"expires", b"0"),
)

APPLE_AGENT = "Mozilla/5.0"
"""Apple Mail Privacy Protection says exactly this and no more."""
GMAIL_PROXY = "GoogleImageProxy"
GMAIL_PREFETCH = ("Chrome/42.0.2311.135", "Edge/12.246")
"""Gmail fetches some pictures when a mail arrives, in this guise, from Google's own addresses."""
GOOGLE = (
    # Google's own ranges as its SPF records name them: _netblocks.google.com, _netblocks2, _netblocks3.
    *("35.190.247.0/24", "64.233.160.0/19", "66.102.0.0/20", "66.249.80.0/20", "72.14.192.0/18"),
    *("74.125.0.0/16", "108.177.8.0/21", "108.177.96.0/19", "172.217.0.0/19", "173.194.0.0/16"),
    *("209.85.128.0/17", "216.58.192.0/19", "216.239.32.0/19", "172.253.0.0/16"),
    *("2001:4860:4000::/36", "2404:6800:4000::/36", "2607:f8b0:4000::/36", "2800:3f0:4000::/36"),
    *("2a00:1450:4000::/36", "2c0f:fb50:4000::/36"),
)
MACHINES = (
    # Programs and mail scanners that say who they are; lower case, found anywhere in the agent.
    *(
        "bot",
        "crawler",
        "spider",
        "scanner",
        "preview",
        "curl/",
        "wget/",
        "python",
        "go-http-client",
        "java/",
    ),
    *("okhttp", "headlesschrome", "phantomjs", "libwww", "axios/", "node-fetch", "barracuda", "mimecast"),
    *("proofpoint", "safelinks", "symantec", "fireeye", "trendmicro", "sophos", "ironport", "forcepoint"),
)
_LONGEST = 2048
"""Characters of an agent that are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The networks that tell opens apart."""

    apple: NetworkFile
    google: NetworkFile
    scanners: NetworkFile

    @classmethod
    def load(cls, apple: Path | None, google: Path | None, scanners: Path | None) -> "Sources":
        """Read the operator's files; Google's ranges are built in, Apple's and scanners' are not."""
        return cls(
            apple=NetworkFile(apple), google=NetworkFile(google, GOOGLE), scanners=NetworkFile(scanners)
        )

    def refresh(self) -> None:
        """Read again what has changed."""
        for file in (self.apple, self.google, self.scanners):
            file.refresh()


def open_kind(headers: Mapping[str, str], address: str | None, sources: Sources) -> OpenKind:
    """Judge a fetch by its agent, its address and its stated purpose; the kind is kept, no hit is dropped."""
    agent = headers.get("user-agent", "")
    if agent == APPLE_AGENT and address in sources.apple.networks:
        return "apple_mpp"
    if GMAIL_PROXY in agent:
        return "gmail_proxy"
    if GMAIL_PREFETCH[0] in agent and GMAIL_PREFETCH[1] in agent and address in sources.google.networks:
        return "gmail_prefetch"
    return "machine" if _machine(headers, agent, address, sources) else "direct"


def _machine(headers: Mapping[str, str], agent: str, address: str | None, sources: Sources) -> bool:
    purpose = (headers.get("sec-purpose") or headers.get("purpose") or "").lower()
    if purpose.startswith("prefetch") or headers.get("x-moz", "").lower() == "prefetch":
        return True
    return _says_so(agent[:_LONGEST]) or address in sources.scanners.networks


@lru_cache(maxsize=256)
def _says_so(agent: str) -> bool:
    """Whether an agent is a machine's by its own word; a few agents are most people's."""
    lower = agent.lower()
    return any(each in lower for each in MACHINES)
