"""The settings of a process: the only place that reads the environment (prefix `LAPSE_`)."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What may differ between two installations; the policy and the data folder say the rest."""

    model_config = SettingsConfigDict(
        env_prefix="LAPSE_", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    data: Path | None = Field(default=None, description="The data folder, when `--data` is not given.")
    bootstrap: str | None = Field(
        default=None, description="host:port of a Kafka to use instead of the embedded one."
    )
    bootstrap_user: str | None = Field(
        default=None, description="SCRAM-SHA-512 user of that Kafka who may create topics, users and ACLs."
    )
    bootstrap_password: SecretStr | None = Field(default=None, description="The password of that user.")
    bootstrap_password_file: Path | None = Field(
        default=None, description="File that holds the password, so that no environment shows it."
    )
    bootstrap_ca: Path | None = Field(
        default=None,
        description="PEM file of the authority that signed that Kafka's certificate; turns TLS on.",
    )
    vault: SecretStr | None = Field(
        default=None,
        description="postgresql://user@host/database of the vault; unset: SQLite in the data folder.",
    )
    vault_password_file: Path | None = Field(
        default=None, description="File that holds the password of that database's user."
    )
    kafka_libs: Path | None = Field(default=None, description="Folder with the jars of the embedded Kafka.")
    registry: str | None = Field(
        default=None,
        description="http(s) address of a Confluent-compatible schema registry to take ids from.",
    )
    trusted_proxies: str = Field(
        default="", description="Comma-separated addresses or networks whose X-Forwarded-For counts."
    )
    apple_egress: Path | None = Field(
        default=None, description="Apple's list of Private Relay egress ranges (egress-ip-ranges.csv)."
    )
    google_networks: Path | None = Field(default=None, description="Google's address ranges, one a line.")
    scanners: Path | None = Field(default=None, description="Networks of known mail scanners, one a line.")
    officer: str | None = Field(
        default=None, description="Mail address of the privacy officer, who is told of tasks."
    )
    smtp: str | None = Field(
        default=None, description="smtps://host:port or smtp://host:port (STARTTLS) of the mail server."
    )
    smtp_user: str | None = Field(default=None, description="Who logs in at the mail server.")
    smtp_password_file: Path | None = Field(default=None, description="File that holds that user's password.")
    mail_from: str | None = Field(
        default=None, description="Sender of these mails; the officer's own address where unset."
    )
    nursery: bool = Field(
        default=True,
        description="Fork roles from one process that has imported what they share; off: start each plainly.",
    )
    native: bool = Field(
        default=True, description="Seal and open in C where that was built; off: in plain Python."
    )
    log_level: str = Field(default="info", description="debug, info, warning or error.")
    fault: str | None = Field(
        default=None, description="Name of a crash point; honoured only on data made by `lapse init --test`."
    )
    partitions: int = Field(default=4, ge=1, le=256, description="Partitions of newly made topics.")
    replication: int | None = Field(
        default=None,
        ge=1,
        le=7,
        description="Replicas of newly made topics; by itself one on each broker, at most 3.",
    )
    allow_private_webhooks: bool = Field(
        default=False, description="Let webhook addresses be private or loopback ones (a test set-up)."
    )

    @model_validator(mode="after")
    def _credentials_come_whole(self) -> Settings:
        if self.bootstrap_password is not None and self.bootstrap_password_file is not None:
            raise ValueError("set LAPSE_BOOTSTRAP_PASSWORD or LAPSE_BOOTSTRAP_PASSWORD_FILE, not both")
        password = self.bootstrap_password or self.bootstrap_password_file
        if (self.bootstrap_user is None) != (password is None):
            raise ValueError(
                "LAPSE_BOOTSTRAP_USER and LAPSE_BOOTSTRAP_PASSWORD (or ..._FILE) must be set together"
            )
        if self.bootstrap_user and not self.bootstrap:
            raise ValueError("LAPSE_BOOTSTRAP_USER is set, but not LAPSE_BOOTSTRAP")
        return self

    @model_validator(mode="after")
    def _mail_comes_whole(self) -> Settings:
        if (self.officer is None) != (self.smtp is None):
            raise ValueError("LAPSE_OFFICER and LAPSE_SMTP must be set together")
        if (self.smtp_user is None) != (self.smtp_password_file is None):
            raise ValueError("LAPSE_SMTP_USER and LAPSE_SMTP_PASSWORD_FILE must be set together")
        return self
