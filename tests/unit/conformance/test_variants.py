"""Settings that change an end, in the same situations: ends are late, softer, or reach further."""

from __future__ import annotations

import pytest

from processors.conformance import Party, parties, play

VARIANTS: dict[str, tuple[str, dict[str, str | bool]]] = {
    "stripe, redaction": ("stripe", {"redaction_version": "2026-06-24.preview"}),
    "salesforce, hard delete": ("salesforce", {"hard_delete": True}),
    "salesforce, leads": ("salesforce", {"object": "Lead"}),
    "mailchimp, unsubscribe": ("mailchimp", {"at_end": "unsubscribe", "also_erase_in": "b1b2c3d4e5"}),
}
SITUATIONS = (
    "lapse_after",
    "periods",
    "slow_erasure",
    "lost_answer",
    "partial",
    "claims_deletion",
    "ends_later",
    "restart",
    "receipts",
)


def party(variant: str) -> Party:
    """Return the party of a variant."""
    kind, said = VARIANTS[variant]
    return parties.shipped(kind, **said)


@pytest.mark.parametrize("name", SITUATIONS)
@pytest.mark.parametrize("variant", VARIANTS)
async def test_a_variant_holds(variant: str, name: str) -> None:
    """As the connector does without the setting."""
    result = await play(party(variant), name, most=3)
    assert result.held != "failed", "\n".join((result.why, *result.trace))
