"""What a policy may say under `settings:` of any vendor's connector, and how field names are mapped by it."""

from __future__ import annotations

from collections.abc import Mapping

from processors.manifest import Manifest
from processors.registry import kind
from schemas.plan import ProcessorPlan
from schemas.policy_words import FAKE

Settings = Mapping[str, str | int | bool]
"""The `settings:` of one processor."""

FIELD = "field."
"""`field.<ours>: <theirs>` says under which of the vendor's names a field of ours goes; `false`: nowhere."""
UNMAPPED = "unmapped"
"""What a granted field means that the vendor has no place for: `leave_out` (the default) or `refuse`."""
BASE_URL = "base_url"
"""Where the vendor is called; `fake:` is the stand-in that ships."""
VERIFIED_BY = "verified_by"
"""The processor that must have found an address to work before this one is handed it."""
GENERAL = frozenset({UNMAPPED, BASE_URL, VERIFIED_BY})
"""Settings that every vendor's connector has."""


def fields_of(manifest: Manifest, settings: Settings) -> dict[str, str]:
    """Return our field name -> the vendor's: the manifest's, and what the policy says instead."""
    said = {name.removeprefix(FIELD): theirs for name, theirs in settings.items() if name.startswith(FIELD)}
    merged: dict[str, str | int | bool] = {**manifest.fields, **said}
    return {ours: theirs for ours, theirs in merged.items() if isinstance(theirs, str) and theirs}


def own(settings: Settings) -> dict[str, str | int | bool]:
    """Return the settings that are the connector's own: neither mappings nor what is judged beforehand."""
    return {n: v for n, v in settings.items() if not n.startswith(FIELD) and n not in (UNMAPPED, VERIFIED_BY)}


def played(plan: ProcessorPlan) -> bool:
    """Return whether a stand-in that ships with Lapse plays this recipient."""
    url = plan.settings.get(BASE_URL) if kind(plan.connector).vendor else plan.webhook and plan.webhook.url
    return isinstance(url, str) and url.startswith(FAKE)
