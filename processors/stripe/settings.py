"""How one Stripe account is called: what the policy says and what its credentials file holds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from processors.choices import flag, text, whole
from schemas.errors import BadInput

BASE_URL = "https://api.stripe.com"
API_VERSION = "2026-06-24.dahlia"
"""The version requests are pinned to, so that a change of the account's default changes nothing here."""
_KEY = re.compile(r"(sk|rk)_(test|live)_[A-Za-z0-9_-]{8,255}", re.ASCII)
_HOOK = re.compile(r"whsec_[A-Za-z0-9+/=_-]{8,255}", re.ASCII)
_VERSION = re.compile(r"20\d\d-\d\d-\d\d(\.[a-z]{1,32})?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class StripeSettings:
    """One account."""

    api_key: str = field(repr=False)
    """A secret or, better, a restricted key: customers write, charges, invoices and payment intents read."""
    webhook_secret: str = field(default="", repr=False)
    """`whsec_...` of the endpoint; two, separated by a blank, while one replaces the other."""
    base_url: str = BASE_URL
    api_version: str = API_VERSION
    redaction_version: str = ""
    """The preview version under which this account may make redaction jobs; without it none are made."""
    redaction_fix: bool = False
    """Whether a job may cancel and detach what stands in its way (intents, payment methods, invoices)."""
    redaction_days: int = 100
    """How long a job that cannot yet run is validated again; payments can be redacted after 90 days."""
    allow_private: bool = False
    """Let http and private addresses pass: for the demo and test set-ups alone."""

    @classmethod
    def read(cls, said: Mapping[str, str | int | bool], secrets: Mapping[str, str]) -> StripeSettings:
        """Return the settings; `BadInput` names what is missing or wrong, never what a secret is."""
        if not _KEY.fullmatch(secrets.get("api_key", "")):
            what, do = "no secret key of Stripe (sk_..., rk_...)", "write api_key into the credentials file"
            raise BadInput("bad_argument", what, "api_key", do)
        hooks = secrets.get("webhook_secret", "").split()
        if not all(map(_HOOK.fullmatch, hooks)):
            what, do = "no signing secret of a webhook endpoint", "copy whsec_... from the endpoint's page"
            raise BadInput("bad_argument", what, "webhook_secret", do)
        return cls(
            api_key=secrets["api_key"],
            webhook_secret=" ".join(hooks),
            base_url=text(said, "base_url", BASE_URL),
            api_version=text(said, "api_version", API_VERSION, _VERSION),
            redaction_version=text(said, "redaction_version", "", _VERSION),
            redaction_fix=flag(said, "redaction_fix", default=False),
            redaction_days=whole(said, "redaction_days", 100, range(1, 366)),
            allow_private=flag(said, "allow_private", default=False),
        )
