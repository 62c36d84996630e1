"""What every route works with, in one place."""

import math
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from lapse.collector.access import Credentials, Ranges, SiteCredential, client_address, ranges
from lapse.collector.arrival import Arrival, browser_signals
from lapse.collector.delivery import Delivery
from lapse.collector.http import Address, Problem, Request
from lapse.collector.opens import Sources
from lapse.collector.rates import Rates
from lapse.collector.settings import CollectorSettings
from schemas.errors import Unavailable
from schemas.ids import Micros
from schemas.plan import Plans, PolicyPlan
from vault.tokens import PixelKeys

LONGEST_KEY = 256
SiteCredentials = Callable[[frozenset[str]], Iterable[SiteCredential]]
"""Looks up the credentials of sites by name."""


def wall_clock() -> Micros:
    """The real time, also where the vault's clock is a manual one."""
    return Micros(time.time_ns() // 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class _InForce:
    """The plan in force between two instants, and the credentials of its sites and of those to come."""

    plans: Plans
    plan: PolicyPlan
    latest: PolicyPlan
    credentials: Credentials = field(repr=False)
    since: float
    until: float


@dataclass(slots=True, kw_only=True)
class Edge:
    """The collector's parts; `plans` is asked at each request, so a published policy takes effect at once.

    So do its sites, whose credentials are looked up when the policy changes.
    """

    settings: CollectorSettings
    plans: Callable[[], Plans]
    delivery: Delivery
    site_credentials: SiteCredentials = field(repr=False)
    pixel_keys: PixelKeys
    sources: Sources
    now: Callable[[], Micros] = wall_clock
    random: Callable[[int], bytes] = os.urandom
    draining: bool = False
    """Set when the process is asked to stop: readiness fails first."""
    form_rates: Rates = field(init=False)
    beacon_rates: Rates = field(init=False)
    _proxies: Ranges = field(init=False, repr=False)
    _known: _InForce | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        self._proxies = ranges(self.settings.trusted_proxies)
        limits = self.settings.limits
        self.form_rates = Rates(limits.form_rate, limits.form_burst)
        self.beacon_rates = Rates(limits.beacon_rate, limits.beacon_burst)

    @property
    def credentials(self) -> Credentials:
        """Those of the sites that the policy in force names, or one about to be."""
        return self._in_force(self.now()).credentials

    def plan(self) -> PolicyPlan:
        """The policy in force now, or the first one where it is still to come."""
        return self._in_force(self.now()).plan

    def _in_force(self, at: Micros) -> _InForce:
        """What holds at an instant; worked out again when a policy is published or takes effect."""
        plans, known = self.plans(), self._known
        if known is not None and known.plans is plans and known.since <= at < known.until:
            return known
        if not len(plans):
            raise Unavailable("unavailable", "no policy is published yet")
        self._known = known = self._learn(plans, at)
        return known

    def _learn(self, plans: Plans, at: Micros) -> _InForce:
        plan, latest, known = plans.today(at), plans.latest, self._known
        credentials = known.credentials if known and known.plan is plan and known.latest is latest else None
        if credentials is None:
            credentials = Credentials(self.site_credentials(frozenset((*plan.sites, *latest.sites))))
        turns = [each.effective for each in plans]
        return _InForce(
            plans=plans,
            plan=plan,
            latest=latest,
            credentials=credentials,
            since=max((turn for turn in turns if turn <= at), default=-math.inf),
            until=min((turn for turn in turns if turn > at), default=math.inf),
        )

    def address(self, peer: str | None, forwarded: str | None) -> Address | None:
        """Where a request comes from, as far as trusted proxies say."""
        return client_address(peer, forwarded, self._proxies)

    def arrival(self, request: Request) -> Arrival:
        """Who sent a request and under which circumstances; raises Problem 400 or 401."""
        at = self.now()
        known = self._in_force(at)
        site, server = known.credentials.site_of(request)
        key = request.headers.get("idempotency-key")
        if key is not None and not 0 < len(key) <= LONGEST_KEY:
            raise Problem(400, "malformed", f"an Idempotency-Key has 1 to {LONGEST_KEY} characters")
        return Arrival(
            site=site,
            server=server,
            at=at,
            plan=known.plan,
            address=request.address.text if request.address else None,
            user_agent=request.headers.get("user-agent"),
            signals=browser_signals(request.headers),
            idempotency_key=key,
        )
