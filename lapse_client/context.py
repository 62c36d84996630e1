"""Whose request is being served: a context variable that middleware fills from cookies and `Sec-GPC`.

What a cookie says a person once chose is here for your own decisions (set a cookie, load a script, publish at
all). It is never repeated as a new statement: a stale cookie would grant again what was withdrawn since.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from http.cookies import CookieError, SimpleCookie

ID_COOKIE = "__Host-lapse-id"
CONSENT_COOKIE = "lapse-consent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One request's person, as far as the browser says; `signals` are `gpc` and `dnt`."""

    cookie_id: str | None = field(default=None, repr=False)
    consents: Mapping[str, bool] = field(default_factory=dict, repr=False)
    signals: tuple[str, ...] = ()
    ip: str | None = field(default=None, repr=False)
    user_agent: str | None = field(default=None, repr=False)

    def consented(self, purpose: str) -> bool:
        """Whether the browser remembers a grant for this purpose."""
        return self.consents.get(purpose, False)


_NOBODY = Visit()
_current: ContextVar[Visit | None] = ContextVar("lapse_visit", default=None)


def current() -> Visit:
    """The visit being served; an empty one outside a request."""
    return _current.get() or _NOBODY


@contextmanager
def visit(served: Visit) -> Iterator[Visit]:
    """Serve a visit: what is published inside knows its cookie, address, agent and signals."""
    token = _current.set(served)
    try:
        yield served
    finally:
        _current.reset(token)


def enter(served: Visit) -> object:
    """Begin a visit where no `with` can stand; hand the answer to `leave`."""
    return _current.set(served)


def leave(token: object) -> None:
    """End what `enter` began."""
    _current.reset(token)  # type: ignore[arg-type]  # opaque to callers


def read_visit(headers: Mapping[str, str], cookies: Mapping[str, str], ip: str | None) -> Visit:
    """A visit from a request's headers (lower-case names), its cookies and its address."""
    signals: tuple[str, ...] = ()
    if headers.get("dnt", "").strip() == "1":
        signals = ("gpc", "dnt")
    elif headers.get("sec-gpc", "").strip() == "1":
        signals = ("gpc",)
    return Visit(
        cookie_id=cookies.get(ID_COOKIE) or None,
        consents=read_consents(cookies.get(CONSENT_COOKIE, "")),
        signals=signals,
        ip=ip,
        user_agent=headers.get("user-agent"),
    )


def read_cookies(text: str) -> dict[str, str]:
    """A Cookie header's pairs; none where it cannot be read."""
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(text).items()}
    except CookieError:
        return {}


def read_consents(text: str) -> dict[str, bool]:
    """`analytics:1.targeting:0` as a mapping; what does not read so is left out."""
    pairs = (part.partition(":") for part in text.split("."))
    return {name: value == "1" for name, _, value in pairs if name and value in {"0", "1"}}


def write_consents(consents: Mapping[str, bool]) -> str:
    """What `read_consents` reads, for the cookie you set after a choice."""
    return ".".join(f"{name}:{int(granted)}" for name, granted in sorted(consents.items()))


def without_identity(served: Visit) -> Visit:
    """The same visit, nobody's: for what must not be tied to a browser."""
    return replace(served, cookie_id=None, ip=None, user_agent=None)
