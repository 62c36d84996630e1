"""The page of a stand-in: it shows the shelf, escapes everything, and asks nobody else for anything."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import aiohttp
import pytest

from processors import fakes
from processors.fakes.page import HEADERS, MOST, Called, Mark, page, part
from processors.registry import vendor

HERE = list(fakes.NAMES)
SAID = {"mailchimp": {"audience": "0123456789"}}
NASTY = "<script>alert(1)</script>\"'&\u202e"


def test_everything_is_escaped() -> None:
    """Names, values, ids, whatever else a fake says of an object, and the paths of calls."""
    held = {"id": NASTY, "fields": {NASTY: NASTY}, "purposes": [{"purpose": NASTY}], NASTY: NASTY}
    text = page(NASTY, part([held], [], [Called(0.0, NASTY, NASTY, 200)], 1.0))
    assert "<script>alert" not in text and text.count("<script>") == 1
    assert text.count("<bdi>&lt;script&gt;") >= 7


def test_the_page_takes_nothing_from_elsewhere_and_runs_only_what_is_its_own() -> None:
    """Its policy names the hashes of the one style and the one script; no attribute needs more."""
    text = page("stripe", part([{"id": "cus_1", "fields": {"email": "a@b.c"}}], [Mark(0.0, 1)], [], 1.0))
    for tag in ("style", "script"):
        [inner] = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.S)
        digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in HEADERS["Content-Security-Policy"]
    assert not re.search(r"\s(src|href|style|on\w+)=", text)
    assert "//" not in text.replace("<!doctype html>", "")


def test_the_shelf_is_counted_and_its_curve_drawn() -> None:
    """Also when it is empty now, and when it is too large to print."""
    full = [{"id": f"cus_{n}", "fields": {"email": f"{n}@b.c"}} for n in range(MOST + 5)]
    text = part(full, [Mark(0.0, 0), Mark(1.0, 65)], [], 2.0)
    assert "65 <span>on the shelf now, 65 at most" in text and "and 5 more" in text
    assert "M0.0,58.0" in text and "L600.0,4.0" in text
    empty = part([], [Mark(0.0, 0), Mark(1.0, 65), Mark(2.0, 0)], [], 3.0)
    assert "0 <span>on the shelf now, 65 at most" in empty and "The shelf is empty." in empty


def test_what_stands_beside_the_fields_is_said_in_words() -> None:
    """Purposes and their ends, not brackets; and who keeps nothing has no empty shelf."""
    purposes = [{"purpose": "news", "use_until": "2030"}, {"purpose": "offers", "use_until": "2031"}]
    text = part([{"id": "1", "fields": {"email": "a"}, "purposes": purposes}], [], [], 0.0)
    words = ("news", "2030", "offers", "2031")
    assert "{} {}, {} {}".format(*(f"<bdi>{word}</bdi>" for word in words)) in text
    assert "Nothing was ever kept here." in part([], [Mark(0.0, 0)], [], 1.0)


def test_a_field_that_was_blanked_is_seen_to_be() -> None:
    """An object that was only overwritten still stands there."""
    assert "blank" in part([{"id": "003", "fields": {"LastName": ""}}], [], [], 0.0)


@pytest.mark.parametrize("name", HERE)
async def test_every_fake_has_its_page(name: str, tmp_path: Path) -> None:
    """At its root, with the calls it had; what it holds as JSON beside it."""
    running = await fakes.start(name, secret_file=tmp_path / "shared")
    try:
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{running.url}/nowhere?email=a@b.c") as answer:
                assert answer.status >= 400
            async with http.get(running.url) as answer:
                text = await answer.text()
                assert answer.status == 200 and answer.content_type == "text/html"
                assert answer.headers["Content-Security-Policy"] == HEADERS["Content-Security-Policy"]
            assert f"<bdi>{name}</bdi>" in text and "/nowhere</bdi>" in text and "a@b.c" not in text
            for path in ("", "/_held"):
                stranger = {"Host": "evil.example:80"}
                async with http.get(running.url + path, headers=stranger) as answer:
                    assert answer.status == 403, "a name that a stranger let lead here"
            async with http.get(f"{running.url}/?part=1") as answer:
                assert "<html" not in await answer.text()
            async with http.get(f"{running.url}/_held") as answer:
                assert await answer.json() == {"objects": []}
    finally:
        await running.stop()


@pytest.mark.parametrize("name", [name for name in HERE if name != "partner"])
def test_a_fake_makes_credentials_its_connector_takes(name: str) -> None:
    """Of the form its vendor gives out."""
    offered = vendor(name)
    assert offered is not None
    made = fakes.credentials(name)
    assert made.keys() <= offered.secrets
    said: dict[str, str | int | bool] = {"base_url": "http://127.0.0.1:9", "allow_private": True}
    said |= SAID.get(name, {})
    offered.make.settings(said, made)
