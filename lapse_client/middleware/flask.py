"""For Flask: `VisitExtension(app)`, or `VisitExtension().init_app(app)` in a factory."""

from typing import Any

from flask import Flask, g, request

from lapse_client.context import enter, leave, read_visit


class VisitExtension:
    """Serves each request as its visit."""

    def __init__(self, app: Flask | None = None) -> None:
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Attach to an application."""
        app.before_request(self._begin)
        app.teardown_request(self._end)

    @staticmethod
    def _begin() -> None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        g.lapse_visit = enter(read_visit(headers, request.cookies, request.remote_addr))

    @staticmethod
    def _end(_error: BaseException | None) -> Any:
        token = g.pop("lapse_visit", None)
        if token is not None:
            leave(token)
