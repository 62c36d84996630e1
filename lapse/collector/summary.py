"""The policy as publishers need it: which forms, fields and purposes there are. As public as the policy."""

from schemas.plan import PolicyPlan
from schemas.times import rfc3339


def summary(plan: PolicyPlan) -> dict[str, object]:
    """`{version, effective, sites, purposes, forms{fields, purposes, notice}, cookie{fields, purposes}}`.

    Honeypot fields are left out: a bot could read this too.
    """
    names = [purpose.name for purpose in plan.purposes]
    sources = {
        source.name: {
            "fields": sorted(source.fields),
            "identifiers": dict(source.identifiers),
            "purposes": [names[number] for number in source.purposes],
            "asks": [names[number] for number in source.asks],
            "notice": source.notice,
            "sites": sorted(source.sites),
        }
        for source in plan.sources.values()
    }
    return {
        "version": plan.version,
        "effective": rfc3339(plan.effective),
        "sites": sorted(plan.sites),
        "purposes": names,
        "sources": sources,
        "pixel_mode": plan.pixel_mode,
    }


def gpc(plan: PolicyPlan) -> dict[str, object]:
    """`/.well-known/gpc.json`: the site abides by the signal since the policy took effect (GPC, 3.3)."""
    return {"gpc": True, "lastUpdate": rfc3339(plan.effective)[:10]}
