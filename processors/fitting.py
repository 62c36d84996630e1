"""Whether a policy's recipients fit their connectors: settings there are, fields the vendor has a place for.

Pure, over the policy as people write it, so that every finding has its line. What a vendor has no place for
is never sent; `settings: {unmapped: refuse}` makes that a fault of the policy instead of a remark.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from processors import fakes
from processors.registry import Vendor, vendor
from processors.said import BASE_URL, FIELD, GENERAL, UNMAPPED, fields_of, own
from schemas.errors import BadInput
from schemas.policy.compiling import field_rules, stated
from schemas.policy.faults import Fault, dotted, nearest
from schemas.policy.model import Policy
from schemas.policy.recipients import Processor
from schemas.policy_words import FAKE, covers

Offers = Callable[[str], Vendor | None]
"""Tells what a connector's module offers."""


def faults(policy: Policy, offers: Offers = vendor) -> Iterator[Fault]:
    """Yield what cannot be: settings there are not, mappings of fields nobody has, required fields empty."""
    for name, processor, offered in _served(policy, offers):
        yield from _settings(policy, name, processor, offered)
        yield from _read(name, processor, offered)
        yield from _required(policy, name, processor, offered)
        if processor.settings.get(UNMAPPED) == "refuse":
            yield from _homeless(policy, name, processor, offered)


def remarks(policy: Policy, offers: Offers = vendor) -> tuple[str, ...]:
    """Return what is worth a look though it may stand: granted fields that the vendor is never sent."""
    return tuple(
        f"{dotted(fault.path)}: {fault.why}"
        for name, processor, offered in _served(policy, offers)
        for fault in _homeless(policy, name, processor, offered)
    )


def _served(policy: Policy, offers: Offers) -> Iterator[tuple[str, Processor, Vendor]]:
    for name, processor in policy.processors.items():
        if (offered := offers(processor.connector)) is not None:
            yield name, processor, offered


def _settings(policy: Policy, name: str, processor: Processor, offered: Vendor) -> Iterator[Fault]:
    ours = {field for fields in field_rules(policy).values() for field in fields}
    known = sorted(offered.said | GENERAL)
    for setting, value in processor.settings.items():
        where = ("processors", name, "settings", setting)
        if setting.startswith(FIELD):
            if (field := setting.removeprefix(FIELD)) not in ours:
                yield Fault(where, f"no source has a field `{field}`", nearest(field, sorted(ours)))
            elif value is not False and not (isinstance(value, str) and value):
                yield Fault(where, "this is no name of a field", "write the vendor's name of it, or false")
        elif setting not in known:
            why = f"`{setting}` is no setting of connector {processor.connector}"
            yield Fault(where, why, nearest(setting, [*known, f"{FIELD}<name>"]))
        elif setting == UNMAPPED and value not in ("leave_out", "refuse"):
            yield Fault(where, "this is none of the words taken here", "write leave_out or refuse")
        elif setting == BASE_URL and not _address(value, processor.connector):
            why = "this is not an https address"
            yield Fault(where, why, f"write https://host/path, or {FAKE} for the stand-in that ships")


def _read(name: str, processor: Processor, offered: Vendor) -> Iterator[Fault]:
    """Let the connector itself read what is stated, beside credentials of the right form.

    What is not stated may come later: the recipient is not configured until then.
    """
    said = own(processor.settings)
    if str(said.get(BASE_URL, "")).startswith(FAKE):
        said[BASE_URL] = "https://vendor.invalid"
    try:
        offered.make.settings(said, fakes.credentials(processor.connector))
    except BadInput as error:
        if error.where.removeprefix(SETTINGS) in said:
            path = ("processors", name, *error.where.split(".", 1))
            yield Fault(
                path, f"{error.where.removeprefix(SETTINGS)}: {error.what}", error.do or "see its docs"
            )


SETTINGS = "settings."


def _address(value: str | int | bool, connector: str) -> bool:
    if not isinstance(value, str):
        return False
    if value.startswith(FAKE):
        return value in (FAKE, f"{FAKE}{connector}")
    scheme, _, rest = value.partition("://")
    host = rest.split("/")[0]
    local = host.split(":")[0] in {"localhost", "127.0.0.1"}
    return bool(host) and "@" not in host and (scheme == "https" or (scheme == "http" and local))


def _required(policy: Policy, name: str, processor: Processor, offered: Vendor) -> Iterator[Fault]:
    mapped = fields_of(offered.manifest, processor.settings)
    filled = {mapped[field] for field in granted(policy, processor) if field in mapped}
    for ours in sorted(offered.manifest.required):
        theirs = offered.manifest.fields.get(ours, ours)
        if theirs not in filled:
            why = f"{processor.connector} makes no {offered.manifest.object} without `{theirs}`, and no"
            why += " field that is granted fills it"
            do = f"grant the category of such a field, or map one: settings: {{{FIELD}<name>: {theirs}}}"
            yield Fault(("processors", name, "grants"), why, do)


def _homeless(policy: Policy, name: str, processor: Processor, offered: Vendor) -> Iterator[Fault]:
    mapped = fields_of(offered.manifest, processor.settings)
    for field in sorted(granted(policy, processor) - mapped.keys()):
        if processor.settings.get(f"{FIELD}{field}") is False:
            continue  # the policy says so itself
        why = f"{processor.connector} has no place for `{field}`: it is never sent"
        do = f"map it, or say that it stays: settings: {{{FIELD}{field}: false}}"
        yield Fault(("processors", name, "grants"), why, do)


def granted(policy: Policy, processor: Processor) -> set[str]:
    """Return the fields of all sources that the grants may bring to a processor."""
    rules, states = field_rules(policy), stated(policy)
    return {
        field
        for purpose, keys in processor.grants.items()
        for source, fields in rules.items()
        if purpose in states.get(source, ()) and purpose in policy.purposes
        for field, rule in fields.items()
        if any(covers(key, rule.category) for key in keys)
        and any(covers(key, rule.category) for key in policy.purposes[purpose].categories)
    }
