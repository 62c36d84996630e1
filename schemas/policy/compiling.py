"""From a checked policy to its plan."""

import base64

from schemas.ids import Micros, Terms
from schemas.models import IdentifierKind
from schemas.plan import (
    BrakesPlan,
    CookieCategoryPlan,
    HorizonPlan,
    KafkaPlan,
    PolicyPlan,
    ProcessorPlan,
    PurposePlan,
    ResiduePlan,
    RightPlan,
    SitePlan,
    SourceKind,
    SourcePlan,
    WebhookPlan,
)
from schemas.policy.model import FieldRule, Fields, Form, Policy, Purpose, RightRule
from schemas.policy.recipients import Kafka, Processor, Webhook
from schemas.policy_words import OUTLIVES_ERASURE, RESERVED, RIGHTS, covers
from schemas.retention import Fixed, longest


def compile_plan(policy: Policy) -> PolicyPlan:
    """Return the plan of a policy that was checked: every reference in it is taken to hold."""
    return _Compiler(policy).plan()


def rule(field: FieldRule | str) -> FieldRule:
    """Return a field's rule in its long form."""
    return FieldRule(category=field) if isinstance(field, str) else field


def field_rules(policy: Policy) -> dict[str, dict[str, FieldRule]]:
    """Return source name -> field -> rule, for every source of a policy; unknown form fields are left out."""
    forms = policy.sources.form.fields if policy.sources.form else {}
    found = {
        f"form/{name}": {field: rule(forms[field]) for field in form.fields if field in forms}
        for name, form in policy.forms.items()
    }
    others: dict[str, Fields] = {}
    if policy.sources.email_open:
        others["email-open"] = policy.sources.email_open.fields
    if policy.sources.cookie:
        others["cookie"] = policy.sources.cookie.fields
    return found | {
        kind: {name: rule(field) for name, field in fields.items()} for kind, fields in others.items()
    }


def stated(policy: Policy) -> dict[str, tuple[str, ...]]:
    """Return source name -> purposes it states, as names; openings count in pixel mode `individual` alone."""
    found = {f"form/{name}": form.purposes for name, form in policy.forms.items()}
    if policy.sources.email_open:
        individual = policy.pixel.mode == "individual"
        found["email-open"] = policy.sources.email_open.purposes if individual else ()
    if policy.sources.cookie:
        names = [name for category in policy.cookie_categories.values() for name in category.purposes]
        found["cookie"] = tuple(dict.fromkeys(names))
    return found


def keeps_on_erasure(purpose: Purpose) -> bool:
    """Tell whether what is held for a purpose stays, restricted, when the person is erased."""
    said = purpose.keeps_on_erasure
    return purpose.basis in OUTLIVES_ERASURE if said is None else said


