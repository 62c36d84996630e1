"""Redaction jobs: Stripe's own removal of a person from payments, invoices, events and logs.

A public preview. A job validates, waits to be run, redacts and is done: days, or a quarter where a payment is
younger than 90 days. Running is irreversible. Sources: docs.stripe.com/privacy/redaction,
docs.stripe.com/api/privacy/redaction-job.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import quote

from processors.answers import Answer, Done, Retry
from processors.http import Reply, Stopped
from processors.stripe.api import Api, good
from processors.stripe.settings import StripeSettings
from processors.stripe.wire import Pairs, error_code, evidence, idempotency_key, missing, replayed
from schemas.ids import Micros
from schemas.times import DAY, SECOND

JOBS = "/v1/privacy/redaction_jobs"
OBJECTS = 10
"""A job takes so many objects (docs.stripe.com/privacy/redaction/example)."""
_TIME_MENDS = frozenset({"invalid_state", "locked_by_other_job"})
"""What stands in a job's way only for a while: payments under 90 days, open intents, another job."""


class Redaction:
    """The redaction jobs of one account."""

    def __init__(
        self, api: Api, settings: StripeSettings, *, processor: str, wall: Callable[[], Micros]
    ) -> None:
        self._api, self._settings, self._processor, self._wall = api, settings, processor, wall

    @property
    def allowed(self) -> bool:
        """Whether jobs may be made at all."""
        return bool(self._settings.redaction_version)

    async def order(self, customers: Sequence[str]) -> Done | None:
        """Make a job for a person's customers, the same job if asked again; None where Stripe makes none."""
        named = list(customers)[:OBJECTS]
        fix = "fix" if self._settings.redaction_fix else "error"
        pairs = [("objects[customers][]", each) for each in named] + [("validation_behavior", fix)]
        key = idempotency_key(self._processor, "redact", fix, *named)
        reply = await self._post(JOBS, pairs, key)
        if reply.status in (400, 403, 404) and error_code(reply) is not None:
            return None  # no access to the preview, or not for these
        job = (good(reply).object or {}).get("id")
        if not isinstance(job, str) or not job:
            raise Stopped(Retry(code="vendor_answer"))
        return Done(outcome="accepted_async", evidence=evidence(reply), request=job)

    async def follow(self, job: str) -> Answer:
        """Push a job on by one step and say how it stands."""
        where = f"{JOBS}/{quote(job, safe='')}"
        reply = await self._api.get(where, version=self._settings.redaction_version)
        if missing(reply):
            return Done(outcome="manual_required", evidence=evidence(reply))
        said = good(reply).object or {}
        match said.get("status"):
            case "succeeded":
                return Done(outcome="completed", evidence=evidence(reply))
            case "ready":
                good(await self._post(f"{where}/run", [], idempotency_key(job, "run")))
                return Retry(code="vendor_busy", well=True)
            case "failed":
                return await self._failed(job, where, reply, said.get("created"))
            case "canceling" | "canceled":
                return Done(outcome="manual_required", evidence=evidence(reply))
            case "created" | "validating" | "redacting":
                return Retry(code="vendor_busy", well=True)
        return Retry(code="vendor_answer")

    async def _failed(self, job: str, where: str, reply: Reply, created: object) -> Answer:
        """Validation found obstacles: wait for what time mends, leave the rest to a person."""
        errors = await self._api.get(f"{where}/validation_errors", version=self._settings.redaction_version)
        found = (good(errors).object or {}).get("data")
        if not isinstance(found, list):
            raise Stopped(Retry(code="vendor_answer"))
        codes = {str(each.get("code")) for each in found if isinstance(each, dict)}
        began = created if isinstance(created, int) else 0
        over = self._wall() > Micros((began * SECOND) + self._settings.redaction_days * DAY)
        if over or not codes <= _TIME_MENDS:
            return Done(outcome="manual_required", evidence=evidence(reply))
        # A day's validation has a day's key: an answer that was lost starts no second one.
        again = idempotency_key(job, "validate", str(self._wall() // DAY))
        asked = await self._post(f"{where}/validate", [], again)
        if not replayed(asked):
            good(asked)
        return Retry(code="vendor_busy", after=DAY, well=True)

    async def _post(self, path: str, pairs: Pairs, key: str) -> Reply:
        return await self._api.post(path, pairs, key=key, version=self._settings.redaction_version)
