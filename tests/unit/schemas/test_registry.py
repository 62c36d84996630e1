"""The registry client against a server on loopback that answers as registries do, and as they should not."""

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from schemas import catalogue, registry
from schemas.catalogue import Catalogue, Entry
from schemas.codec import Codec
from schemas.errors import BadInput, LapseError, NotFound, Refused, Rejected, Unavailable
from schemas.ids import EventId, Micros
from schemas.models import EmailOpened
from schemas.registry import Registry

CATALOGUE = Catalogue.load()
FIRST_ID = 100


class Server:
    """Speaks the four calls of Confluent's API that we use; `answer` replaces what it says."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.subjects: dict[str, list[int]] = {}
        self.texts: dict[int, str] = {}
        self.rules: dict[str, str] = {}
        self.calls: list[tuple[str, str]] = []
        self.logins: set[str | None] = set()
        self.answer: tuple[int, bytes, dict[str, str]] | None = None
        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        if tls:
            self.httpd.socket = tls.wrap_socket(self.httpd.socket, server_side=True)
        self.port = self.httpd.server_address[1]
        threading.Thread(target=self.httpd.serve_forever, args=(0.01,), daemon=True).start()

    def client(self, *, kept: Catalogue = CATALOGUE, **options: Any) -> Registry:
        """Return a fresh client, whose caches are empty."""
        return Registry(f"http://127.0.0.1:{self.port}/api/", kept, **options)

    def respond(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Answer one call as a registry does."""
        match [method, *path.removeprefix("/api/").split("/")]:
            case ["POST", "subjects", subject, "versions"]:
                return 200, {"id": self.registered(subject, body["schema"])}
            case ["POST", "subjects", subject]:
                found = [i for i in self.subjects.get(subject, []) if self.texts[i] == body["schema"]]
                return (200, {"id": found[0]}) if found else (404, {"error_code": 40401})
            case ["PUT", "config", subject]:
                self.rules[subject] = body["compatibility"]
                return 200, body
            case ["GET", "schemas", "ids", number] if int(number) in self.texts:
                return 200, {"schema": self.texts[int(number)]}
        return 404, {"error_code": 40403}

    def registered(self, subject: str, text: str) -> int:
        """Register a schema text as it is, and return its id."""
        ids = self.subjects.setdefault(subject, [])
        known = [i for i in ids if self.texts[i] == text]
        if not known:
            known = [FIRST_ID + len(self.texts)]
            self.texts[known[0]] = text
            ids += known
        return known[0]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                server.calls.append((self.command, self.path))
                server.logins.add(self.headers.get("Authorization"))
                status, found = server.respond(self.command, self.path, json.loads(body or b"{}"))
                status, content, headers = server.answer or (status, json.dumps(found).encode(), {})
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = _any

            def log_message(self, format: str, *args: Any) -> None:
                """Stay silent."""

        return Handler


@pytest.fixture
def server() -> Iterator[Server]:
    """Return a running registry, empty."""
    running = Server()
    yield running
    running.httpd.shutdown()
    running.httpd.server_close()


def test_registering_gives_ids_that_others_resolve(server: Server) -> None:
    """Every record is registered once under its rule; a fresh client finds the same ids and schemas."""
    ids = server.client().register()
    assert ids == server.client().register()
    assert set(ids) == set(CATALOGUE.latest())
    assert server.rules["lapse.v1.FormSubmitted"] == "BACKWARD_TRANSITIVE"
    assert server.rules["lapse.v1.Depersonalized"] == "FULL_TRANSITIVE"
    other = server.client()
    assert {name: other.id_of(name) for name in ids} == ids
    assert all(other.schema(ids[name]) == CATALOGUE.schema(CATALOGUE.id_of(name)) for name in ids)


def test_answers_are_cached(server: Server) -> None:
    """An id is asked for once, whatever happens to the registry afterwards."""
    ids = server.client().register()
    client = server.client()
    server.calls.clear()
    for _ in range(3):
        client.id_of("EmailOpened")
        client.schema(ids["EmailOpened"])
    assert len(server.calls) == 2


def test_the_codec_writes_and_reads_the_registrys_ids(server: Server) -> None:
    """With a registry the id before a record is the registry's, and its newer schemas are read too."""
    client = server.client()
    ids = client.register()
    opened = EmailOpened(
        event_id=EventId(b"e" * 16), collected_at=Micros(1), site="www", token="t", open_kind="direct"
    )
    using = Codec(client)
    data = using.encode(opened)
    assert int.from_bytes(data[1:5], "big") == ids["EmailOpened"] >= FIRST_ID
    assert using.decode(data) == opened
    newer = CATALOGUE.schema(CATALOGUE.id_of("EmailOpened"))
    newer["fields"].append({"name": "more", "type": "string", "default": ""})
    number = server.registered("lapse.v1.EmailOpened", json.dumps(newer))
    assert using.decode(number.to_bytes(5, "big") + data[5:] + b"\x02x") == opened


def test_every_version_isregistered_in_order(server: Server, tmp_path: Path) -> None:
    """Two versions are two ids; the newer one is what we write, and the rule stands before it comes."""
    text = (catalogue.FOLDER / "avro/EmailOpened.v1.avsc").read_text()
    (tmp_path / "avro").mkdir()
    (tmp_path / "avro/EmailOpened.v1.avsc").write_text(text)
    (tmp_path / "avro/EmailOpened.v2.avsc").write_text(text.replace('"doc": "A mail', '"doc": "Some mail'))
    entries: dict[int, Entry] = {}
    for file in ("EmailOpened.v1.avsc", "EmailOpened.v2.avsc"):
        entries = catalogue.add(entries, file, (tmp_path / "avro" / file).read_bytes(), ["intake.email-open"])
    ids = server.client(kept=Catalogue(entries, tmp_path)).register()
    assert ids == {"EmailOpened": FIRST_ID + 1}
    assert [method for method, _ in server.calls] == ["POST", "PUT", "POST"]


