"""The collector as one ASGI application: a table of routes, and every error as problem details.

Plain ASGI, because there is little to route and a frame-work's request costs as much as everything done here.
"""

from collections.abc import Awaitable, Callable

from lapse.collector import intake, metrics
from lapse.collector.access import cors, preflight
from lapse.collector.edge import Edge
from lapse.collector.http import (
    EXCHANGE,
    Headers,
    Problem,
    Receive,
    Request,
    Response,
    Scope,
    Send,
    json_response,
    read_headers,
    read_query,
)
from lapse.collector.openapi import document
from lapse.collector.pixels import Pixels
from lapse.collector.summary import gpc, summary
from schemas.errors import BadInput, Unavailable

Handler = Callable[[Edge, Request, str], Awaitable[Response]]
_RETRY: Headers = ((b"retry-after", b"5"),)
_PUBLIC: Headers = ((b"access-control-allow-origin", b"*"), (b"cache-control", b"max-age=60"))
_UNSUBSCRIBE = (
    b"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
    b"<title>Unsubscribe</title><body><h1>Unsubscribe</h1><p>You will get no more of these mails.</p>"
    b"<form method=post><input type=hidden name=List-Unsubscribe value=One-Click>"
    b"<button>Unsubscribe</button></form>"
)


async def _health(_edge: Edge, _request: Request, _rest: str) -> Response:
    return json_response(200, {"alive": True})


async def _ready(edge: Edge, _request: Request, _rest: str) -> Response:
    ready = edge.delivery.ready and not edge.draining
    return json_response(200 if ready else 503, {"ready": ready, "spooling": edge.delivery.spooling})


async def _openapi(_edge: Edge, _request: Request, _rest: str) -> Response:
    return json_response(200, document(), _PUBLIC)


async def _gpc(edge: Edge, _request: Request, _rest: str) -> Response:
    return json_response(200, gpc(edge.plan()), _PUBLIC)


async def _policy(edge: Edge, _request: Request, _rest: str) -> Response:
    return json_response(200, summary(edge.plan()), _PUBLIC)


async def _ask(_edge: Edge, _request: Request, _token: str) -> Response:
    """The page behind the link in a mail changes nothing: scanners fetch it too."""
    headers = ((b"cache-control", b"no-store"), (b"referrer-policy", b"no-referrer"))
    return Response(status=200, body=_UNSUBSCRIBE, media_type=b"text/html; charset=utf-8", headers=headers)


_EXACT: dict[str, dict[str, Handler]] = {
    "/e": {"POST": intake.take_beacons},
    "/s": {"POST": intake.take_signal},
    "/c": {"POST": intake.take_signal, "PUT": intake.take_signal},
    "/policy": {"GET": _policy},
    "/openapi.json": {"GET": _openapi},
    "/healthz": {"GET": _health},
    "/readyz": {"GET": _ready},
    "/.well-known/gpc.json": {"GET": _gpc},
}
_PREFIXES: dict[str, dict[str, Handler]] = {
    "/f/": {"POST": intake.take_form},
    "/u/": {"GET": _ask, "POST": intake.unsubscribe},
    "/o/": {},
}
_FROM_BROWSERS = ("/f/", "/e", "/s", "/c")


def routes() -> dict[str, frozenset[str]]:
    """Every address (or prefix) and the methods it takes, but for OPTIONS; pixels are served before them."""
    return {path: frozenset(methods) for path, methods in (_EXACT | _PREFIXES).items()}


def _methods(path: str) -> tuple[dict[str, Handler], str]:
    """The handlers of a path and what follows its prefix; Problem 404 for a path nobody handles."""
    if path in _EXACT:
        return _EXACT[path], ""
    prefix, rest = path[:3], path[3:]
    if prefix in _PREFIXES and rest:
        return _PREFIXES[prefix], rest
    raise Problem(404, "not_found", "there is no such address here")


class CollectorApp:
    """The ASGI callable."""

    def __init__(self, edge: Edge) -> None:
        self.edge = edge
        self.pixels = Pixels(edge)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        if self.pixels.is_one(scope):
            await self.pixels(scope, send)
            return
        response = await self._answer(scope, receive)
        await response.send(send, scope.get(EXCHANGE))

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        request: Request | None = None
        try:
            request = self._request(scope, receive)
            methods, rest = _methods(request.path)
            handler = methods.get(request.method)
            if handler is None:
                response = self._otherwise(request, methods)
            else:
                response = await handler(self.edge, request, rest)
        except Problem as problem:
            metrics.REFUSED.labels(problem.code).inc()
            response = problem.response()
        except Unavailable:
            metrics.REFUSED.labels("unavailable").inc()
            what = "there is nowhere to keep it at the moment"
            response = Problem(503, "unavailable", what, headers=_RETRY).response()
        except BadInput as error:
            metrics.REFUSED.labels(error.code).inc()
            response = Problem(422, error.code, error.what).response()
        return self._readable(response, request)

    def _request(self, scope: Scope, receive: Receive) -> Request:
        headers = read_headers(scope["headers"])
        peer = scope.get("client")
        return Request(
            method=scope["method"],
            path=scope["path"],
            query=read_query(scope["query_string"]),
            headers=headers,
            address=self.edge.address(peer[0] if peer else None, headers.get("x-forwarded-for")),
            receive=receive,
            exchange=scope.get(EXCHANGE),
        )

    def _otherwise(self, request: Request, methods: dict[str, Handler]) -> Response:
        """Answer a preflight, or refuse a method with Problem 405."""
        allowed = ", ".join(("OPTIONS", *methods)).encode()
        if request.method == "OPTIONS" and request.path.startswith(_FROM_BROWSERS):
            site = self.edge.credentials.site_of_key(request)
            headers = preflight(request.headers, self.edge.plan(), site, allowed)
            return Response(status=204, headers=(*headers, (b"allow", allowed)))
        raise Problem(
            405, "bad_method", "this address does not take this method", headers=((b"allow", allowed),)
        )

    def _readable(self, response: Response, request: Request | None) -> Response:
        """The same answer, readable by pages of the site's origins, errors too."""
        if request is None or "origin" not in request.headers or request.method == "OPTIONS":
            return response
        if not request.path.startswith(_FROM_BROWSERS) or not len(self.edge.plans()):
            return response
        headers = cors(request.headers, self.edge.plan(), self.edge.credentials.site_of_key(request))
        return Response(
            status=response.status,
            body=response.body,
            media_type=response.media_type,
            headers=(*response.headers, *headers),
        )


def create_app(edge: Edge) -> CollectorApp:
    """The application on these parts; they are started and stopped by whoever made them."""
    return CollectorApp(edge)
