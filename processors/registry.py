"""Every connector a policy may name: whether we open for it, and a vendor's module with its manifest.

A vendor's module is `processors.<kind>`. It has `MANIFEST`, a frozen class `<Kind>Settings` whose secrets are
the fields without a repr, and a class `<Kind>` made from (processor, settings, fields, wall) whose
`settings(said, secrets)` reads what the policy says and what the credentials file holds. It is imported when
it is first needed: what only reads a policy's names needs no HTTP client.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from processors.manifest import Manifest
from processors.recipient import Recipient
from schemas.errors import BadInput
from schemas.ids import Micros


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A connector: what it is called in policies, whether data is opened here for it, and what it does."""

    name: str
    opens_here: bool
    about: str
    vendor: bool = False
    """Whether it is one vendor's interface, with a module and a manifest of its own."""


KINDS: tuple[Kind, ...] = (
    Kind(
        name="pull", opens_here=False, about="a consumer of its own reads the topic and asks the key endpoint"
    ),
    Kind(name="kafka", opens_here=True, about="clear records on plain.<name>, kept at most 24 hours"),
    Kind(name="webhook", opens_here=True, about="signed CloudEvents to a business partner"),
    Kind(name="stripe", opens_here=True, vendor=True, about="payment: customers"),
    Kind(name="salesforce", opens_here=True, vendor=True, about="CRM: contacts and leads"),
    Kind(name="mailchimp", opens_here=True, vendor=True, about="e-mail marketing: members of audiences"),
    Kind(name="kickbox", opens_here=True, vendor=True, about="e-mail validation: one address at a time"),
    Kind(name="jivochat", opens_here=True, vendor=True, about="chat: answers what it may show at the moment"),
)
"""All of them, in the order the documentation lists them."""

NAMES = frozenset(kind.name for kind in KINDS)
"""What a policy may write under `connector`."""
NOT_SAID = frozenset({"allow_private"})
"""Settings that no policy states: whoever runs a test set-up does."""


class Make(Protocol):
    """The class of a vendor's connector."""

    def __call__(
        self, *, processor: str, settings: Any, fields: Mapping[str, str], wall: Callable[[], Micros]
    ) -> Recipient:
        """Return the recipient; `fields` maps the names of our fields to the vendor's."""

    def settings(self, said: Mapping[str, str | int | bool], secrets: Mapping[str, str]) -> Any:
        """Return the settings of the policy and the credentials file; `BadInput` names what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """What one vendor's module offers."""

    manifest: Manifest
    make: Make
    said: frozenset[str]
    """Names of the settings a policy may state."""
    secrets: frozenset[str]
    """Names a credentials file may have."""


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


@cache
def vendor(name: str) -> Vendor | None:
    """Return what the module of this kind offers, None where the kind is no vendor's."""
    if not kind(name).vendor:
        return None
    module = importlib.import_module(f"processors.{name}")
    classes: dict[str, Any] = {n.lower(): v for n, v in vars(module).items() if isinstance(v, type)}
    fields = dataclasses.fields(classes[f"{name}settings"])
    return Vendor(
        manifest=module.MANIFEST,
        make=classes[name],
        said=frozenset(field.name for field in fields if field.repr) - NOT_SAID,
        secrets=frozenset(field.name for field in fields if not field.repr),
    )


def opens_here(name: str) -> bool:
    """Return whether a connect agent can run for this connector; else the processor's consumer opens."""
    return kind(name).opens_here
