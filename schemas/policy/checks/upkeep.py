"""Contradictions in a policy's own upkeep: announcement, operators, sites, spans, residue."""

from collections import Counter
from collections.abc import Iterator

from schemas.policy.compiling import field_rules
from schemas.policy.faults import Fault, nearest
from schemas.policy.model import Policy
from schemas.policy.yamltext import Path
from schemas.policy_words import CLIENT_FAMILY, COLLECTED_AT
from schemas.retention import YEAR, Duration
from schemas.times import DAY

LONGEST_QUARANTINE = 14 * DAY
"""Unreadable or suspect input is looked at within two weeks or goes."""
MOST_CELLS = 10_000
"""Combinations of residue past which cells of ten people stay empty for ever."""


def faults(policy: Policy) -> Iterator[Fault]:
    """Yield what contradicts itself outside purposes, sources and recipients."""
    yield from _announced(policy)
    yield from _operators(policy)
    yield from _sites(policy)
    yield from _spans(policy)
    yield from _dimensions(policy)
    yield from _cells(policy)


def positive(
    path: Path, span: Duration, *, most: int = 100 * YEAR, limit: str = "100 years"
) -> Iterator[Fault]:
    """Yield a fault where a span is nothing, or so long that it is no promise."""
    if not span.shortest:
        yield Fault(path, "a span of nothing", "write how long, such as P30D or PT20S")
    if span.longest > most:
        yield Fault(path, f"longer than {limit}", f"write at most {limit}")


def steady(path: Path, span: Duration) -> Iterator[Fault]:
    """Yield a fault where a width is made of calendar months: periods are cut on a fixed grid."""
    if span.months:
        yield Fault(path, "a width in calendar months", "write it in days, hours or seconds, such as P30D")


def _announced(policy: Policy) -> Iterator[Fault]:
    if policy.material and policy.announced is None:
        yield Fault(
            ("material",), "a material change that was never announced", "add `announced` with the date"
        )
    if policy.announced is not None and policy.announced > policy.effective:
        yield Fault(
            ("announced",),
            "announced after it takes effect",
            "announce it first, or let it take effect later",
        )


def _operators(policy: Policy) -> Iterator[Fault]:
    seen: dict[str, str] = {}
    for name, key in policy.operators.items():
        if key in seen:
            why = f"the same public key as operator `{seen[key]}`"
            yield Fault(("operators", name), why, "give every operator a key of their own")
        seen[key] = name
    if policy.brakes.second_person and not policy.operators:
        why = "a second person is asked for, but no other operator has a key"
        yield Fault(("brakes", "second_person"), why, "list a second operator's public key under `operators`")


def _sites(policy: Policy) -> Iterator[Fault]:
    origins: dict[str, str] = {}
    credentials: dict[str, str] = {}
    for name, site in policy.sites.items():
        for index, origin in enumerate(site.origins):
            if origin in origins:
                why = f"the origin is listed a second time (first for site `{origins[origin]}`)"
                yield Fault(("sites", name, "origins", index), why, "list every origin once")
            origins[origin] = name
        credential = site.credential or name
        if credential in credentials:
            why = f"site `{credentials[credential]}` publishes with the same credential"
            path: Path = ("sites", name, "credential") if site.credential else ("sites", name)
            yield Fault(path, why, "give it one of its own: event ids are told apart by credential")
        credentials[credential] = name


def _spans(policy: Policy) -> Iterator[Fault]:
    quarantine = policy.quarantine
    yield from positive(("quarantine", "keep"), quarantine.keep, most=LONGEST_QUARANTINE, limit="14 days")
    yield from width(("quarantine", "period"), quarantine.period, quarantine.keep.shortest)
    yield from positive(("brakes", "hidden_for"), policy.brakes.hidden_for, most=30 * DAY, limit="30 days")
    yield from positive(("brakes", "clock_step"), policy.brakes.clock_step, most=DAY, limit="a day")
    yield from positive(("proof",), policy.proof)
    yield from positive(("pixel", "token_life"), policy.pixel.token_life, most=5 * YEAR, limit="5 years")
    yield from positive(("residue", "period"), policy.residue.period)
    yield from steady(("residue", "period"), policy.residue.period)
    name = policy.identity.purpose
    if name is not None and name not in policy.purposes:
        path: Path = ("identity", "purpose")
        yield Fault(path, f"purpose `{name}` is not defined", nearest(name, policy.purposes))


def width(path: Path, span: Duration, retention: int) -> Iterator[Fault]:
    """Yield a fault where a period is too wide: what dies early dies one width early at most."""
    if span.months:
        yield from steady(path, span)
    elif not span.micros:
        yield from positive(path, span)
    elif span.micros * 10 > retention:
        most = Duration.of(max(retention // 10, 1))
        yield Fault(path, "a period wider than a tenth of the retention", f"write {most} or less")


def _dimensions(policy: Policy) -> Iterator[Fault]:
    known = {name: rule for fields in field_rules(policy).values() for name, rule in fields.items()}
    for name, dimension in policy.residue.dimensions.items():
        path: Path = ("residue", "dimensions", name)
        if name == "source":
            yield Fault(path, "`source` is counted by itself", "give the dimension another name")
        if dimension.field == CLIENT_FAMILY:
            pass
        elif dimension.field == COLLECTED_AT or dimension.field not in known:
            why = f"no source has the field `{dimension.field}`"
            yield Fault((*path, "field"), why, nearest(dimension.field, known))
        elif known[dimension.field].identifier:
            why = f"`{dimension.field}` identifies people"
            yield Fault((*path, "field"), why, "count by something that many people share")
        for value, times in Counter(dimension.values).items():
            if times > 1:
                index = dimension.values.index(value)
                yield Fault((*path, "values", index), "a value listed twice", "list every value once")
        if name not in policy.residue.by:
            yield Fault(
                path, "a dimension that no cell uses", f"add `{name}` to `residue.by`, or leave it out"
            )


def _cells(policy: Policy) -> Iterator[Fault]:
    residue = policy.residue
    known = tuple(dict.fromkeys(("source", *residue.dimensions)))
    count = 1
    for index, name in enumerate(residue.by):
        path: Path = ("residue", "by", index)
        if name not in known:
            yield Fault(path, f"dimension `{name}` is not defined", nearest(name, known))
        elif name in residue.by[:index]:
            yield Fault(path, f"dimension `{name}` stands here twice", "list it once")
        elif name != "source":
            count *= len(residue.dimensions[name].values) + 1
    if not residue.by or count > MOST_CELLS:
        why = (
            "no cell at all"
            if not residue.by
            else f"{count} combinations, most of which never reach k people"
        )
        yield Fault(
            ("residue", "by"), why, f"count by `source` and few values (at most {MOST_CELLS} combinations)"
        )
