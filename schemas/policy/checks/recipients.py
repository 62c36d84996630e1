"""Contradictions in what recipients may have: grants nothing feeds, settings, clear copies."""

import re
from collections.abc import Iterator

from schemas.policy.checks.upkeep import positive
from schemas.policy.compiling import field_rules, stated
from schemas.policy.faults import Fault, nearest
from schemas.policy.model import Policy
from schemas.policy.recipients import Processor
from schemas.policy.yamltext import Path
from schemas.policy_words import categories, covers
from schemas.times import DAY

VERIFIED_BY = "verified_by"
CHECKERS = ("kickbox",)
"""Connectors that find out whether an address works."""
CONSUMERS = ("pull", "kafka")
"""Connectors where it is somebody else who decides what happens to an address."""
LONGEST_CLEAR = DAY
"""What a consumer that cannot ask for keys is given in clear is gone within a day."""
LONGEST_TOPIC = 90 * DAY
"""A processor's topic is a way to hand data over, no archive."""
LONGEST_ERASURE = 92 * DAY
"""A month to answer a request and two more where it is complex (GDPR Art. 12(3))."""

_SECRET = re.compile(r"password|passwd|secret|token|credential|private|(api|access|signing)_?key|^key$")


def faults(policy: Policy) -> Iterator[Fault]:
    """Yield what contradicts itself in grants and settings of processors."""
    fed = _fed(policy)
    for name, processor in policy.processors.items():
        path: Path = ("processors", name)
        for purpose, keys in processor.grants.items():
            where = (*path, "grants", purpose)
            if purpose not in policy.purposes:
                yield Fault(where, f"purpose `{purpose}` is not defined", nearest(purpose, policy.purposes))
                continue
            for index, key in enumerate(keys):
                yield from _grant(
                    policy, (*where, index), purpose, key, keys[:index], fed.get(purpose, set())
                )
        yield from _served(path, processor)
        yield from _verified(policy, name, processor)
        yield from _limits(path, processor)


def _fed(policy: Policy) -> dict[str, set[str]]:
    """Return purpose -> categories of the fields that some source holds for it."""
    rules = field_rules(policy)
    found: dict[str, set[str]] = {}
    for source, names in stated(policy).items():
        for name in names:
            found.setdefault(name, set()).update(rule.category for rule in rules[source].values())
    return found


def _grant(
    policy: Policy, path: Path, purpose: str, key: str, before: tuple[str, ...], held: set[str]
) -> Iterator[Fault]:
    needed = policy.purposes[purpose].categories
    if key not in categories():
        yield Fault(path, f"`{key}` is no data category of fideslang", nearest(key, sorted(categories())))
    elif any(covers(other, key) for other in before):
        yield Fault(path, f"`{key}` is granted already", "list it once: a category covers its children")
    elif not any(covers(broad, key) for broad in needed):
        why = f"`{key}` is more than purpose `{purpose}` itself may use"
        yield Fault(path, why, f"grant what it covers: {', '.join(needed)}")
    elif not any(covers(key, category) for category in held):
        why = f"no source feeds `{key}` for purpose `{purpose}`"
        yield Fault(path, why, "leave it out, or collect such a field where the purpose is stated")


def _served(path: Path, processor: Processor) -> Iterator[Fault]:
    for section in ("webhook", "kafka"):
        if getattr(processor, section) is not None and processor.connector != section:
            why = f"settings of connector {section}, but the connector is {processor.connector}"
            yield Fault((*path, section), why, "leave them out, or change `connector`")
    for name in processor.settings:
        if _SECRET.search(name):
            why = "a policy is public and signed, no place for secrets"
            yield Fault((*path, "settings", name), why, "put it into the processor's credentials file")
    if processor.kafka is not None:
        if processor.kafka.topic and not processor.kafka.bootstrap:
            why = "on this cluster clear records have their one topic, which nobody else reads"
            yield Fault((*path, "kafka", "topic"), why, "leave it out, or name the other cluster: bootstrap")
        where = (*path, "kafka", "retention")
        yield from positive(where, processor.kafka.retention, most=LONGEST_CLEAR, limit="a day")


def _verified(policy: Policy, name: str, processor: Processor) -> Iterator[Fault]:
    """Who waits for addresses to be checked must be somebody we open for, and wait for a checker."""
    if VERIFIED_BY not in processor.settings:
        return
    by, where = processor.settings[VERIFIED_BY], ("processors", name, "settings", VERIFIED_BY)
    other = policy.processors.get(by) if isinstance(by, str) and by != name else None
    if processor.connector in CONSUMERS:
        why = f"connector {processor.connector} opens without us: nothing can be held back"
        yield Fault(where, why, "leave it out, or choose a connector that opens here")
    elif other is None:
        others = sorted(n for n, p in policy.processors.items() if p.connector in CHECKERS and n != name)
        yield Fault(where, "this is no other processor of this policy", nearest(str(by), others))
    elif other.connector not in CHECKERS:
        why = f"connector {other.connector} does not find out whether an address works"
        yield Fault(where, why, f"name a processor with connector {' or '.join(CHECKERS)}")


def _limits(path: Path, processor: Processor) -> Iterator[Fault]:
    erase, topic = processor.erase_within, processor.topic_retention
    yield from positive((*path, "erase_within"), erase, most=LONGEST_ERASURE, limit="three months")
    yield from positive((*path, "topic_retention"), topic, most=LONGEST_TOPIC, limit="90 days")
