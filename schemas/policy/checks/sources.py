"""Contradictions where data comes in: fields, forms, clear gifs, cookies, and the purposes they state."""

from collections.abc import Iterable, Iterator

from schemas.policy.compiling import field_rules, rule, stated
from schemas.policy.faults import Fault, nearest
from schemas.policy.model import Fields, Form, Policy
from schemas.policy.yamltext import Path
from schemas.policy_words import COLLECTED_AT, PROPERTY, RECORD_FIELDS, categories, covers
from schemas.times import SECOND

LONGEST_FILL = 3600 * SECOND
"""Nobody's form is a bot's because it was sent within the hour."""


def faults(policy: Policy) -> Iterator[Fault]:
    """Yield what contradicts itself in sources, forms, cookie categories and pixel."""
    sources = policy.sources
    for kind, found in (
        ("form", sources.form),
        ("email-open", sources.email_open),
        ("cookie", sources.cookie),
    ):
        if found is not None:
            yield from _fields(kind, found.fields)
    for name, form in policy.forms.items():
        yield from _form(policy, ("forms", name), form)
    yield from _cookies(policy)
    yield from _pixel(policy)
    yield from _identified(policy)
    yield from _justified(policy)


def _fields(kind: str, fields: Fields) -> Iterator[Fault]:
    for name, found in fields.items():
        path: Path = ("sources", kind, "fields", name)
        key = rule(found).category
        if key not in categories():
            yield Fault(path, f"`{key}` is no data category of fideslang", nearest(key, sorted(categories())))
        if name == COLLECTED_AT:
            yield Fault(path, f"`{COLLECTED_AT}` is kept with every record", "leave it out")
        elif kind in RECORD_FIELDS and name not in RECORD_FIELDS[kind]:
            known = RECORD_FIELDS[kind]
            if kind == "cookie" and name.startswith(PROPERTY):
                continue
            yield Fault(path, f"no {kind} event has a field `{name}`", nearest(name, sorted(known)))


def _form(policy: Policy, path: Path, form: Form) -> Iterator[Fault]:
    known = policy.sources.form.fields if policy.sources.form else {}
    if policy.sources.form is None:
        yield Fault(
            path, "there is no source `form` for its fields", "define them under `sources.form.fields`"
        )
    else:
        yield from _references((*path, "fields"), "field", form.fields, known)
    yield from _references((*path, "purposes"), "purpose", form.purposes, policy.purposes)
    yield from _references((*path, "sites"), "site", form.sites, policy.sites)
    if form.honeypot is not None and (form.honeypot in known or form.honeypot == COLLECTED_AT):
        why = f"the honeypot `{form.honeypot}` is a field people fill in"
        yield Fault((*path, "honeypot"), why, "name it after no field: whoever fills it in is a bot")
    if form.minimum_fill is not None and form.minimum_fill.longest > LONGEST_FILL:
        yield Fault((*path, "minimum_fill"), "longer than an hour", "write seconds, such as PT2S")
    if form.published_by == "servers":
        for key in ("honeypot", "minimum_fill", "redirect"):
            if getattr(form, key) is not None:
                yield Fault(
                    (*path, key), "only browsers need this, and only servers publish here", "leave it out"
                )


def _references(path: Path, what: str, names: Iterable[str], known: Iterable[str]) -> Iterator[Fault]:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name not in known:
            yield Fault((*path, index), f"{what} `{name}` is not defined", nearest(name, known))
        elif name in seen:
            yield Fault((*path, index), f"{what} `{name}` stands here twice", "list it once")
        seen.add(name)


