"""Bodies: read under limits of size and time, then parsed into JSON values or pairs of texts."""

import asyncio
from collections.abc import Callable
from typing import Any, Literal
from urllib.parse import unquote_to_bytes

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from lapse.collector.http import CLOSE, Problem, Request
from lapse.collector.settings import Limits
from schemas.models import Clear

Pairs = list[tuple[str, str]]
Media = Literal["json", "urlencoded", "multipart", "text"]
_MEDIA: dict[str, Media] = {
    "application/json": "json",
    "application/x-www-form-urlencoded": "urlencoded",
    "multipart/form-data": "multipart",
    "text/plain": "text",
}
_USUAL: dict[str, Media] = {
    **_MEDIA,
    "application/json; charset=utf-8": "json",
    "application/x-www-form-urlencoded; charset=UTF-8": "urlencoded",
    "text/plain;charset=UTF-8": "text",
}
"""What browsers and clients write, letter for letter, and needs no reading."""


class _Gone(Exception):
    pass


class Body(Clear, frozen=True, kw_only=True):
    """A whole body, its media type and, for multipart, its boundary."""

    media: Media
    data: bytes
    boundary: bytes = b""


def media_of(request: Request, allowed: tuple[Media, ...]) -> tuple[Media, bytes]:
    """Media type and boundary; raises Problem 415 for another type, charset or any content encoding."""
    if request.headers.get("content-encoding", "identity").strip().lower() not in {"identity", ""}:
        raise Problem(415, "media_type", "send the body without a content encoding")
    said = request.headers.get("content-type", "")
    usual = _USUAL.get(said)
    if usual is not None and usual in allowed and usual != "multipart":
        return usual, b""
    kind, options = parse_options_header(said)
    media = _MEDIA.get(kind.decode("latin-1").lower())
    if media not in allowed or media is None:
        raise Problem(415, "media_type", "this media type is not taken here")
    if options.get(b"charset", b"utf-8").strip(b"\"' ").lower() not in {b"utf-8", b"utf8", b"us-ascii"}:
        raise Problem(415, "media_type", "send the body in UTF-8")
    boundary = options.get(b"boundary", b"")
    if media == "multipart" and not 0 < len(boundary) <= 70:
        raise Problem(400, "malformed", "a multipart body needs a boundary of 1 to 70 characters")
    return media, boundary


async def read_body(request: Request, limits: Limits, allowed: tuple[Media, ...]) -> Body:
    """Read at most the limit; raises Problem 408, 411, 413, 415 or 400."""
    length = request.headers.get("content-length")
    if length is None and "transfer-encoding" not in request.headers:
        raise Problem(411, "length_required", "say how long the body is, or send it chunked")
    if length is not None and length.isascii() and length.isdigit() and int(length) > limits.body_bytes:
        raise _too_large(limits)
    media, boundary = media_of(request, allowed)
    # Most bodies came with their headers: then nothing has to be waited for, and no timer set.
    data = request.exchange.whole() if request.exchange is not None else None
    try:
        if data is None:
            data = await _collect(request, limits)
    except TimeoutError:
        raise Problem(408, "timeout", "the body did not come in time", headers=(CLOSE,)) from None
    except _Gone:
        raise Problem(400, "malformed", "the body ended too early", headers=(CLOSE,)) from None
    if len(data) > limits.body_bytes:
        raise _too_large(limits)
    return Body(media=media, data=data, boundary=boundary)


async def _collect(request: Request, limits: Limits) -> bytes:
    chunks, size, more = [], 0, True
    loop = asyncio.get_running_loop()
    end = loop.time() + limits.body_seconds
    async with asyncio.timeout_at(end) as deadline:
        while more:
            deadline.reschedule(min(end, loop.time() + limits.body_idle_seconds))
            message = await request.receive()
            if message["type"] != "http.request":
                raise _Gone
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > limits.body_bytes:
                raise _too_large(limits)
            chunks.append(chunk)
            more = message.get("more_body", False)
    return b"".join(chunks)


def _too_large(limits: Limits) -> Problem:
    return Problem(
        413, "too_large", f"at most {limits.body_bytes} bytes and {limits.fields} fields are taken"
    )


def read_json(data: bytes) -> dict[str, Any]:
    """A JSON object; raises Problem 400 where the bytes are no JSON and 422 where they are no object."""
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Problem(400, "malformed", "the body is not JSON in UTF-8") from None
    if not isinstance(value, dict):
        raise Problem(422, "bad_argument", "the body must be a JSON object")
    return value


def read_pairs(body: Body, limits: Limits) -> Pairs:
    """Names and values of an urlencoded or multipart body, in order; raises Problem 400, 413 or 415."""
    pairs = _multipart(body, limits) if body.media == "multipart" else _urlencoded(body.data, limits)
    try:
        return [(name.decode(), value.decode()) for name, value in pairs]
    except UnicodeDecodeError:
        raise Problem(400, "malformed", "the body is not UTF-8") from None


def _urlencoded(data: bytes, limits: Limits) -> list[tuple[bytes, bytes]]:
    parts = [part for part in data.split(b"&") if part]
    if len(parts) > limits.fields:
        raise _too_large(limits)
    halves = (part.replace(b"+", b" ").partition(b"=") for part in parts)
    return [(unquote_to_bytes(name), unquote_to_bytes(value)) for name, _, value in halves]


class _Parts:
    """Collects the parts of a multipart body from the parser's callbacks."""

    def __init__(self, limits: Limits) -> None:
        self.pairs: list[tuple[bytes, bytes]] = []
        self.ended = False
        self._limits = limits
        self._field, self._value = b"", b""
        self._disposition, self._charset = b"", b""
        self._data: list[bytes] = []
        self._name: bytes | None = None
        self._skip = False

    def callbacks(self) -> dict[str, Callable[..., None]]:
        """What the parser calls."""
        return {
            "on_part_begin": self._part_begin,
            "on_header_begin": self._header_begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._part_data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }

    def _part_begin(self) -> None:
        if len(self.pairs) >= self._limits.fields:
            raise _too_large(self._limits)
        self._disposition, self._data, self._name, self._skip = b"", [], None, False

    def _header_begin(self) -> None:
        self._field, self._value = b"", b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value

    def _headers_finished(self) -> None:
        kind, options = parse_options_header(self._disposition)
        if kind != b"form-data" or b"name" not in options:
            raise Problem(400, "malformed", "a part has no name")
        if options.get(b"filename") or b"filename*" in self._disposition.lower():
            raise Problem(415, "media_type", "files are not taken")
        # A file input left empty sends a part with an empty file name: there is nothing in it.
        self._skip = b"filename" in options
        self._name = options[b"name"]

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._skip and end > start:
            raise Problem(415, "media_type", "files are not taken")
        self._data.append(data[start:end])

    def _part_end(self) -> None:
        if self._name is not None and not self._skip:
            self.pairs.append((self._name, b"".join(self._data)))

    def _end(self) -> None:
        self.ended = True


def _multipart(body: Body, limits: Limits) -> list[tuple[bytes, bytes]]:
    parts = _Parts(limits)
    parser = MultipartParser(body.boundary, parts.callbacks())  # type: ignore[arg-type]  # a TypedDict of these
    try:
        parser.write(body.data)
        parser.finalize()
    except FormParserError:
        raise Problem(400, "malformed", "the body is not multipart form data") from None
    if not parts.ended:
        raise Problem(400, "malformed", "the multipart body has no end")
    return parts.pairs
