"""Every connector a policy may name, and whether we open for it or its own consumer does."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.errors import BadInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A connector: what it is called in policies, whether data is opened here for it, and what it does."""

    name: str
    opens_here: bool
    about: str


KINDS: tuple[Kind, ...] = (
    Kind(
        name="pull", opens_here=False, about="a consumer of its own reads the topic and asks the key endpoint"
    ),
    Kind(name="kafka", opens_here=True, about="clear records on plain.<name>, kept at most 24 hours"),
    Kind(name="webhook", opens_here=True, about="signed CloudEvents to a business partner"),
    Kind(name="stripe", opens_here=False, about="comes later; behaves as pull until then"),
    Kind(name="salesforce", opens_here=False, about="comes later; behaves as pull until then"),
    Kind(name="mailchimp", opens_here=False, about="comes later; behaves as pull until then"),
    Kind(name="kickbox", opens_here=False, about="comes later; behaves as pull until then"),
    Kind(name="jivochat", opens_here=False, about="comes later; behaves as pull until then"),
)
"""All of them, in the order the documentation lists them."""

NAMES = frozenset(kind.name for kind in KINDS)
"""What a policy may write under `connector`."""


def kind(name: str) -> Kind:
    """Return the connector of this name; `BadInput` where there is none."""
    for known in KINDS:
        if known.name == name:
            return known
    raise BadInput(
        "bad_argument",
        f"there is no connector {name!r}",
        "connector",
        f"use one of {', '.join(sorted(NAMES))}",
    )


def opens_here(name: str) -> bool:
    """Return whether a connect agent runs for this connector; otherwise the processor's own consumer
    opens.
    """
    return kind(name).opens_here
