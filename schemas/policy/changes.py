"""What a new version of a policy changes, and whether it may follow the old one.

Due dates never grow: data is held under the terms it was collected under, so the same terms can only become
shorter and their periods keep their width. What widens is announced; consent is not turned to another use.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from schemas.policy.compiling import field_rules, keeps_on_erasure, stated
from schemas.policy.model import Policy, Purpose
from schemas.policy.recipients import Processor
from schemas.retention import Duration, Fixed, Retention, never_longer

Kind = Literal["refused", "widens", "narrows", "shortens", "renews"]
"""refused: unlawful. widens: more may be done. narrows: less. shortens: earlier dues. renews: new terms."""

_MODES = {"aggregate": 0, "date_only": 1, "individual": 2}


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One difference between two versions; for refusals with what to do."""

    kind: Kind
    where: str
    what: str
    do: str = ""
    purpose: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """Everything that differs between two versions, in the order of the policy."""

    all: tuple[Change, ...]

    def of(self, *kinds: Kind) -> tuple[Change, ...]:
        """Return the changes of these kinds."""
        return tuple(change for change in self.all if change.kind in kinds)

    @property
    def lawful(self) -> bool:
        """Whether the new version may follow the old one."""
        return not self.of("refused")

    @property
    def shortened(self) -> tuple[str, ...]:
        """Purposes whose due dates come forward: hidden at once, destroyed only after the brake's delay."""
        return tuple(change.purpose for change in self.of("shortens") if change.purpose)


def diff(old: Policy, new: Policy) -> Changes:
    """Return what version `new` changes after version `old`; both must have been loaded."""
    found = list(chain(_purposes(old, new), _sources(old, new), _processors(old, new), _upkeep(old, new)))
    widening = [change.where for change in found if change.kind == "widens"]
    return Changes(all=(*_order(old, new), *_announced(old, new, widening), *found))


def _order(old: Policy, new: Policy) -> Iterator[Change]:
    if new.version <= old.version:
        what = f"version {new.version} does not follow version {old.version}"
        yield Change(kind="refused", where="version", what=what, do=f"number it {old.version + 1} or higher")
    if new.effective < old.effective:
        what = "takes effect before the version it replaces"
        yield Change(kind="refused", where="effective", what=what, do="let it take effect later")


def _announced(old: Policy, new: Policy, widening: list[str]) -> Iterator[Change]:
    if widening and not (new.material and new.announced is not None and new.announced > old.effective):
        what = f"widens what may be done ({widening[0]}) without being announced"
        do = "set `material: true` and `announced` to a date after the last version took effect"
        yield Change(kind="refused", where="announced", what=what, do=do)


def _purposes(old: Policy, new: Policy) -> Iterator[Change]:
    yield from _names("purposes", old.purposes, new.purposes)
    for name, after in new.purposes.items():
        before = old.purposes.get(name)
        if before is not None:
            yield from _terms(f"purposes.{name}", name, before, after)
            yield from _use(f"purposes.{name}", before, after)


def _terms(where: str, name: str, before: Purpose, after: Purpose) -> Iterator[Change]:
    held = (before.retention, before.period, before.terms)
    yield from _held(where, held, (after.retention, after.period, after.terms), name)


_Held = tuple[Retention, Duration, int]


def _held(where: str, before: _Held, after: _Held, purpose: str) -> Iterator[Change]:
    """Compare retention, period width and number of terms."""
    shorter = never_longer(after[0], before[0])
    if after[2] < before[2]:
        what = f"goes back from terms {before[2]} to {after[2]}"
        yield Change(kind="refused", where=f"{where}.terms", what=what, do=f"keep {before[2]} or count up")
    elif after[2] > before[2]:
        what = f"terms {after[2]} for what is collected from now on"
        yield Change(kind="renews", where=f"{where}.terms", what=what, purpose=purpose)
        if not shorter:
            yield Change(kind="widens", where=f"{where}.retention", what="held longer", purpose=purpose)
    else:
        if after[1] != before[1]:
            what = "another width of periods under the same terms: period numbers would mean other times"
            yield Change(
                kind="refused", where=f"{where}.period", what=what, do=f"set `terms: {before[2] + 1}`"
            )
        if not shorter:
            what = "data collected under these terms would be held longer"
            yield Change(
                kind="refused", where=f"{where}.retention", what=what, do=f"set `terms: {before[2] + 1}`"
            )
        elif after[0] != before[0]:
            what = "due dates come forward"
            yield Change(kind="shortens", where=f"{where}.retention", what=what, purpose=purpose)


