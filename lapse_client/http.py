"""Publishing through the collector: forms one by one over kept connections, browser events in batches."""

import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import httpx
import msgspec

from lapse_client.errors import Turned, Undelivered
from lapse_client.policy import Policy
from lapse_client.records import ConsentStated, CookieObserved, EmailOpened, FormSubmitted, Publishable
from lapse_client.transport import Result

# httpx imports it with its first client: on the publisher's thread, where a fork would catch it half done.
import_module("httpcore")

_EVENTS = 50
_BYTES = 60_000
_LATER = frozenset({408, 425, 429, 500, 502, 503, 504})
_Numbered = tuple[int, Publishable]


class HttpTransport:
    """One collector, spoken to as one site with its bearer token (`st_<site>_...`)."""

    def __init__(self, url: str, token: str, *, timeout: float = 10.0, connections: int = 8) -> None:
        self._http = httpx.Client(
            base_url=url,
            timeout=timeout,
            headers={"authorization": f"Bearer {token}"},
            limits=httpx.Limits(max_connections=connections),
        )
        self._connections = connections

    def send(self, batch: Sequence[Publishable]) -> list[Result]:
        """Send all, as many at once as there are connections."""
        results: list[Result] = [Undelivered("it was not sent", code="unavailable")] * len(batch)
        requests = _requests(batch)
        lock = threading.Lock()

        def work() -> None:
            while True:
                with lock:
                    if not requests:
                        return
                    request = requests.pop(0)
                for number, result in self._post(request):
                    results[number] = result

        helpers = _start(work, min(self._connections, len(requests)) - 1)
        work()
        for helper in helpers:
            helper.join()
        return results

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _post(self, events: list[_Numbered]) -> list[tuple[int, Result]]:
        path, document = _document([event for _, event in events])
        result = self._one(path, document)
        if isinstance(result, Turned) and len(events) > 1:
            # One bad event must not take its neighbours with it: their ids make a second try safe.
            return [answer for event in events for answer in self._post([event])]
        return [(number, result) for number, _ in events]

    def _one(self, path: str, document: dict[str, Any]) -> Result:
        if not path:
            return Turned("mail opens go over Kafka, or through the collector's pixel", code="bad_argument")
        body = msgspec.json.encode(document)
        try:
            answer = self._http.post(path, content=body, headers={"content-type": "application/json"})
        except httpx.HTTPError as error:
            return Undelivered(f"the collector did not answer: {type(error).__name__}", code="unavailable")
        return _result(answer)


def _start(work: Callable[[], None], count: int) -> list[threading.Thread]:
    """Helpers for one batch; fewer, or none, where the interpreter is ending and starts no more threads."""
    helpers: list[threading.Thread] = []
    for _ in range(count):
        helper = threading.Thread(target=work, name="lapse-http", daemon=True)
        try:
            helper.start()
        except RuntimeError:
            break
        helpers.append(helper)
    return helpers


def _requests(batch: Sequence[Publishable]) -> list[list[_Numbered]]:
    """What goes into one request: browser events together, everything else alone."""
    requests: list[list[_Numbered]] = []
    beacons: list[_Numbered] = []
    size = 0
    for numbered in enumerate(batch):
        if not isinstance(numbered[1], CookieObserved):
            requests.append([numbered])
            continue
        length = len(msgspec.json.encode(_cookie(numbered[1])))
        if beacons and (len(beacons) == _EVENTS or size + length > _BYTES):
            requests.append(beacons)
            beacons, size = [], 0
        beacons.append(numbered)
        size += length
    return [*requests, beacons] if beacons else requests


def _document(events: Sequence[Publishable]) -> tuple[str, dict[str, Any]]:
    """Address and JSON of one request; no address where HTTP has no way for the event."""
    first = events[0]
    match first:
        case FormSubmitted():
            return f"/f/{first.form}", _form(first)
        case ConsentStated():
            return "/s", _consent(first)
        case EmailOpened():
            return "", {}
        case CookieObserved():
            cookies = [event for event in events if isinstance(event, CookieObserved)]
            return "/e", {"events": [_cookie(event) for event in cookies]}


def _form(event: FormSubmitted) -> dict[str, Any]:
    return {
        "event_id": event.event_id.hex(),
        "collected_at": event.collected_at,
        "fields": event.fields,
        "consents": event.consents,
        "notice": event.notice,
        "signals": event.signals,
        "backfill": event.backfill,
    }


def _cookie(event: CookieObserved) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(event, builtin_types=(bytes,))
    return document | {"event_id": event.event_id.hex()}


def _consent(event: ConsentStated) -> dict[str, Any]:
    return {
        "event_id": event.event_id.hex(),
        "collected_at": event.collected_at,
        "identifiers": event.identifiers,
        "via": event.via,
        "consents": event.consents,
    }


def _result(answer: httpx.Response) -> Result:
    if answer.is_success:
        return None
    try:
        problem = msgspec.json.decode(answer.content, type=_Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        problem = _Problem()
    code = problem.type.rpartition(":")[2] or f"http_{answer.status_code}"
    if answer.status_code in _LATER:
        wait = answer.headers.get("retry-after", "")
        return Undelivered(
            "the collector asks to wait", code=code, retry_after=float(wait) if wait.isdigit() else 0.0
        )
    return Turned("the collector refused the event", code=code, where=problem.pointer)


class _Problem(msgspec.Struct, frozen=True, kw_only=True):
    type: str = ""
    pointer: str = ""


def fetch_policy(url: str, *, timeout: float = 10.0) -> Policy:
    """The collector's public summary of the policy in force; Undelivered where it does not answer."""
    try:
        answer = httpx.get(f"{url.rstrip('/')}/policy", timeout=timeout)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise Undelivered(
            f"the collector did not answer: {type(error).__name__}", code="unavailable"
        ) from None
    return Policy.from_json(answer.content)
