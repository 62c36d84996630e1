"""What every route works with, in one place."""

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from lapse.collector.access import Credentials, SiteCredential, client_address
from lapse.collector.arrival import Arrival, browser_signals
from lapse.collector.delivery import Delivery
from lapse.collector.http import Problem, Request
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


@dataclass(slots=True, kw_only=True)
class Edge:
    """The collector's parts; `plans` is asked at each request, so a published policy takes effect at once:
    its sites too, whose credentials are looked up when the policy changes.
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
    _named: list[PolicyPlan] = field(init=False, repr=False, default_factory=list)
    _credentials: Credentials = field(init=False, repr=False, default=Credentials(()))

    def __post_init__(self) -> None:
        limits = self.settings.limits
        self.form_rates = Rates(limits.form_rate, limits.form_burst)
        self.beacon_rates = Rates(limits.beacon_rate, limits.beacon_burst)

    @property
    def credentials(self) -> Credentials:
        """Those of the sites that the policy in force names, or one about to be."""
        named = [self.plan(), self.plans().latest]
        if list(map(id, named)) != list(map(id, self._named)):
            sites = frozenset(site for plan in named for site in plan.sites)
            self._named, self._credentials = named, Credentials(self.site_credentials(sites))
        return self._credentials

    def plan(self) -> PolicyPlan:
        """The policy in force now, or the first one where it is still to come."""
        plans = self.plans()
        if not len(plans):
            raise Unavailable("unavailable", "no policy is published yet")
        return plans.today(self.now())

    def address(self, peer: str | None, forwarded: str | None) -> str | None:
        """Where a request comes from, as far as trusted proxies say."""
        return client_address(peer, forwarded, self.settings.trusted_proxies)

    def arrival(self, request: Request) -> Arrival:
        """Who sent a request and under which circumstances; raises Problem 400 or 401."""
        site, server = self.credentials.site_of(request)
        key = request.headers.get("idempotency-key")
        if key is not None and not 0 < len(key) <= LONGEST_KEY:
            raise Problem(400, "malformed", f"an Idempotency-Key has 1 to {LONGEST_KEY} characters")
        return Arrival(
            site=site,
            server=server,
            at=self.now(),
            plan=self.plan(),
            address=request.address,
            user_agent=request.headers.get("user-agent"),
            signals=browser_signals(request.headers),
            idempotency_key=key,
        )
