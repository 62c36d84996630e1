"""docs/policy.md names every key and every word a policy may hold."""

import re
from pathlib import Path
from typing import get_args

import pytest
from fideslang.default_taxonomy import DEFAULT_TAXONOMY

from schemas import policy_words as words
from schemas.models import Anchor, Right
from schemas.policy.model import Policy

DOCS = (Path(__file__).parents[3] / "docs" / "policy.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"[\w-]+", " ".join(re.findall(r"`([^`]+)`", DOCS))))
SCHEMA = Policy.model_json_schema()
KEYS = sorted({key for part in (SCHEMA, *SCHEMA["$defs"].values()) for key in part.get("properties", ())})
VOCABULARIES = [
    words.Basis,
    words.Channel,
    words.Signal,
    words.Connector,
    words.PixelMode,
    words.CategoryOfCookies,
    words.Assurance,
    words.Mechanism,
    words.Asker,
    Anchor,
]


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_documented(key: str) -> None:
    """Whoever writes a policy finds each of its keys explained."""
    assert key in NAMED


@pytest.mark.parametrize("word", [word for vocabulary in VOCABULARIES for word in get_args(vocabulary)])
def test_every_word_is_documented(word: str) -> None:
    """The words a key takes are listed where the key is explained."""
    assert word in NAMED


def test_rights_of_the_policy_are_all_rights() -> None:
    """The rights a policy speaks of are those a request can ask for."""
    assert set(words.RIGHTS) == set(get_args(Right))


def test_the_taxonomy_is_that_of_fideslang() -> None:
    """Key for key: the package is asked here and nowhere else, for importing it takes half a second."""
    assert words.categories() == {str(entry.fides_key) for entry in DEFAULT_TAXONOMY.data_category}
    assert words.uses() == {str(entry.fides_key) for entry in DEFAULT_TAXONOMY.data_use}
