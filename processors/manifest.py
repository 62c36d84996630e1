"""What a recipient's interface can and cannot do, said once: for policies, docs and conformance kit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Deletion = Literal["gone", "gone_later", "overwritten", "by_hand", "nothing_kept"]
"""The strongest end an interface offers for an object, from best to worst."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One interface, as its vendor documents it.

    `fields` maps what it can take, by the names our fields have where the policy's settings say nothing else,
    to the vendor's names. What stands in no mapping is never sent.
    """

    object: str
    """What one object is called there: a customer, a contact, a list member."""
    fields: Mapping[str, str]
    required: frozenset[str] = frozenset()
    """Of `fields`, those without which the vendor makes no object."""
    deletion: Deletion
    blocks_readding: bool = False
    """Whether what was erased can never be written again through the interface."""
    readable: bool = False
    """Whether `present` can tell what stands there."""
    pulled: bool = False
    """Whether the vendor asks for the fields when it needs them (`Heard.wants`); nothing is sent unasked."""
    hears: bool = False
    """Whether the vendor calls us (`POST /in/<processor>`)."""
    in_flight: int = 16
    """Calls at a time that the vendor's limits leave us."""
    quota: str
    """The vendor's limits, in words."""
    evidence: str
    """What a receipt's evidence is the SHA-256 of."""
    source: str
    """The vendor's page this was learnt from."""
