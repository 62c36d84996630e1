"""The vocabulary of a policy: bases, channels, transfer mechanisms, names, and where each comes from."""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import StringConstraints

from schemas.models import Right

Basis = Literal[
    "consent", "contract", "legal_obligation", "legitimate_interests", "legal_claims", "vital", "public_task"
]
"""Why a purpose is lawful: GDPR Art. 6(1)(a) to (f); legal claims (Art. 17(3)(e)) stand apart for erasure."""
Channel = Literal["email", "post", "phone", "web", "chat"]
"""How a person is reached for a purpose; one purpose per channel, so each can be refused alone."""
Signal = Literal["gpc", "dnt"]
"""What a browser says by itself: Global Privacy Control, Do Not Track."""
Connector = Literal["pull", "webhook", "kafka", "stripe", "salesforce", "mailchimp", "kickbox", "jivochat"]
"""How a processor is served; `pull`: it reads its sealed topic itself."""
PixelMode = Literal["individual", "date_only", "aggregate"]
"""What a clear gif may record: each opening, one last-open date per person, or counts per campaign."""
CategoryOfCookies = Literal["necessary", "performance", "functional", "targeting"]
"""The categories of cookies as preference centres name them."""
Assurance = Literal["equal_security", "task_only", "no_disclosure", "notice_if_failing"]
"""What a processor undertakes (GDPR Art. 28(3)); the last one is asked of recipients in third countries."""
Mechanism = Literal[
    "standard_contractual_clauses",
    "binding_corporate_rules",
    "data_privacy_framework",
    "code_of_conduct",
    "certification",
    "privacy_shield",
    "safe_harbor",
]
"""What carries a transfer to a third country (GDPR Art. 45 to 47), with those that no longer do."""
Asker = Literal["subject", "representative", "guardian"]
"""Who may exercise a right."""

ALWAYS_ASSURED: tuple[Assurance, ...] = ("equal_security", "task_only", "no_disclosure")
"""What every processor must undertake."""
VOID: Mapping[str, str] = {
    "privacy_shield": "void since 2020-07-16 (Court of Justice, C-311/18)",
    "safe_harbor": "void since 2015-10-06 (Court of Justice, C-362/14)",
}
"""Mechanisms that no longer hold, and since when."""
ONLY_IN: Mapping[str, frozenset[str]] = {"data_privacy_framework": frozenset({"US"})}
"""Mechanisms that hold for some countries alone; this one by Implementing Decision (EU) 2023/1795."""
_EEA = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IS IT LI LT LU LV MT NL NO PL PT RO SE SI SK EU EEA"
_ADEQUATE = "AD AR CA CH FO GB GG IL IM JE JP KR NZ UY"
EEA = frozenset(_EEA.split())
"""The European Economic Area; `EU` and `EEA` where no single country is meant."""
ADEQUATE = frozenset(_ADEQUATE.split())
"""Countries with an adequacy decision for private recipients (Art. 45); a transfer there needs no more."""
MAY_OBJECT: frozenset[Basis] = frozenset({"consent", "legitimate_interests"})
"""Bases on which a browser's signal can end a purpose; the law or a contract does not ask."""
OUTLIVES_ERASURE: frozenset[Basis] = frozenset({"legal_obligation", "legal_claims"})
"""Bases that stand against erasure (GDPR Art. 17(3)(b) and (e))."""
SPECIAL = (
    "user.biometric",
    "user.health_and_medical",
    "user.demographic.political_opinion",
    "user.demographic.race_ethnicity",
    "user.demographic.religious_belief",
)
"""Categories that GDPR Art. 9 protects."""
SPECIAL_BASES: frozenset[Basis] = frozenset({"consent", "legal_obligation", "legal_claims", "vital"})
"""Bases with a counterpart in GDPR Art. 9(2)."""
RIGHTS: tuple[Right, ...] = (
    "access",
    "erasure",
    "rectification",
    "restriction",
    "objection",
    "portability",
)
"""The rights of GDPR Art. 15 to 21."""
RESERVED = "quarantine"
"""The purpose under which unreadable or suspect input is sealed; no policy may use the name."""
COLLECTED_AT = "collected_at"
"""The pseudo-field every compartment carries: when the event was collected."""
CLIENT_FAMILY = "client_family"
"""A pseudo-field that residue may count by: the family of the client, told from its user agent."""
RECORD_FIELDS: Mapping[str, frozenset[str]] = {
    "email-open": frozenset({"token", "ip", "user_agent", "open_kind"}),
    "cookie": frozenset({"cookie_id", "name", "url", "referrer", "ip", "user_agent"}),
}
"""Fields of the records that are no forms; a cookie's properties are `properties.<name>`."""
PROPERTY = "properties."
"""Prefix of a cookie event's properties."""
MOST_PURPOSES = 31
"""`RecordDecided.state` keeps two bits per purpose in a signed 64-bit number."""

FAKE = "fake:"
"""An address that begins so is played by a stand-in that ships with Lapse: for demos and tests."""

_SLUG = r"^[a-z][a-z0-9-]{0,39}$"
_PURPOSE = r"^[a-z][a-z0-9_-]{0,39}$"
_FIELD = r"^[a-z][a-z0-9_.-]{0,63}$"
_KEY = r"^[a-z][a-z_]*(\.[a-z][a-z_]*)*$"
_REGION = r"^([A-Z]{2}|EEA)$"
PATTERNS: Mapping[str, str] = {
    _SLUG: "use small letters, digits and -, at most 40",
    _PURPOSE: "use small letters, digits, - and _, at most 40",
    _FIELD: "use small letters, digits, -, _ and ., at most 64",
    _KEY: "use words of small letters joined by dots, such as user.contact.email",
    _REGION: "use a country's two letters, such as US, or EEA",
}
"""What a pattern means to people."""
Slug = Annotated[str, StringConstraints(pattern=_SLUG)]
"""Name of a site, form, processor, horizon or key: it stands in addresses, topics and file names."""
PurposeName = Annotated[str, StringConstraints(pattern=_PURPOSE)]
"""Name of a purpose."""
FieldName = Annotated[str, StringConstraints(pattern=_FIELD)]
"""Name of a field."""
Key = Annotated[str, StringConstraints(pattern=_KEY, max_length=100)]
"""A key of the fideslang taxonomy."""
Words = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
"""Text for people."""
Region = Annotated[str, StringConstraints(pattern=_REGION)]
"""ISO 3166-1 alpha-2 country, EU or EEA."""


TAXONOMY = Path(__file__).with_name("taxonomy.json")
"""The keys of fideslang's default taxonomy; a test holds them against the package."""


@lru_cache(maxsize=1)
def categories() -> frozenset[str]:
    """Return the data categories of fideslang's default taxonomy."""
    return frozenset(_taxonomy()["data_categories"])


@lru_cache(maxsize=1)
def uses() -> frozenset[str]:
    """Return the data uses of fideslang's default taxonomy."""
    return frozenset(_taxonomy()["data_uses"])


def _taxonomy() -> dict[str, list[str]]:
    """The keys alone: the package builds models of every key, which would be a third of a verb's time."""
    return dict(json.loads(TAXONOMY.read_text(encoding="utf-8")))


def covers(broad: str, narrow: str) -> bool:
    """Tell whether a category covers another: itself and its children."""
    return narrow == broad or narrow.startswith(broad + ".")
