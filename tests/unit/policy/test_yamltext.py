"""YAML's surprises are refused, each with the line it stands on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import BadInput
from schemas.policy import load
from schemas.policy.yamltext import DEEPEST, LARGEST, MOST, read

UNSEEN = "a character nobody sees (U+0085, U+2028, a change of direction, …)"
BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n"


@pytest.mark.parametrize(
    ("text", "where", "why"),
    [
        ("", "p.yaml", "the file is empty"),
        ("# nothing\n", "p.yaml", "the file is empty"),
        ("a: 1\nb: 2\na: 3\n", "p.yaml:3", "the key `a` stands here a second time (first on line 1)"),
        ("x:\n  - {k: 1, k: 2}\n", "p.yaml:2", "the key `k` stands here a second time (first on line 2)"),
        (BOMB, "p.yaml:1", "anchors and aliases are not taken"),
        ("a: 1\nb: *a\n", "p.yaml:2", "anchors and aliases are not taken"),
        ("a: &x 1\n", "p.yaml:1", "anchors and aliases are not taken"),
        ("? &x a\n: 1\n", "p.yaml:1", "anchors and aliases are not taken"),
        ("<<: {a: 1}\n", "p.yaml:1", "merge keys (<<) are not taken"),
        ("a: !!python/object/apply:os.system [id]\n", "p.yaml:1", "tags (!…) are not taken"),
        ("a: !!str 1\n", "p.yaml:1", "tags (!…) are not taken"),
        ("!x a: 1\n", "p.yaml:1", "tags (!…) are not taken"),
        ("a: 1\n---\nb: 2\n", "p.yaml:2", "a second document begins here"),
        ("[1, 2]: x\n", "p.yaml:1", "a key that is no text"),
        ("null: x\n", "p.yaml:1", "a key that is no text"),
        ("true: x\n", "p.yaml:1", "a key that is no text"),
        ('a: "\\0"\n', "p.yaml:1", "a text with control characters"),
        ('a: "\\x85"\n', "p.yaml:1", UNSEEN),
        ('a: "\\ud800"\n', "p.yaml:1", "a text with control characters"),
        ("a: \ud800\n", "p.yaml", "the file holds characters YAML does not allow"),
        ("a: \x00\n", "p.yaml", "the file holds characters YAML does not allow"),
        ("[" * 40, "p.yaml:1", f"more than {DEEPEST} levels of nesting"),
        ("- " * 40, "p.yaml:1", f"more than {DEEPEST} levels of nesting"),
        ("a: [\n", "p.yaml:2", "this is not YAML: expected the node content, but found '<stream end>'"),
        ("a:\n\t- 1\n", "p.yaml:2", "this is not YAML: found character '\\t' that cannot start any token"),
        ("a: 1\n# kept a month\u2028retention: P100Y\n", "p.yaml:2", UNSEEN),
        ("a: 1\n# kept a month\x85retention: P100Y\n", "p.yaml:2", UNSEEN),
        ("a: 1\n# kept a month\rretention: P100Y\n", "p.yaml:2", UNSEEN),
        ("a: 1 # \u202e}\u2066 kept a month\n", "p.yaml:1", UNSEEN),
        ("pay\u200bment: 1\npayment: 2\n", "p.yaml:1", UNSEEN),
        ("a: x\ufeff\n", "p.yaml:1", UNSEEN),
        ("a: \ufffd\n", "p.yaml:1", UNSEEN),
        ('a: "\\u202e"\n', "p.yaml:1", UNSEEN),
        ('a: "\\U000e0041"\n', "p.yaml:1", UNSEEN),
        ("a: " + "[" * 3 + "1, " * (MOST + 1), "p.yaml:1", f"more than {MOST} values"),
        ("{a: b, 'a': c}\n", "p.yaml:1", "the key `a` stands here a second time (first on line 1)"),
        ("1: b\n'1': c\n", "p.yaml:2", "the key `1` stands here a second time (first on line 1)"),
        ("%TAG ! tag:x,2000:\n---\na: !y 1\n", "p.yaml:3", "tags (!…) are not taken"),
        ("a: !!binary aGk=\n", "p.yaml:1", "tags (!…) are not taken"),
        ("a: &x\n", "p.yaml:1", "anchors and aliases are not taken"),
        ("'<<': {a: 1}\n", "p.yaml:1", "merge keys (<<) are not taken"),
        ("x" * (LARGEST + 1), "p.yaml", "the file is larger than 1 MiB"),
    ],
)
def test_refused(text: str, where: str, why: str) -> None:
    """What a plain reading of YAML would quietly take, or stumble over, is refused with its line."""
    with pytest.raises(BadInput) as caught:
        read(text, where="p.yaml")
    assert (caught.value.where, caught.value.what) == (where, why)
    assert len(caught.value.findings) == 1
    assert caught.value.do


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("NO", "NO"),
        ("yes", "yes"),
        ("on", "on"),
        ("true", True),
        ("false", False),
        ("True", "True"),
        ("~", None),
        ("12", 12),
        ("-1", -1),
        ("012", "012"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("2018-05-24", "2018-05-24"),
        ("1.5", 1.5),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("-.INF", "-.INF"),
        ("NaN", "NaN"),
        ("0o17", "0o17"),
        ("0b1", "0b1"),
        ("1e9", "1e9"),
        ("\uff19", "\uff19"),
        ("2001-12-14t21:59:43.10-05:00", "2001-12-14t21:59:43.10-05:00"),
        ("=", "="),
        ("1e400", "1e400"),
        ("9" * 5000, "9" * 5000),
        ('"12"', "12"),
        ("'true'", "true"),
        ("|-\n  true", "true"),
    ],
)
def test_scalars(text: str, value: object) -> None:
    """Only what is plainly a number, true, false or null is one; everything else stays the text it is."""
    found, lines = read(f"a: {text}\n", where="p.yaml")
    assert found == {"a": value}
    assert type(found["a"]) is type(value)
    assert lines[("a",)] == 1


def test_lines() -> None:
    """Every value knows the line of its key, also in lists and with keys that look like numbers."""
    found, lines = read("a:\n  1:\n    - x\n    - {b: c}\n", where="p.yaml")
    assert found == {"a": {"1": ["x", {"b": "c"}]}}
    assert lines == {
        (): 1,
        ("a",): 1,
        ("a", "1"): 2,
        ("a", "1", 0): 3,
        ("a", "1", 1): 4,
        ("a", "1", 1, "b"): 4,
    }


@pytest.mark.parametrize("text", ["just words", "- a\n- b\n", "12", "null"])
def test_no_mapping(text: str) -> None:
    """A file that is no mapping at all is told so."""
    with pytest.raises(BadInput) as caught:
        load(text, where="p.yaml")
    assert caught.value.where == "p.yaml:1"
    assert caught.value.what == "this is not a mapping"


@given(st.text(max_size=200) | st.text(alphabet="a:-[]{}&*!|>'\"#?%@, \n\t", max_size=60))
def test_any_text_is_answered(text: str) -> None:
    """Whatever the text is, it is refused in the same way: no policy is that short."""
    with pytest.raises(BadInput):
        load(text, where="p.yaml")
