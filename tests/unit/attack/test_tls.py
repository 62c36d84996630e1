"""TLS of the key endpoint and the admin API: with what init made, and with nothing older than 1.2."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
import stat

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from lapse import endpoints
from lapse.certificates import SERVER_DAYS, issue
from tests.unit.attack.servers import Servers

pytestmark = pytest.mark.asyncio(loop_scope="module")
ENDPOINTS = ("keys", "admin")
OLD_CIPHERS = "ALL:eNULL:aNULL:@SECLEVEL=0"
"""Everything OpenSSL has, so that what fails is the server's no."""


def trusting(servers: Servers) -> ssl.SSLContext:
    """A client that trusts the installation's authority."""
    return ssl.create_default_context(cafile=str(servers.layout.ca))


async def spoken(servers: Servers, name: str, context: ssl.SSLContext, host: str = "localhost") -> str:
    """Shake hands and return the version agreed on."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", servers[name].port, ssl=context, server_hostname=host
    )
    del reader
    try:
        return str(writer.get_extra_info("ssl_object").version())
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("name", ENDPOINTS)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_1_2_and_1_3_are_spoken(servers: Servers, name: str, version: ssl.TLSVersion) -> None:
    """Both, with the certificate checked against the authority and the name."""
    context = trusting(servers)
    context.minimum_version = context.maximum_version = version
    assert await spoken(servers, name, context) == version.name.replace("_", ".")


@pytest.mark.parametrize("name", ENDPOINTS)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")  # that they are old is the point
async def test_older_versions_and_unauthenticated_ciphers_are_refused(servers: Servers, name: str) -> None:
    """The server ends the handshake, though the client would take anything."""
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_ciphers(OLD_CIPHERS)
        context.minimum_version = context.maximum_version = version
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await spoken(servers, name, context)
    anonymous = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anonymous.check_hostname, anonymous.verify_mode = False, ssl.CERT_NONE
    anonymous.maximum_version = ssl.TLSVersion.TLSv1_2
    anonymous.set_ciphers("aNULL:eNULL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await spoken(servers, name, anonymous)


@pytest.mark.parametrize("name", ENDPOINTS)
async def test_who_checks_the_certificate_notices_another_server(servers: Servers, name: str) -> None:
    """Another authority, or another name than the certificate's, ends the handshake at the client."""
    stranger = ssl.create_default_context()
    with pytest.raises(ssl.SSLCertVerificationError):
        await spoken(servers, name, stranger)
    with pytest.raises(ssl.SSLCertVerificationError):
        await spoken(servers, name, trusting(servers), "keys.example.com")


@pytest.mark.parametrize("name", ENDPOINTS)
async def test_a_request_in_clear_is_not_answered(servers: Servers, name: str) -> None:
    """Whoever forgets the s of https sends a token in clear once, and is told by silence."""
    reader, writer = await asyncio.open_connection("127.0.0.1", servers[name].port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"HTTP/" not in await asyncio.wait_for(reader.read(), 15)
    writer.close()


async def test_the_servers_context_is_pinned_not_left_to_the_platform(servers: Servers) -> None:
    """Whatever the system's OpenSSL would allow by default."""
    layout = servers.layout
    config = endpoints.configuration(
        lambda *_: None,  # type: ignore[arg-type]  # nothing is asked of it
        host="127.0.0.1",
        port=0,
        certificate=layout.tls_certificate,
        key=layout.tls_key,
    )
    assert config.ssl is not None
    assert config.ssl.minimum_version == ssl.TLSVersion.TLSv1_2
    assert config.ssl.options & ssl.OP_NO_RENEGOTIATION


async def test_what_init_made_is_narrow_and_private(servers: Servers) -> None:
    """A server's certificate for this host, for 825 days; the authority's key is nowhere; 0600 and 0700."""
    layout = servers.layout
    found = x509.load_pem_x509_certificate(layout.tls_certificate.read_bytes())
    usage = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert found.not_valid_after_utc - found.not_valid_before_utc <= dt.timedelta(days=SERVER_DAYS, hours=1)
    own = serialization.load_pem_private_key(layout.tls_key.read_bytes(), None)
    assert own.public_key() == found.public_key()
    authority = x509.load_pem_x509_certificate(layout.ca.read_bytes())
    assert authority.public_key() != found.public_key(), "its key was forgotten: nobody can sign another"
    pem = [path for path in layout.root.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]
    assert pem == [layout.tls_key]
    for path in (layout.root, *layout.root.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


async def test_an_expired_certificate_is_expired_to_every_client() -> None:
    """Nothing extends it but a new one; `lapse doctor` says so a month before."""
    long_ago = dt.datetime.now(dt.UTC) - dt.timedelta(days=SERVER_DAYS + 2)
    issued = x509.load_pem_x509_certificate(issue(("localhost",), long_ago).certificate)
    assert issued.not_valid_after_utc < dt.datetime.now(dt.UTC)
