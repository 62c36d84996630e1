"""Where a Kafka is and who logs in there: frozen values, and their spelling for each client library."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """A Kafka user and its password; the password stays out of every repr."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokerAddress:
    """A cluster's bootstrap list (`host:port,...`) and how it wants to be spoken to."""

    bootstrap: str
    protocol: Protocol = "PLAINTEXT"
    mechanism: Mechanism | None = None
    ca: Path | None = None
    cluster_id: str | None = None

    @property
    def secured(self) -> bool:
        """Whether clients authenticate; without it nothing but the network keeps anybody out."""
        return self.mechanism is not None

    def kafka_python(self, login: Credentials | None = None) -> dict[str, Any]:
        """Keyword arguments of kafka-python's clients."""
        return {
            "bootstrap_servers": self.bootstrap.split(","),
            "security_protocol": self.protocol,
            **({"ssl_cafile": str(self.ca)} if self.ca else {}),
            **self._sasl(login, "sasl_mechanism", "sasl_plain_username", "sasl_plain_password"),
        }

    def librdkafka(self, login: Credentials | None = None) -> dict[str, str]:
        """Configuration of confluent-kafka's clients."""
        return {
            "bootstrap.servers": self.bootstrap,
            "security.protocol": self.protocol,
            **({"ssl.ca.location": str(self.ca)} if self.ca else {}),
            **self._sasl(login, "sasl.mechanism", "sasl.username", "sasl.password"),
        }

    def aiokafka(self, login: Credentials | None = None) -> dict[str, Any]:
        """Keyword arguments of aiokafka's clients, but for an `ssl_context` the caller makes from `ca`."""
        return {
            "bootstrap_servers": self.bootstrap,
            "security_protocol": self.protocol,
            **self._sasl(login, "sasl_mechanism", "sasl_plain_username", "sasl_plain_password"),
        }

    def _sasl(
        self, login: Credentials | None, mechanism: str, username: str, password: str
    ) -> dict[str, str]:
        if self.mechanism is None or login is None:
            return {}
        return {mechanism: self.mechanism, username: login.username, password: login.password}
