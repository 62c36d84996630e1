"""Does a broker's certificate hold? Asked with Python's own TLS, because it can say why not.

librdkafka has one sentence for an unknown authority, another host and a certificate out of date; kafka-python
and aiokafka repeat the handshake until their time-out. All of them refuse what is refused here.
"""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from lapse.broker.connection import BrokerAddress
from schemas.errors import BadInput, Refused

_HOSTNAME, _ADDRESS = 62, 64
_NOT_YET, _EXPIRED = 9, 10
"""OpenSSL's numbers (X509_V_ERR_*), which Python passes on."""


def examine(address: BrokerAddress, *, timeout: float) -> None:
    """Shake hands with the first server of the list that listens.

    Raises `BadInput` where the authority's file is none, `Refused` where the certificate does not hold.
    Silence and other protocols are left to whoever asks next.
    """
    context = _context(address.ca)
    for place in address.bootstrap.split(","):
        host, _, port = place.strip().rpartition(":")
        name = host.strip("[]")
        try:
            with (
                socket.create_connection((name, int(port)), timeout) as connection,
                context.wrap_socket(connection, server_hostname=name),
            ):
                return
        except ssl.SSLCertVerificationError as error:
            what, do = _said(error.verify_code)
            raise Refused(code="untrusted_certificate", what=what, where=place.strip(), do=do) from None
        except (OSError, ValueError):
            continue


def _context(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca) if ca else None)
    except (OSError, ssl.SSLError):
        raise BadInput(
            code="bad_setting",
            what="this file holds no certificate of an authority, or cannot be read",
            where=str(ca),
            do="LAPSE_BOOTSTRAP_CA must name a PEM file",
        ) from None


def _said(verify_code: int) -> tuple[str, str]:
    if verify_code in (_HOSTNAME, _ADDRESS):
        what = "Kafka's certificate is for another host"
        return what, "name the host as the certificate does, or let one be issued for this name"
    if verify_code in (_NOT_YET, _EXPIRED):
        return "Kafka's certificate is not valid at this time", "renew it, or set this host's clock"
    what = "Kafka's certificate is not signed by the authority that was given"
    return what, "LAPSE_BOOTSTRAP_CA must name the file of the authority that signed it"
