"""Whether those who must can still read every version of a record: the official `avro` package judges it.

fastavro moves the bytes, another implementation judges them, so that one mistake cannot hide in both.
"""

import json
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import avro.schema
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType

from schemas.catalogue import Catalogue, Rule

Schema = dict[str, Any]


def faults(*, reader: Schema, writer: Schema) -> list[str]:
    """Return why a reader with one schema cannot read what was written with the other; none means it can."""
    result = ReaderWriterCompatibilityChecker().get_compatibility(
        reader=avro.schema.parse(json.dumps(reader)), writer=avro.schema.parse(json.dumps(writer))
    )
    if result.compatibility is SchemaCompatibilityType.compatible:
        return []
    return sorted(result.messages) or [f"{kind.value}" for kind in result.incompatibilities]


def broken(rule: Rule, versions: Sequence[Schema]) -> list[str]:
    """Return what breaks the rule among all pairs of versions (oldest first): `reader v2, writer v1: why`."""
    found = []
    for (i, old), (j, new) in combinations(enumerate(versions, 1), 2):
        found += [f"reader v{j}, writer v{i}: {why}" for why in faults(reader=new, writer=old)]
        if rule == "FULL_TRANSITIVE":
            found += [f"reader v{i}, writer v{j}: {why}" for why in faults(reader=old, writer=new)]
    return found


def problems(catalogue: Catalogue) -> list[str]:
    """Return every broken promise of a catalogue; none is right."""
    rules = {entry.name: entry.rule for entry in catalogue.entries.values()}
    return [
        f"{name}: {why}" for name, rule in rules.items() for why in broken(rule, catalogue.versions(name))
    ]