def _use(where: str, before: Purpose, after: Purpose) -> Iterator[Change]:
    if before.basis != after.basis:
        if before.basis == "consent":
            what = f"consent was asked and is replaced by {after.basis}"
            do = "keep consent, or give the purpose another name"
            yield Change(kind="refused", where=f"{where}.basis", what=what, do=do)
        else:
            kind: Kind = "narrows" if after.basis == "consent" else "widens"
            yield Change(kind=kind, where=f"{where}.basis", what=f"{before.basis} becomes {after.basis}")
    if before.use != after.use:
        asked = before.basis == "consent"
        do = "give the new use a purpose of its own" if asked else ""
        what = f"{before.use} becomes {after.use}"
        yield Change(kind="refused" if asked else "widens", where=f"{where}.use", what=what, do=do)
    yield from _sets(f"{where}.categories", set(before.categories), set(after.categories))
    yield from _sets(f"{where}.opt_out", _opted(after), _opted(before))
    if keeps_on_erasure(before) != keeps_on_erasure(after):
        kind = "widens" if keeps_on_erasure(after) else "narrows"
        yield Change(kind=kind, where=f"{where}.keeps_on_erasure", what="what an erasure leaves changes")


def _opted(purpose: Purpose) -> set[str]:
    opted = purpose.opt_out
    return {opted} if isinstance(opted, str) else set(opted or ())


def _sources(old: Policy, new: Policy) -> Iterator[Change]:
    rules_before, rules_after = field_rules(old), field_rules(new)
    yield from _names("sources", rules_before, rules_after)
    stated_before, stated_after = stated(old), stated(new)
    for name in rules_before.keys() & rules_after.keys():
        before = {f"{field} ({rule.category})" for field, rule in rules_before[name].items()}
        after = {f"{field} ({rule.category})" for field, rule in rules_after[name].items()}
        yield from _sets(f"sources.{name}.fields", before, after)
        yield from _sets(f"sources.{name}.purposes", set(stated_before[name]), set(stated_after[name]))
    modes = _MODES[old.pixel.mode], _MODES[new.pixel.mode]
    if modes[0] != modes[1]:
        kind: Kind = "widens" if modes[1] > modes[0] else "narrows"
        yield Change(kind=kind, where="pixel.mode", what=f"{old.pixel.mode} becomes {new.pixel.mode}")


def _processors(old: Policy, new: Policy) -> Iterator[Change]:
    yield from _names("processors", old.processors, new.processors)
    for name, after in new.processors.items():
        before = old.processors.get(name)
        if before is not None:
            yield from _processor(f"processors.{name}", before, after)


def _processor(where: str, before: Processor, after: Processor) -> Iterator[Change]:
    granted = [
        {f"{purpose}: {key}" for purpose, keys in found.grants.items() for key in keys}
        for found in (before, after)
    ]
    yield from _sets(f"{where}.grants", granted[0], granted[1])
    yield from _sets(f"{where}.sub_processors", set(before.sub_processors), set(after.sub_processors))
    for key in ("region", "connector", "safeguards"):
        if getattr(before, key) != getattr(after, key):
            yield Change(kind="widens", where=f"{where}.{key}", what=f"another {key}")
    if bool(before.suspended) != bool(after.suspended):
        kind: Kind = "narrows" if after.suspended else "widens"
        what = "suspended" if after.suspended else "no longer suspended"
        yield Change(kind=kind, where=f"{where}.suspended", what=what)


def _upkeep(old: Policy, new: Policy) -> Iterator[Change]:
    held = [
        (Fixed.model_validate({"for": found.keep}), found.period, found.terms)
        for found in (old.quarantine, new.quarantine)
    ]
    yield from _held("quarantine", held[0], held[1], "quarantine")
    if old.residue.k != new.residue.k:
        kind: Kind = "widens" if new.residue.k < old.residue.k else "narrows"
        yield Change(kind=kind, where="residue.k", what=f"{old.residue.k} people become {new.residue.k}")


def _names(where: str, before: Mapping[str, object], after: Mapping[str, object]) -> Iterator[Change]:
    yield from _sets(where, set(before), set(after))


def _sets(where: str, before: set[str], after: set[str]) -> Iterator[Change]:
    for name in sorted(after - before):
        yield Change(kind="widens", where=where, what=f"added: {name}")
    for name in sorted(before - after):
        yield Change(kind="narrows", where=where, what=f"removed: {name}")
