"""Schema ids of a Confluent-compatible registry, for a Lapse whose log carries those and not the catalogue's.

Plain HTTP/1.1 without proxies or redirects; what was answered once is kept, since ids never change.
"""

import http.client
import json
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lapse_client.errors import Invalid, Undelivered

_TYPE = "application/vnd.schemaregistry.v1+json"
_MOST = 1 << 20
_NAMESPACE = "lapse.v1."


class Registry:
    """A registry, or for reading the key endpoint, which answers as one; `ca_file` is its authority's."""

    def __init__(self, url: str, *, ca_file: str | Path | None = None, timeout: float = 5.0) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Invalid("not the address of a registry", code="bad_argument", where="registry")
        self._host, self._port, self._path = parts.hostname, parts.port, parts.path.rstrip("/")
        self._tls = ssl.create_default_context(cafile=ca_file) if parts.scheme == "https" else None
        self._timeout = timeout
        self._ids: dict[str, int] = {}
        self._names: dict[int, str] = {}

    def id_of(self, name: str, schema: dict[str, Any]) -> int:
        """The id this version of a record is registered under; Undelivered where it cannot be told."""
        if name not in self._ids:
            # Compact, as Lapse registers it: some registries give other white space another id.
            text = json.dumps(schema, separators=(",", ":"), ensure_ascii=False)
            found = self._call("POST", f"/subjects/{_NAMESPACE}{name}", {"schema": text})
            self._ids[name] = int(found["id"])
        return self._ids[name]

    def name_of(self, schema_id: int) -> str:
        """The name of the record behind an id, without its namespace; Undelivered where it cannot be told."""
        if schema_id not in self._names:
            found = json.loads(self._call("GET", f"/schemas/ids/{schema_id}")["schema"])
            full = f"{found.get('namespace', '')}.{found['name']}".lstrip(".")
            self._names[schema_id] = full.removeprefix(_NAMESPACE)
        return self._names[schema_id]

    def _call(self, method: str, path: str, body: dict[str, str] | None = None) -> dict[str, Any]:
        connection = (
            http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=self._tls)
            if self._tls
            else http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        )
        try:
            content = None if body is None else json.dumps(body).encode()
            connection.request(method, self._path + path, content, {"Content-Type": _TYPE, "Accept": _TYPE})
            with connection.getresponse() as answer:
                status, text = answer.status, answer.read(_MOST)
            if status == http.client.OK:
                return dict(json.loads(text))
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Undelivered(
                f"no answer from the registry ({type(error).__name__})", code="unavailable"
            ) from None
        finally:
            connection.close()
        raise Undelivered(f"the registry answered {status}", code="unavailable")