def test_what_was_neverregistered_is_not_found(server: Server) -> None:
    """A client alone registers nothing; it says so."""
    with pytest.raises(NotFound):
        server.client().id_of("EmailOpened")
    with pytest.raises(BadInput):
        server.client().id_of("Nonsense")


def test_unknown_ids_are_not_asked_for_again_soon(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Garbage with made-up ids costs one call per id and half a minute; what is remembered is bounded."""
    now = [0.0]
    client = server.client(monotonic=lambda: now[0])
    monkeypatch.setattr(registry, "UNKNOWN_IDS", 2)

    def asks(schema_id: int) -> int:
        before = len(server.calls)
        with pytest.raises(Rejected, match="schema_unknown"):
            client.schema(schema_id)
        return len(server.calls) - before

    assert [asks(1), asks(1), asks(2), asks(1)] == [1, 0, 1, 0]
    now[0] += registry.UNKNOWN_SECONDS + 1
    assert asks(1) == 1
    assert [asks(3), asks(1), asks(4), asks(1)] == [1, 0, 1, 1]


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (401, Refused, "unauthorized"),
        (403, Refused, "forbidden"),
        (404, NotFound, "not_found"),
        (409, Refused, "incompatible_schema"),
        (422, BadInput, "schema_mismatch"),
        (500, Unavailable, "unavailable"),
        (503, Unavailable, "unavailable"),
        (302, Unavailable, "unavailable"),
    ],
)
def test_every_status_is_one_of_our_errors(
    server: Server, status: int, kind: type[LapseError], code: str
) -> None:
    """A refusal is told from an outage; a redirect is followed nowhere."""
    server.answer = (status, b"{}", {"Location": f"http://127.0.0.1:{server.port}/secret"})
    with pytest.raises(kind) as caught:
        server.client().register()
    assert caught.value.code == code
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>", b"[]", b"{}", b'{"id": "7"}', b'{"id": 7, "x": "' + b"x" * registry.MAX_ANSWER + b'"}'],
)
def test_an_answer_that_is_none_is_an_outage(server: Server, content: bytes) -> None:
    """Text that is no JSON object, has no id or never ends is not believed."""
    server.answer = (200, content, {})
    with pytest.raises(Unavailable, match="LAPSE_REGISTRY"):
        server.client().id_of("EmailOpened")


@pytest.mark.parametrize(
    "content", [b"{}", b'{"schema": 7}', b'{"schema": "{"}', b'{"schema": "\\"string\\""}']
)
def test_an_id_of_something_else_is_unknown(server: Server, content: bytes) -> None:
    """Protobuf, JSON schemas and plain types may lie in the same registry; they are none of ours."""
    server.answer = (200, content, {})
    with pytest.raises(Rejected, match="schema_unknown"):
        server.client().schema(1)


def test_a_login_stays_out_of_errors(server: Server) -> None:
    """User and password of the address go into the header, never into a message."""
    client = Registry(f"http://ann:s%40crXt@127.0.0.1:{server.port}", CATALOGUE)
    server.answer = (401, b"{}", {})
    with pytest.raises(Refused) as caught:
        client.id_of("EmailOpened")
    assert "crXt" not in str(caught.value)
    assert server.logins == {"Basic YW5uOnNAY3JYdA=="}
    only_user = Registry(f"http://ann@127.0.0.1:{server.port}", CATALOGUE)
    with pytest.raises(Refused):
        only_user.id_of("EmailOpened")
    assert "Basic YW5uOg==" in server.logins


@pytest.mark.parametrize(
    "url",
    ["", "registry:8081", "file:///etc/passwd", "ftp://host/", "http://", "http://host/?x=1", "http://h/#f"],
)
def test_only_http_addresses_are_taken(url: str) -> None:
    """An address that is none is told at start."""
    with pytest.raises(BadInput, match="LAPSE_REGISTRY"):
        Registry(url, CATALOGUE)


def test_nobody_there_is_an_outage() -> None:
    """A refused connection and one that never answers are Unavailable, in time."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(Unavailable, match="TimeoutError"):
            Registry(f"http://127.0.0.1:{port}", CATALOGUE, timeout=0.05).schema(1)
    with pytest.raises(Unavailable, match="ConnectionRefusedError"):
        Registry(f"http://127.0.0.1:{port}", CATALOGUE).schema(1)


def test_a_server_that_speaks_something_else_is_an_outage() -> None:
    """Bytes that are no HTTP are no answer."""
    with socket.create_server(("127.0.0.1", 0)) as strange:

        def answer() -> None:
            connection, _ = strange.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"220 mail.example ESMTP\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(Unavailable, match="BadStatusLine"):
            Registry(f"http://127.0.0.1:{strange.getsockname()[1]}", CATALOGUE).schema(1)
        thread.join()


def test_tls_is_verified(tmp_path: Path) -> None:
    """An https registry is believed under its authority alone."""
    _self_signed(tmp_path / "pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pem")
    server = Server(context)
    try:
        url = f"https://127.0.0.1:{server.port}/api"
        trusting = ssl.create_default_context(cafile=str(tmp_path / "pem"))
        ids = Registry(url, CATALOGUE, tls=trusting).register()
        assert ids["FormSubmitted"] == FIRST_ID
        with pytest.raises(Unavailable, match="SSLCertVerificationError"):
            Registry(url, CATALOGUE).schema(FIRST_ID)
    finally:
        server.httpd.shutdown()
        server.httpd.server_close()


def _self_signed(path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "registry")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    path.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain) + certificate.public_bytes(pem)
    )
