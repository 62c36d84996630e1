"""A Kafka that Lapse does not start itself: settings become an address, a log-in and what it can keep."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from lapse.broker.admin import Admin
from lapse.broker.connection import BrokerAddress, Credentials
from lapse.settings import Settings
from schemas.errors import BadInput

MOST_REPLICAS = 3
"""Enough to lose one broker and still acknowledge on two; more costs disk and is an operator's choice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reached:
    """A cluster that has answered: its address with its id, who administers it, how many brokers it has."""

    address: BrokerAddress
    administrator: Credentials | None
    brokers: int = 1


def reached(bootstrap: str, settings: Settings) -> Reached:
    """Return the cluster once it has answered with these settings; errors as those of `Admin`."""
    address, login = as_set(bootstrap, settings), administrator(settings)
    with Admin(address, login) as admin:
        known = replace(address, cluster_id=admin.cluster_id())
        return Reached(address=known, administrator=login, brokers=admin.brokers())


def as_set(bootstrap: str, settings: Settings) -> BrokerAddress:
    """Return how the settings say the cluster wants to be spoken to: a user makes it SASL, a CA file TLS."""
    secured, tls = settings.bootstrap_user is not None, settings.bootstrap_ca is not None
    protocol: Literal["SASL_SSL", "SASL_PLAINTEXT", "SSL", "PLAINTEXT"]
    protocol = ("SASL_SSL" if tls else "SASL_PLAINTEXT") if secured else ("SSL" if tls else "PLAINTEXT")
    return BrokerAddress(
        bootstrap=bootstrap,
        protocol=protocol,
        mechanism="SCRAM-SHA-512" if secured else None,
        # Roles run in other folders; what an operator wrote relative to theirs must still be found.
        ca=settings.bootstrap_ca.resolve() if settings.bootstrap_ca else None,
    )


def administrator(settings: Settings) -> Credentials | None:
    """Return the user who may create topics, users and rights; None on a cluster that asks for none."""
    if settings.bootstrap_user is None:
        return None
    if settings.bootstrap_password is not None:
        password = settings.bootstrap_password.get_secret_value()
    else:
        assert settings.bootstrap_password_file, "a user comes with a password"
        try:
            password = settings.bootstrap_password_file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            where = str(settings.bootstrap_password_file)
            do = "LAPSE_BOOTSTRAP_PASSWORD_FILE must name a file this user can read"
            raise BadInput("bad_setting", "the password's file cannot be read", where, do) from None
    return Credentials(username=settings.bootstrap_user, password=password)


def replicas(wanted: int | None, brokers: int, before: int = 1) -> int:
    """Return how many replicas new topics get: what was set, else one on each broker, at most three.

    Not fewer than `before`, an earlier start's number: a broker that is away for a moment thins nothing out.
    """
    return wanted or max(before, min(MOST_REPLICAS, brokers))