def _cookies(policy: Policy) -> Iterator[Fault]:
    stands: dict[str, str] = {}
    for category, found in policy.cookie_categories.items():
        path: Path = ("cookie_categories", category, "purposes")
        yield from _references(path, "purpose", found.purposes, policy.purposes)
        for index, name in enumerate(found.purposes):
            if stands.setdefault(name, category) != category:
                why = f"purpose `{name}` stands in category `{stands[name]}` too"
                yield Fault((*path, index), why, "put it into one: a choice must not undo another")
            consent = name in policy.purposes and policy.purposes[name].basis == "consent"
            if category == "necessary" and consent:
                why = f"purpose `{name}` rests on consent, but necessary cookies cannot be refused"
                yield Fault((*path, index), why, "put it into another category, or rest it on something else")
            if category != "necessary" and name in policy.purposes and not consent:
                why = f"purpose `{name}` does not rest on consent, but this category can be refused"
                yield Fault((*path, index), why, "rest it on consent, or move it to `necessary`")
    if policy.sources.cookie and not stands:
        path = ("sources", "cookie")
        yield Fault(
            path,
            "no cookie category stands for a purpose",
            "fill `cookie_categories`, or leave the source out",
        )


def _pixel(policy: Policy) -> Iterator[Fault]:
    pixel, opened = policy.pixel, policy.sources.email_open
    last, path = pixel.last_open, ("pixel", "last_open")
    if last is not None and last not in policy.purposes:
        yield Fault(path, f"purpose `{last}` is not defined", nearest(last, policy.purposes))
    if last is not None and (opened is None or pixel.mode == "aggregate"):
        why = "mode aggregate keeps no date" if opened else "there is no source `email-open`"
        yield Fault(
            path, f"a last-open date, but {why}", "leave `last_open` out, or change what contradicts it"
        )
    if opened is None:
        return
    if pixel.mode == "date_only" and last is None:
        why = "mode date_only keeps a last-open date, but for no purpose"
        yield Fault(("pixel",), why, "name the purpose in `pixel.last_open`")
    where: Path = ("sources", "email-open", "purposes")
    yield from _references(where, "purpose", opened.purposes, policy.purposes)
    if pixel.mode == "individual":
        if not opened.purposes:
            why = "mode individual records every opening, but for no purpose"
            yield Fault(("sources", "email-open"), why, "add `purposes` that rest on consent")
        for index, name in enumerate(opened.purposes):
            if name in policy.purposes and policy.purposes[name].basis != "consent":
                why = f"mode individual, but purpose `{name}` does not rest on consent"
                yield Fault((*where, index), why, "rest it on consent, or use mode date_only")


def _identified(policy: Policy) -> Iterator[Fault]:
    """Without an identifier nobody is known, with two of a kind nobody knows which."""
    for source, fields in field_rules(policy).items():
        path = _path(source)
        kinds: dict[str, str] = {}
        for name, found in fields.items():
            if found.identifier is not None and found.identifier in kinds:
                why = f"`{kinds[found.identifier]}` and `{name}` are both the identifier `{found.identifier}`"
                yield Fault(path, why, "keep one of them as the identifier")
            elif found.identifier is not None:
                kinds[found.identifier] = name
        if not kinds and not (source == "email-open" and policy.pixel.mode == "aggregate"):
            why = "no field identifies the person, so every event would be discarded"
            yield Fault(path, why, "mark one with `identifier: email` or the like")


def _justified(policy: Policy) -> Iterator[Fault]:
    """A field no purpose covers is not collected; a purpose that covers nothing may only ask for consent."""
    rules = field_rules(policy)
    for source, names in stated(policy).items():
        purposes = {name: policy.purposes[name] for name in names if name in policy.purposes}
        if not purposes:
            continue
        fields = rules[source]
        path = _path(source)
        for name, found in fields.items():
            keys = [key for purpose in purposes.values() for key in purpose.categories]
            if not any(covers(key, found.category) for key in keys):
                why = f"field `{name}` ({found.category}) is justified by no purpose stated here"
                yield Fault(path, why, "do not collect it, or state a purpose that needs it")
        for name, purpose in purposes.items():
            held = [f.category for f in fields.values()]
            if purpose.basis != "consent" and not any(
                covers(key, category) for key in purpose.categories for category in held
            ):
                why = f"purpose `{name}` needs no field collected here"
                yield Fault(path, why, "do not state it here, or collect what it needs")


def _path(source: str) -> Path:
    return ("forms", source.removeprefix("form/")) if source.startswith("form/") else ("sources", source)
