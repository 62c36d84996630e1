"""For Django: `lapse_client.middleware.django.visit_middleware` in MIDDLEWARE; sync and async views alike."""

import inspect
from collections.abc import Callable
from typing import Any

from lapse_client.context import Visit, read_visit, visit


def _visit_of(request: Any) -> Visit:
    headers = {name.lower(): value for name, value in request.headers.items()}
    return read_visit(headers, request.COOKIES, request.META.get("REMOTE_ADDR"))


def visit_middleware(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Serve each request as its visit."""
    if inspect.iscoroutinefunction(get_response):

        async def serve_async(request: Any) -> Any:
            with visit(_visit_of(request)):
                return await get_response(request)

        return serve_async

    def serve(request: Any) -> Any:
        with visit(_visit_of(request)):
            return get_response(request)

    return serve


# What Django's `sync_and_async_middleware` sets: both kinds of views are served without a change of thread.
for _capability in ("sync_capable", "async_capable"):
    setattr(visit_middleware, _capability, True)
