"""A Confluent-compatible schema registry (Confluent, Apicurio, Karapace) as the source of schema ids.

Used when LAPSE_REGISTRY is set: then any client with that registry reads what we write, and we read what it
registered. Subjects are record names (RecordNameStrategy), since one topic carries several records. The
client speaks plain HTTP/1.1: it follows no redirect, heeds no proxy variable, reads a bounded answer and
gives up in time, so that a wrong address cannot lead it anywhere else. It blocks: register at start, not in
the flow; an id seen for the first time costs one call, after that none.
"""

import http.client
import json
import ssl
import time
from base64 import b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from schemas.catalogue import NAMESPACE, Catalogue
from schemas.errors import BadInput, LapseError, NotFound, Refused, Rejected, Unavailable

MAX_ANSWER = 1 << 20
"""Longest answer read, in bytes."""
UNKNOWN_SECONDS = 30.0
"""How long an id nobody knew is not asked for again, so that garbage on a topic cannot flood the registry."""
UNKNOWN_IDS = 1000
"""How many such ids are remembered."""
CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"


class Registry:
    """Schema ids of the catalogue's records from a registry; cached for ever, since ids never change."""

    def __init__(
        self,
        url: str,
        catalogue: Catalogue | None = None,
        *,
        timeout: float = 5.0,
        tls: ssl.SSLContext | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._site = _Site(url, timeout, tls)
        self._catalogue = catalogue or Catalogue.load()
        self._monotonic = monotonic
        self._ids: dict[str, int] = {}
        self._schemas: dict[int, dict[str, Any]] = {}
        self._unknown: dict[int, float] = {}

    def register(self) -> dict[str, int]:
        """Register every version of every record under its compatibility rule; return the newest ids by name.

        Refused `incompatible_schema` where the registry holds versions that ours would break.
        """
        for name, rule in {entry.name: entry.rule for entry in self._catalogue.entries.values()}.items():
            subject = _subject(name)
            first, *later = self._catalogue.versions(name)
            # The rule follows the first version: some registries know no subject before it has one.
            newest = self._register(subject, first)
            self._site.call("PUT", f"/config/{subject}", {"compatibility": rule})
            for schema in later:
                newest = self._register(subject, schema)
            self._ids[name] = newest
        return dict(self._ids)

    def id_of(self, name: str) -> int:
        """Return the id of the newest version of a record; NotFound where it was never registered."""
        known = self._ids.get(name)
        if known is None:
            schema = self._catalogue.schema(self._catalogue.id_of(name))
            answer = self._site.call("POST", f"/subjects/{_subject(name)}", {"schema": _text(schema)})
            known = self._ids[name] = _id(answer)
        return known

    def schema(self, schema_id: int) -> dict[str, Any]:
        """Return the schema of an id; Rejected `schema_unknown` where the registry has none."""
        known = self._schemas.get(schema_id)
        if known is None:
            known = self._schemas[schema_id] = self._fetch(schema_id)
        return known

    def _register(self, subject: str, schema: dict[str, Any]) -> int:
        return _id(self._site.call("POST", f"/subjects/{subject}/versions", {"schema": _text(schema)}))

    def _fetch(self, schema_id: int) -> dict[str, Any]:
        if self._unknown.get(schema_id, 0.0) > self._monotonic():
            raise _unknown()
        try:
            answer = self._site.call("GET", f"/schemas/ids/{schema_id}")
        except NotFound:
            if len(self._unknown) >= UNKNOWN_IDS:
                self._unknown.clear()
            self._unknown[schema_id] = self._monotonic() + UNKNOWN_SECONDS
            raise _unknown() from None
        return _schema(answer)


class _Site:
    """Where the registry is: one call, one connection, every foreign error translated."""

    def __init__(self, url: str, timeout: float, tls: ssl.SSLContext | None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise BadInput(
                "bad_argument", "not the address of a registry", "LAPSE_REGISTRY", "http(s)://host/path"
            )
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port
        self._path = parts.path.rstrip("/")
        self._timeout = timeout
        self._tls = tls
        self._headers = {"Accept": CONTENT_TYPE, "Content-Type": CONTENT_TYPE}
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = "Basic " + b64encode(login.encode()).decode()

    def call(self, method: str, path: str, body: dict[str, str] | None = None) -> dict[str, Any]:
        """Return the registry's answer; LapseError by status, Unavailable where none came."""
        content = None if body is None else json.dumps(body).encode()
        connection = self._connect()
        try:
            connection.request(method, self._path + path, content, self._headers)
            with connection.getresponse() as answer:
                status, text = answer.status, answer.read(MAX_ANSWER + 1)
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(
                "unavailable", f"no answer from the schema registry ({type(error).__name__})", path
            ) from error
        finally:
            connection.close()
        if status != http.client.OK:
            raise _translated(status, path)
        return _object(text, path)

    def _connect(self) -> http.client.HTTPConnection:
        if self._secure:
            return http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout, context=self._tls
            )
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)


def _translated(status: int, path: str) -> LapseError:
    """Return our error for a status of the registry's API (its 422 is a schema it cannot parse)."""
    table: dict[int, tuple[type[LapseError], str, str]] = {
        401: (Refused, "unauthorized", "the registry does not accept our credential"),
        403: (Refused, "forbidden", "the registry does not let us do this"),
        404: (NotFound, "not_found", "the registry does not know it"),
        409: (Refused, "incompatible_schema", "the registry holds versions this schema would break"),
        422: (BadInput, "schema_mismatch", "the registry cannot parse the schema"),
    }
    kind, code, what = table.get(status, (Unavailable, "unavailable", f"the registry answered {status}"))
    return kind(code, what, path)


def _object(text: bytes, path: str) -> dict[str, Any]:
    try:
        found = json.loads(text) if len(text) <= MAX_ANSWER else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Unavailable(
            "unavailable", "the registry's answer is not a JSON object", path, "check LAPSE_REGISTRY"
        )
    return found


def _id(answer: dict[str, Any]) -> int:
    found = answer.get("id")
    if not isinstance(found, int):
        raise Unavailable("unavailable", "the registry's answer names no id", "id", "check LAPSE_REGISTRY")
    return found


def _schema(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an Avro record's schema; anything else under an id is nothing we could read."""
    try:
        found = json.loads(answer["schema"])
    except (KeyError, TypeError, ValueError):
        found = None
    if not isinstance(found, dict) or found.get("type") != "record":
        raise _unknown()
    return found


def _unknown() -> Rejected:
    return Rejected("schema_unknown", "the schema id is not in the registry", "schema id")


def _subject(name: str) -> str:
    return quote(f"{NAMESPACE}.{name}", safe="")


def _text(schema: dict[str, Any]) -> str:
    """Return the schema as compact text: registries give other whitespace another id."""
    return json.dumps(schema, separators=(",", ":"), ensure_ascii=False)
