"""A grammar of HTTP requests, mostly wrong ones; the same seed gives the same requests."""

from __future__ import annotations

import gzip
import json
import random
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

CANARY = "zq9fuzz"
"""Stands in every value sent: no answer and no log line may repeat it."""
METHODS = ("GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH", "TRACE", "QUERY")
ODD = (
    "", "\x00", "\x1b[31m", "\u202e", "٣", "\ud800", "=cmd|' /C calc'!A0", "${jndi:ldap://x}", "{{7*7}}",
    "' OR 1=1--", "../../etc/passwd", "%s%n", "NaN", "1e999", "-1", "9" * 400, "<b>", "\r\nX-Injected: 1",
)  # fmt: skip
PATHS: Mapping[str, tuple[str, ...]] = {
    "collector": (
        "/f/request-demo", "/f/newsletter", "/f/{x}", "/e", "/s", "/c", "/u/{x}", "/o/{x}.gif", "/policy",
        "/healthz", "/readyz", "/.well-known/gpc.json", "/openapi.json", "/{x}", "/f/{x}/{x}",
    ),
    "keys": (
        "/v1/keys", "/v1/receipts", "/v1/callbacks/{x}/{x}", "/v1/callbacks/partner/{h}", "/healthz",
        "/openapi.json", "/schemas/ids/{n}", "/schemas/ids/{x}", "/v1/{x}", "/in/partner", "/in/{x}",
    ),
    "admin": (
        "/v1/lag", "/v1/tasks", "/v1/events/{h}", "/v1/events/{x}", "/v1/plans/{n}", "/v1/plans/{x}",
        "/healthz", "/openapi.json", "/v1/{x}",
    ),
}  # fmt: skip
MEDIA = (
    "application/json", "text/plain", "application/x-www-form-urlencoded", "application/xml", "",
    "multipart/form-data; boundary=b", "application/json; charset=utf-16", "multipart/form-data",
)  # fmt: skip


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def _deflate(data: bytes) -> bytes:
    return zlib.compress(data)