class _Compiler:
    """Holds the numbering while the parts are compiled."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.rules = field_rules(policy)
        self.stated = stated(policy)
        used = (rule.category for fields in self.rules.values() for rule in fields.values())
        self.categories = tuple(dict.fromkeys(used))
        self.category_numbers = {name: number for number, name in enumerate(self.categories)}
        self.purpose_numbers = {name: number for number, name in enumerate(policy.purposes)}

    def plan(self) -> PolicyPlan:
        policy = self.policy
        pixel = policy.pixel
        return PolicyPlan(
            version=policy.version,
            name=policy.name,
            effective=policy.effective,
            sha256=policy.sha256,
            operators={name: base64.b64decode(key) for name, key in policy.operators.items()},
            sites={
                name: SitePlan(name=name, origins=frozenset(site.origins), credential=site.credential or name)
                for name, site in policy.sites.items()
            },
            purposes=tuple(self.purpose(name, purpose) for name, purpose in policy.purposes.items()),
            categories=self.categories,
            sources=self.sources(),
            processors=tuple(self.processor(name, found) for name, found in policy.processors.items()),
            horizons=self.horizons(),
            pixel_mode=pixel.mode,
            last_open=self.purpose_numbers[pixel.last_open] if pixel.last_open else None,
            token_life=Micros(pixel.token_life.shortest),
            cookie_categories=self.cookie_categories(),
            residue=self.residue(),
            rights={name: _right(policy.rights.get(name)) for name in RIGHTS},
            quarantine=self.quarantine(),
            brakes=self.brakes(),
            link_purpose=self.purpose_numbers[policy.identity.purpose] if policy.identity.purpose else None,
            shared_after=policy.identity.shared_after,
            proof=Micros(policy.proof.longest),
            longest=Micros(max(longest(p.retention, policy.effective) for p in policy.purposes.values())),
            purpose_numbers=self.purpose_numbers,
            category_numbers=self.category_numbers,
            processor_numbers={name: number for number, name in enumerate(policy.processors)},
        )

    def covered(self, broad: tuple[str, ...]) -> frozenset[int]:
        """Return the numbers of all fields' categories these cover."""
        return frozenset(
            number for number, name in enumerate(self.categories) if any(covers(key, name) for key in broad)
        )

    def purpose(self, name: str, purpose: Purpose) -> PurposePlan:
        signals = (purpose.opt_out,) if isinstance(purpose.opt_out, str) else purpose.opt_out
        return PurposePlan(
            number=self.purpose_numbers[name],
            name=name,
            title=purpose.title,
            says=purpose.says,
            basis=purpose.basis,
            use=purpose.use,
            categories=self.covered(purpose.categories),
            retention=purpose.retention,
            width=Micros(purpose.period.micros),
            terms=Terms(purpose.terms),
            opt_out=frozenset(signals or ()),
            keeps_on_erasure=keeps_on_erasure(purpose),
            channel=purpose.channel,
        )

    def sources(self) -> dict[str, SourcePlan]:
        titles = {"email-open": "Clear gifs in mail", "cookie": "Cookies"}
        found = {}
        for name, form in self.policy.forms.items():
            source = f"form/{name}"
            found[source] = self.source(source, "form", form.title, form)
        kinds: tuple[SourceKind, ...] = ("email-open", "cookie")
        for kind in kinds:
            if kind in self.rules:
                found[kind] = self.source(kind, kind, titles[kind], None)
        return found

    def source(self, name: str, kind: SourceKind, title: str, form: Form | None) -> SourcePlan:
        rules = self.rules[name]
        named = {
            self.purpose_numbers[purpose]: self.policy.purposes[purpose] for purpose in self.stated[name]
        }
        held = [found.category for found in rules.values()]
        numbers = tuple(
            number
            for number, purpose in named.items()
            if any(covers(key, category) for key in purpose.categories for category in held)
        )
        identifiers: dict[str, IdentifierKind] = {
            field: found.identifier for field, found in rules.items() if found.identifier
        }
        return SourcePlan(
            name=name,
            kind=kind,
            title=title,
            fields={field: self.category_numbers[found.category] for field, found in rules.items()},
            identifiers=identifiers,
            purposes=numbers,
            mask=sum(1 << number for number in numbers),
            asks=tuple(number for number, purpose in named.items() if purpose.basis == "consent"),
            notice=form.notice if form else None,
            honeypot=form.honeypot if form else None,
            min_fill=form.minimum_fill.micros if form and form.minimum_fill else 0,
            redirect=form.redirect if form else None,
            servers_only=form is not None and form.published_by == "servers",
            sites=frozenset(form.sites if form else ()),
        )

    def processor(self, name: str, found: Processor) -> ProcessorPlan:
        grants = {self.purpose_numbers[p]: self.covered(keys) for p, keys in found.grants.items()}
        return ProcessorPlan(
            number=list(self.policy.processors).index(name),
            name=name,
            title=found.title,
            connector=found.connector,
            grants=grants,
            mask=sum(1 << number for number in grants),
            region=found.region,
            safeguards=found.safeguards.mechanism if found.safeguards else None,
            assurance_until=found.assurance_until,
            review=found.review,
            evidence=found.evidence,
            suspended=found.suspended,
            erase_within=Micros(found.erase_within.shortest),
            lapse=found.lapse,
            topic_retention=Micros(found.topic_retention.longest),
            webhook=_webhook(found),
            kafka=_kafka(name, found),
            settings=found.settings,
        )

    def horizons(self) -> tuple[HorizonPlan, ...]:
        found = [HorizonPlan(name=n, retention=Micros(d.longest)) for n, d in self.policy.horizons.items()]
        return tuple(sorted(found, key=lambda horizon: horizon.retention))

    def cookie_categories(self) -> dict[str, CookieCategoryPlan]:
        return {
            name: CookieCategoryPlan(
                name=name,
                title=found.title,
                says=found.says,
                purposes=tuple(self.purpose_numbers[purpose] for purpose in found.purposes),
                cookies=found.cookies,
            )
            for name, found in self.policy.cookie_categories.items()
        }

    def residue(self) -> ResiduePlan:
        found = self.policy.residue
        dimensions = {name: (d.field, frozenset(d.values)) for name, d in found.dimensions.items()}
        return ResiduePlan(k=found.k, width=Micros(found.period.micros), by=found.by, dimensions=dimensions)

    def quarantine(self) -> PurposePlan:
        found = self.policy.quarantine
        return PurposePlan(
            number=-1,
            name=RESERVED,
            title="Unreadable or suspect input",
            says=None,
            basis="legitimate_interests",
            use="essential.service.security",
            categories=frozenset(),
            retention=Fixed.model_validate({"for": found.keep}),
            width=Micros(found.period.micros),
            terms=Terms(found.terms),
            opt_out=frozenset(),
            keeps_on_erasure=False,
            channel=None,
        )

    def brakes(self) -> BrakesPlan:
        found = self.policy.brakes
        return BrakesPlan(
            second_person=found.second_person,
            destroy_per_tick=found.destroy_per_tick,
            hidden_for=Micros(found.hidden_for.longest),
            clock_step=Micros(found.clock_step.longest),
        )


def _right(named: RightRule | None) -> RightPlan:
    found = named or RightRule()
    return RightPlan(
        may_ask=found.may_ask,
        answer_days=found.answer_days,
        extension_days=found.extension_days,
        named=named is not None,
    )


def _webhook(found: Processor) -> WebhookPlan | None:
    if found.connector != "webhook":
        return None
    hook = found.webhook or Webhook()
    erasure = hook.erasure_url or (hook.url and f"{hook.url.rstrip('/')}/requests")
    return WebhookPlan(url=hook.url, erasure_url=erasure, allow_private=hook.allow_private)


def _kafka(name: str, found: Processor) -> KafkaPlan | None:
    if found.connector != "kafka":
        return None
    there = found.kafka or Kafka()
    return KafkaPlan(
        format=there.format,
        bootstrap=there.bootstrap,
        topic=there.topic or f"plain.{name}",
        retention=Micros(there.retention.longest),
    )
