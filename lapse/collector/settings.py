"""What the collector needs to know: frozen values from the composition root, nothing from the environment."""

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one request may bring, and how fast requests may follow each other."""

    body_bytes: int = 64 * 1024
    fields: int = 200
    events: int = 50
    body_idle_seconds: float = 10.0
    """A body that brings nothing for this long is answered 408."""
    body_seconds: float = 25.0
    """A body that is not whole after this long is answered 408."""
    form_rate: float = 10.0
    """Forms a second from one address prefix to one form, in the long run."""
    form_burst: int = 100
    beacon_rate: float = 50.0
    """Beacon requests a second from one address prefix to one site, in the long run."""
    beacon_burst: int = 500
    pixels_in_flight: int = 10_000
    """Opens answered and not yet durable; what comes beyond is counted as lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolSettings:
    """Where and how much the collector keeps while Kafka is unwell."""

    folder: Path
    keys: Path
    """Folder of the segments' keys, apart from the segments so that a copy of one opens nothing."""
    max_bytes: int = 1 << 30
    max_age_seconds: float = 48 * 3600.0
    """With a segment older than this nothing more is taken: its events near the hard cap of intake."""
    segment_bytes: int = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSettings:
    """librdkafka's connection settings (bootstrap, security) and how long an acknowledgement may take."""

    connection: dict[str, str] = field(repr=False, hash=False)
    ack_seconds: float = 3.0
    """A record not acknowledged by then goes to the spool, under the same event id."""
    probe_seconds: float = 1.0
    """How often an unwell broker is asked whether it is back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorSettings:
    """Everything about one collector process."""

    host: str = "127.0.0.1"
    port: int = 0
    spool: SpoolSettings
    kafka: KafkaSettings
    limits: Limits = Limits()
    trusted_proxies: tuple[Network, ...] = ()
    apple_egress: Path | None = None
    """Apple's list of Private Relay egress ranges (egress-ip-ranges.csv), refreshed by the operator."""
    google_networks: Path | None = None
    """Google's address ranges, one network a line; the built-in list where there is none."""
    scanners: Path | None = None
    """Networks of known mail scanners, one a line."""
    drain_seconds: float = 0.5
    """How long readiness has failed before the collector stops accepting (SIGTERM)."""
    finish_seconds: float = 8.0
    """How long requests under way may take once it no longer accepts new ones."""
    flush_seconds: float = 5.0
    """How long the last acknowledgements are waited for before what is left goes to the spool."""
