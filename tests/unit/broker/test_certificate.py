"""A broker's certificate, judged on real handshakes with a server of this process; no Kafka."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from lapse.broker.certificate import examine
from lapse.broker.connection import BrokerAddress
from lapse.certificates import SERVER_DAYS, issue
from schemas.errors import BadInput, Refused

NOW = dt.datetime.now(dt.UTC)


@contextmanager
def serving(folder: Path, now: dt.datetime = NOW) -> Iterator[tuple[int, Path]]:
    """A TLS server with a certificate for 127.0.0.1, issued `now`: its port and its authority's file."""
    issued = issue(("127.0.0.1",), now)
    chain, ca = folder / "server.pem", folder / "ca.pem"
    chain.write_bytes(issued.key + issued.certificate)
    ca.write_bytes(issued.authority)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(5)

        def answer() -> None:
            with (
                suppress(OSError),
                listening.accept()[0] as connection,
                context.wrap_socket(connection, server_side=True) as spoken,
            ):
                spoken.recv(1)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield listening.getsockname()[1], ca
        finally:
            thread.join()


def asked(where: str, ca: Path) -> None:
    """Examine the first server that listens of these."""
    examine(BrokerAddress(bootstrap=where, protocol="SSL", ca=ca), timeout=5)


def test_a_certificate_of_the_authority_for_this_host_holds(tmp_path: Path) -> None:
    """Nothing is said; a server of the list that does not listen is passed over."""
    with serving(tmp_path) as (port, ca):
        asked(f"127.0.0.1:1,127.0.0.1:{port}", ca)


def test_another_authority_is_named(tmp_path: Path) -> None:
    """The sentence names the setting."""
    foreign = tmp_path / "foreign.pem"
    foreign.write_bytes(issue(("127.0.0.1",), NOW).authority)
    with serving(tmp_path) as (port, _), pytest.raises(Refused, match="not signed by the authority") as error:
        asked(f"127.0.0.1:{port}", foreign)
    assert error.value.code == "untrusted_certificate"
    assert error.value.where == f"127.0.0.1:{port}"


def test_another_host_is_named(tmp_path: Path) -> None:
    """The certificate holds, but for another name."""
    with serving(tmp_path) as (port, ca), pytest.raises(Refused, match="for another host"):
        asked(f"localhost:{port}", ca)


@pytest.mark.parametrize("days", [-SERVER_DAYS - 2, 2])
def test_a_certificate_out_of_date_is_named(tmp_path: Path, days: int) -> None:
    """Expired, or not valid yet."""
    when = NOW + dt.timedelta(days=days)
    with serving(tmp_path, when) as (port, ca), pytest.raises(Refused, match="not valid at this time"):
        asked(f"127.0.0.1:{port}", ca)


def test_silence_is_left_to_whoever_asks_next(tmp_path: Path) -> None:
    """A server that speaks no TLS, or none at all, says nothing about a certificate."""
    ca = tmp_path / "ca.pem"
    ca.write_bytes(issue(("127.0.0.1",), NOW).authority)
    asked("127.0.0.1:1", ca)
    with socket.create_server(("127.0.0.1", 0)) as plain:
        thread = threading.Thread(target=lambda: plain.accept()[0].close())
        thread.start()
        asked(f"127.0.0.1:{plain.getsockname()[1]}", ca)
        thread.join()


@pytest.mark.parametrize("text", [None, "no certificate"])
def test_a_file_that_is_no_authority_is_a_bad_setting(tmp_path: Path, text: str | None) -> None:
    """Missing or not PEM: said before anything is connected to."""
    ca = tmp_path / "ca.pem"
    if text is not None:
        ca.write_text(text)
    with pytest.raises(BadInput) as error:
        asked("127.0.0.1:1", ca)
    assert error.value.where == str(ca)