_PACKED: Mapping[str, Callable[[bytes], bytes]] = {"gzip": _gzip, "deflate": _deflate}


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the attacker was given."""

    site_key: str
    site_token: str
    processor: str
    admin: str

    def bearer(self, rng: random.Random, server: str) -> str:
        """One of them, mostly the right one, or a forgery."""
        if rng.random() < 0.6:
            return {"collector": self.site_token, "keys": self.processor, "admin": self.admin}[server]
        forged = (f"lk_crm_{CANARY}", f"st_www_{CANARY}", CANARY, "", "é")
        return rng.choice((self.site_token, self.processor, self.admin) * 4 + forged)


class Grammar:
    """Writes requests."""

    def __init__(self, seed: int, credentials: Credentials) -> None:
        self._rng = random.Random(seed)
        self._credentials = credentials

    def request(self, server: str) -> tuple[bytes, bool]:
        """The bytes to send, and whether they are one whole request after which the connection may go on."""
        rng = self._rng
        if rng.random() < 0.7:
            return self._one(server, last=False), True
        data = self._one(server, last=True)
        if rng.random() < 0.3:
            data = self._one(server, last=False) + data
        return (self._damaged(data) if rng.random() < 0.5 else data), False

    def _one(self, server: str, *, last: bool) -> bytes:
        rng = self._rng
        path = self._path(server)
        usual = (
            "POST" if path.startswith(("/f/", "/e", "/s", "/c", "/v1/keys", "/v1/rec", "/v1/call")) else "GET"
        )
        method = usual if rng.random() < 0.85 else rng.choice(METHODS)
        body, media, encoding = self._body(server)
        length, framed = (
            self._framed(body) if method not in ("GET", "HEAD") or rng.random() < 0.1 else ([], b"")
        )
        lines = ["host: localhost"] * rng.choice((1,) * 60 + (0, 2))
        lines += self._headers(server)
        lines += [f"content-type: {media}"] if media else []
        lines += [f"content-encoding: {encoding}"] if encoding else []
        lines += [*length, *(["connection: close"] if last else [])]
        rng.shuffle(lines)
        version = rng.choice(("1.1",) * 80 + ("1.0", "2.0", "1.9"))
        head = "\r\n".join([f"{method} {path} HTTP/{version}", *lines])
        return head.encode("utf-8", "surrogatepass") + b"\r\n\r\n" + framed

    def _path(self, server: str) -> str:
        rng = self._rng
        path = rng.choice(PATHS[server])
        for hole, fill in (("{x}", self._word), ("{h}", self._hex), ("{n}", self._number)):
            while hole in path:
                path = path.replace(hole, quote(fill(), safe="%/.", errors="surrogatepass"), 1)
        query = [f"k={self._credentials.site_key}"] * (rng.random() < 0.7)
        query += [rng.choice(("dry_run=1", "ids=1", "ids=1", f"x={CANARY}", "%zz", "a=%ff", "a&" * 30))] * (
            rng.random() < 0.3
        )
        return path + ("?" + "&".join(query) if query else "")

    def _headers(self, server: str) -> list[str]:
        rng = self._rng
        found = []
        if rng.random() < 0.6:
            scheme = rng.choice(("Bearer",) * 5 + ("bearer", "Basic", ""))
            found.append(f"authorization: {scheme} {self._credentials.bearer(rng, server)}")
        odd: list[Callable[[], str]] = [
            lambda: f"user-agent: {CANARY}{rng.choice(('', chr(27) + '[2J'))}",
            lambda: f"accept: text/html, {CANARY}",
            lambda: "sec-fetch-mode: navigate",
            lambda: f"origin: https://{CANARY}.example",
            lambda: f"x-forwarded-for: {CANARY}, ::ffff:127.0.0.1",
            lambda: f"idempotency-key: {self._word()}".split("\r")[0],
            lambda: f"x-{rng.randrange(99)}: {'v' * rng.randrange(3000)}",
            lambda: f"cookie: a={CANARY}",
            lambda: "expect: 100-continue",
            lambda: "upgrade: websocket\r\nconnection: upgrade",
            lambda: f"webhook-id: {CANARY}\r\nwebhook-timestamp: 1\r\nwebhook-signature: v1,{CANARY}",
            lambda: rng.choice((" folded: x", "a b: c", ": x", "x-a: b")),
            lambda: "sec-gpc: 1",
        ]
        return found + [rng.choice(odd)() for _ in range(rng.choice((0, 0, 0, 0, 1, 1, 3)))]

    # ---- bodies --------------------------------------------------------------------------------------------
    def _body(self, server: str) -> tuple[bytes, str, str]:
        rng = self._rng
        media = rng.choice(("application/json",) * 6 + MEDIA)
        if media.startswith("multipart"):
            data = self._multipart()
        elif "urlencoded" in media:
            data = "&".join(
                f"{quote(self._name())}={quote(self._word(), errors='surrogatepass')}" for _ in range(5)
            ).encode()
        else:
            data = json.dumps(self._document(server)).encode("utf-8", "surrogatepass")
        if rng.random() < 0.02:
            data = b'{"fields":' + b"[" * 20_000
        if rng.random() < 0.02:
            data += b" " * rng.choice((65_536, 200_000))
        encoding = rng.choice(("",) * 12 + ("gzip", "deflate", "br", "identity"))
        packed = _PACKED.get(encoding)
        return (packed(data) if packed else data), media, encoding

    def _multipart(self) -> bytes:
        rng = self._rng
        parts = []
        for _ in range(rng.randrange(4)):
            name, file = self._name(), '; filename="x"' * (rng.random() < 0.1)
            head = f'--b\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
            parts.append(head.encode() + self._word().encode("utf-8", "surrogatepass") + b"\r\n")
        return b"".join(parts) + b"--b--\r\n" * (rng.random() < 0.9)

    def _framed(self, body: bytes) -> tuple[list[str], bytes]:
        rng = self._rng
        kind = rng.random()
        if kind < 0.8:
            return [f"content-length: {len(body)}"], body
        if kind < 0.92:
            size = max(1, rng.randrange(1, 9000))
            pieces = [body[at : at + size] for at in range(0, len(body), size)]
            chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
            trailer = b"x-forwarded-for: 1.2.3.4\r\n" * (rng.random() < 0.3)
            return ["transfer-encoding: chunked"], chunks + b"0\r\n" + trailer + b"\r\n"
        wrong = rng.choice(
            (f"content-length: {len(body) + rng.choice((-1, 7))}", "content-length: x", "x: y")
        )
        return [wrong], body

    def _document(self, server: str) -> object:
        rng = self._rng
        if server == "keys":
            return {
                rng.choice(("deliveries", "receipts", "x")): [
                    self._asked() for _ in range(rng.choice((0, 1, 2, 501)))
                ]
            }
        fields = {self._name(): self._value(2) for _ in range(rng.randrange(6))}
        consent = {
            "purpose": rng.choice(("marketing_email", self._word())),
            "granted": rng.choice((True, 1, self._word())),
        }
        event = {
            "name": self._value(1),
            "url": self._value(1),
            "properties": fields,
            "cookie_id": self._word(),
        }
        members: dict[str, Any] = {
            "fields": fields,
            "consents": [consent] * rng.randrange(3),
            "events": [event] * rng.choice((1, 2, 51)),
            "identifiers": [{"kind": rng.choice(("email", "x")), "value": self._word()}],
            "event_id": self._hex(),
            "collected_at": rng.choice(("2026-01-01T00:00:00Z", self._word(), 10**30, -1)),
            "rendered_at": rng.choice((0, 10**17, "1e5", self._value(0))),
            "signals": ["gpc", self._word()],
            "body": {"type": "AnchorReached", "anchor": "account_closed", "reached_at": self._word()},
        }
        chosen = rng.sample(sorted(members), rng.randrange(1, 4))
        return self._value(3) if rng.random() < 0.1 else {name: members[name] for name in chosen}

    def _asked(self) -> dict[str, Any]:
        rng = self._rng
        wrap = {
            "purpose": self._word(),
            "period": rng.choice((1, -(2**63), 2**70)),
            "terms": rng.choice((0, -1)),
        }
        wrap |= {"handle": self._hex(), "key": rng.choice(("A" * 54 + "==", self._word()))}
        delivery = {"delivery_id": self._hex(), "revision": 1, "source": "form/x"}
        receipt = {
            "about": self._hex(),
            "outcome": rng.choice(("delivered", self._word())),
            "at": self._word(),
        }
        return rng.choice((receipt, {**delivery, "compartments": [{"n": 0, "wraps": [wrap]}]}))

    # ---- words ---------------------------------------------------------------------------------------------
    def _name(self) -> str:
        known = ("email", "name", "company", "message", "website", "consent.marketing_email", "event_id")
        return self._rng.choice((*known, *known, f"{CANARY}@x", f"a {CANARY}"))

    def _word(self) -> str:
        rng = self._rng
        return rng.choice((CANARY, f"jo.{CANARY}@example.org", f"{CANARY}{rng.choice(ODD)}", rng.choice(ODD)))

    def _hex(self) -> str:
        rng = self._rng
        return rng.choice((f"{rng.getrandbits(128):032x}", "0" * 32, "F" * 32, "0" * 31, self._word()))

    def _number(self) -> str:
        return self._rng.choice(("1", "0", "-1", "7", "99999999999999999999", "1.0", "٣", self._word()))

    def _value(self, depth: int) -> object:
        rng = self._rng
        plain: list[object] = [
            self._word(),
            rng.randrange(-(2**70), 2**70),
            None,
            True,
            1.5e300,
            "x" * rng.randrange(40_000),
        ]
        if not depth:
            return rng.choice(plain)
        nested = [[self._value(depth - 1)], {self._name(): self._value(depth - 1)}]
        return rng.choice([self._word(), self._word(), *plain[1:], *nested])

    def _damaged(self, data: bytes) -> bytes:
        rng = self._rng
        at = rng.randrange(len(data))
        how = rng.randrange(4)
        if how == 0:
            return data[:at]
        if how == 1:
            return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
        if how == 2:
            return data[:at] + data[at : at + 40] * 3 + data[at + 40 :]
        return data[:at] + rng.randbytes(8) + data[at:]
