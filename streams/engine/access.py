"""Where Kafka is and who we are there: one frozen value, spelled for Faust and for librdkafka."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import faust

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaAccess:
    """Bootstrap list (`host:port,...`), protocol, with SASL the mechanism and a principal's credentials."""

    bootstrap: str
    protocol: Protocol = "PLAINTEXT"
    mechanism: str = "SCRAM-SHA-512"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca: Path | None = None

    def __post_init__(self) -> None:
        if self.protocol.startswith("SASL") and not (self.username and self.password):
            raise ValueError("SASL needs a username and a password")

    def faust_settings(self) -> dict[str, Any]:
        """`broker` and `broker_credentials` of a Faust app, on the chunk transport."""
        urls = [f"chunk://{server.strip()}" for server in self.bootstrap.split(",")]
        return {"broker": urls, "broker_credentials": self._credentials()}

    def aiokafka_settings(self) -> dict[str, Any]:
        """Keyword arguments of an aiokafka client."""
        settings: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap,
            "security_protocol": self.protocol,
            "ssl_context": self._ssl_context(),
        }
        if self.protocol.startswith("SASL"):
            settings |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password,
            }
        return settings

    def librdkafka(self) -> dict[str, Any]:
        """Configuration of a confluent-kafka client."""
        conf: dict[str, Any] = {"bootstrap.servers": self.bootstrap, "security.protocol": self.protocol}
        if self.protocol.startswith("SASL"):
            conf |= {
                "sasl.mechanism": self.mechanism,
                "sasl.username": self.username,
                "sasl.password": self.password,
            }
        if self.ca is not None:
            conf["ssl.ca.location"] = str(self.ca)
        return conf

    def _credentials(self) -> Any:
        context = self._ssl_context()
        if self.protocol.startswith("SASL"):
            return faust.SASLCredentials(
                mechanism=self.mechanism,
                username=self.username,
                password=self.password,
                ssl_context=context,
            )
        return None if context is None else faust.SSLCredentials(context=context)

    def _ssl_context(self) -> ssl.SSLContext | None:
        if not self.protocol.endswith("SSL"):
            return None
        return ssl.create_default_context(cafile=None if self.ca is None else str(self.ca))
