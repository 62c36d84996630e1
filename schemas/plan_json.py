"""A plan as JSON, so that outsiders can turn the numbers in `decisions` and `records` back into names."""

from schemas.plan import PolicyPlan, ProcessorPlan, PurposePlan, SourcePlan
from schemas.retention import Anchored, Retention, UntilReview


def describe(plan: PolicyPlan) -> dict[str, object]:
    """Return the shape of `GET /v1/plans/{version}`: numbers are positions in lists, spans microseconds."""
    return {
        "version": plan.version,
        "name": plan.name,
        "effective": plan.effective,
        "sha256": plan.sha256.hex(),
        "purposes": [_purpose(purpose) for purpose in plan.purposes],
        "quarantine": _purpose(plan.quarantine),
        "categories": list(plan.categories),
        "sources": {name: _source(source) for name, source in plan.sources.items()},
        "processors": [_processor(processor) for processor in plan.processors],
        "horizons": [{"name": horizon.name, "retention": horizon.retention} for horizon in plan.horizons],
        "pixel": {"mode": plan.pixel_mode, "last_open": plan.last_open, "token_life": plan.token_life},
        "cookie_categories": {
            name: {"title": found.title, "says": found.says, "purposes": list(found.purposes)}
            for name, found in plan.cookie_categories.items()
        },
        "residue": {"k": plan.residue.k, "width": plan.residue.width, "by": list(plan.residue.by)},
        "proof": plan.proof,
    }


def _purpose(purpose: PurposePlan) -> dict[str, object]:
    return {
        "number": purpose.number,
        "name": purpose.name,
        "title": purpose.title,
        "says": purpose.says,
        "basis": purpose.basis,
        "use": purpose.use,
        "channel": purpose.channel,
        "categories": sorted(purpose.categories),
        "retention": _retention(purpose.retention),
        "width": purpose.width,
        "terms": purpose.terms,
        "opt_out": sorted(purpose.opt_out),
        "keeps_on_erasure": purpose.keeps_on_erasure,
    }


def _retention(retention: Retention) -> dict[str, object]:
    if isinstance(retention, UntilReview):
        return {"until_review": retention.until_review}
    if isinstance(retention, Anchored):
        return {"after": retention.after, "for": str(retention.for_), "at_most": str(retention.at_most)}
    return {"for": str(retention.for_)}


def _source(source: SourcePlan) -> dict[str, object]:
    return {
        "kind": source.kind,
        "title": source.title,
        "fields": dict(source.fields),
        "identifiers": dict(source.identifiers),
        "purposes": list(source.purposes),
        "asks": list(source.asks),
        "notice": source.notice,
    }


def _processor(processor: ProcessorPlan) -> dict[str, object]:
    return {
        "number": processor.number,
        "name": processor.name,
        "title": processor.title,
        "connector": processor.connector,
        "grants": [
            {"purpose": purpose, "categories": sorted(keys)} for purpose, keys in processor.grants.items()
        ],
        "region": processor.region,
        "safeguards": processor.safeguards,
        "assurance_until": processor.assurance_until,
        "suspended": processor.suspended,
        "lapse": processor.lapse,
    }
