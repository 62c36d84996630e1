"""Pixel tokens: nobody else can make one, each has one spelling, and their events can be found again."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.times import DAY
from vault.tokens import (
    OPENS_PER_SECOND,
    TOKEN_CHARS,
    PixelKeys,
    SigningKey,
    expiry_day,
    mint,
    open_id,
    open_ids,
    read,
    unsubscribe_id,
)

KEYS = PixelKeys.generate(os.urandom)
MESSAGE = bytes(range(16))
SITES = ("shop", "www")


@given(st.binary(min_size=16, max_size=16), st.integers(0, 65535), st.sampled_from(SITES))
def test_what_is_minted_is_read(message_id: bytes, day: int, site: str) -> None:
    """Site, message and the end of the last day come back."""
    token = mint(KEYS, site=site, message_id=message_id, expires_day=day)
    found = read(token, KEYS, SITES)
    assert len(token) == TOKEN_CHARS
    assert found is not None
    assert (found.site, found.message_id, found.expires) == (site, message_id, (day + 1) * DAY)
    assert found.identifier == message_id.hex()


@given(st.integers(0, TOKEN_CHARS - 1), st.characters(max_codepoint=0x2FF))
def test_no_character_can_be_changed(at: int, character: str) -> None:
    """One other character anywhere, from whatever alphabet, is a forgery."""
    token = mint(KEYS, site="www", message_id=MESSAGE, expires_day=20_000)
    changed = token[:at] + character + token[at + 1 :]
    assert (read(changed, KEYS, SITES) is None) == (changed != token)


@given(st.text(max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    """Anything that was never minted reads as nothing."""
    assert read(text, KEYS, SITES) is None


def test_a_token_is_its_sites_own() -> None:
    """Other sites' tokens, and those of a removed site, are forgeries."""
    token = mint(KEYS, site="www", message_id=MESSAGE, expires_day=20_000)
    assert read(token, KEYS, ("shop",)) is None
    assert read(token, KEYS, ()) is None
    assert read(token, PixelKeys.generate(os.urandom), SITES) is None


def test_two_keys_live_and_the_third_turn_ends_the_first() -> None:
    """Tokens survive one rotation and not two; ids of their opens survive any."""
    token = mint(KEYS, site="www", message_id=MESSAGE, expires_day=20_000)
    once = KEYS.rotated(os.urandom)
    twice = once.rotated(os.urandom)
    assert read(token, once, SITES) is not None
    assert read(token, twice, SITES) is None
    assert open_id(KEYS, MESSAGE, 1, 0) == open_id(twice, MESSAGE, 1, 0)
    assert len({key.id for key in (*KEYS.signing, *twice.signing)}) == 4


def test_ids_of_opens_can_be_listed() -> None:
    """Every id between two seconds, all different, none an unsubscription's."""
    ids = list(open_ids(KEYS, MESSAGE, 100, 102))
    assert len(ids) == len(set(ids)) == 3 * OPENS_PER_SECOND
    assert open_id(KEYS, MESSAGE, 101, 7) in ids
    assert unsubscribe_id(KEYS, MESSAGE, 101) not in ids


def test_expiry_counts_days() -> None:
    """Today is the last day of a token of 0 days; negative ones are expired when made."""
    now = 20_000 * DAY + 5
    assert expiry_day(now, 0) == 20_000  # type: ignore[arg-type]  # Micros
    found = read(mint(KEYS, site="www", message_id=MESSAGE, expires_day=expiry_day(now, -1)), KEYS, SITES)  # type: ignore[arg-type]  # Micros
    assert found is not None
    assert found.expires <= now


def test_keys_travel_as_json_and_hide_in_repr() -> None:
    """The key file reads back; no repr shows a key; a wrong file says nothing of its content."""
    assert PixelKeys.from_json(KEYS.to_json()) == KEYS
    assert KEYS.id_key.hex() not in repr(KEYS)
    assert "key" not in repr(KEYS.signing[0])
    wrong = [
        "",
        "[]",
        "{}",
        json.dumps({"id_key": "AA==", "signing": [{"id": 0, "key": "AA=="}]}),
        json.dumps({"id_key": json.loads(KEYS.to_json())["id_key"], "signing": []}),
        json.dumps({"id_key": 1, "signing": []}),
    ]
    for text in wrong:
        with pytest.raises(ValueError, match="key") as error:
            PixelKeys.from_json(text)
        assert "AA==" not in str(error.value)


def test_what_cannot_be_minted_is_refused() -> None:
    """Message ids of another length, days outside two bytes, keys with one id."""
    with pytest.raises(ValueError, match="message id"):
        mint(KEYS, site="www", message_id=b"x", expires_day=1)
    with pytest.raises(ValueError, match="expiry day"):
        mint(KEYS, site="www", message_id=MESSAGE, expires_day=-1)
    twin = SigningKey(id=0, key=bytes(32))
    with pytest.raises(ValueError, match="distinct"):
        PixelKeys(id_key=bytes(32), signing=(twin, twin))
