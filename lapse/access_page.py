"""The answer to an access request as one HTML page, written for the person who asked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lapse.page import day, section, table, text, tiles, whole

Row = Mapping[str, Any]
_STYLE = """
h3{font-size:.8rem;font-weight:600;color:var(--soft);margin:1.1rem 0 .2rem}
ul{margin:.2rem 0;padding-left:1.2rem}
.fields td:first-child{width:9rem}
.said{white-space:pre-wrap;overflow-wrap:anywhere}
.small{font-size:.85rem;margin-bottom:0}
"""
BASES: Mapping[str, str] = {
    "consent": "you agreed to it",
    "contract": "it is needed for what you asked of us",
    "legal_obligation": "the law obliges us to",
    "legitimate_interests": "we have an interest in it that we weighed against yours",
    "legal_claims": "it shows what was agreed, should there be a dispute",
    "vital": "it protects somebody's life",
    "public_task": "it serves a task in the public interest",
}
"""Lawful bases (GDPR Art. 6 (1)) in words for the person."""
_SPAN = re.compile(r"\bP(?P<time>T?)(?P<count>\d+)(?P<unit>[YMWDHS])\b")
_DATES = {"Y": "year", "W": "week", "D": "day", "H": "hour", "S": "second"}
RIGHTS: Mapping[str, str] = {
    "access": "ask what we hold of you",
    "rectification": "have it corrected",
    "erasure": "have it erased",
    "restriction": "have us keep it and not use it",
    "objection": "object to its use",
    "portability": "take along what you gave us",
}
SAID: Mapping[str, tuple[str, str]] = {
    "granted": ("good", "you agreed"),
    "denied": ("bad", "you did not agree, or took it back"),
    "objected": ("bad", "you objected"),
}


def page(document: Mapping[str, Any]) -> str:
    """Return an access document (`lapse/access/1`) as HTML."""
    titles = {each["purpose"]: each["title"] for each in document["purposes"]}
    names = {each["processor"]: each["title"] for each in document["recipients"]}
    parts = (
        _head(document),
        *(_record(record, titles, names) for record in document["records"]),
        _kept(document["kept"], titles),
        _purposes(document["purposes"], document["restricted"]),
        _recipients(document["recipients"], titles),
        _consents(document["consents"]),
        _rights(document["rights"]),
        _foot(document),
    )
    return whole("What we hold of you", "".join(parts), _STYLE)


def _head(document: Mapping[str, Any]) -> str:
    policy, records = document["policy"], document["records"]
    pill = ' <span class="pill wait">use restricted</span>' if document["restricted"] else ""
    figures = [
        (str(len(records)), "records"),
        (str(sum(len(record["fields"]) for record in records)), "fields in them"),
        (str(len(document["purposes"])), "purposes they serve"),
        (str(len(document["recipients"])), "others who received some"),
    ]
    inner = tiles(figures)
    if not records and not document["kept"]:
        inner = "<p>Nothing that anybody can read. What we may have held once has been made unreadable.</p>"
    who, at = text(document["asked_as"].partition(":")[2] or None), day(document["made_at"])
    return (
        f"<header><p>Your data</p><h1>What we hold of you{pill}</h1>"
        f"<p>Asked for as {who}, answered on {at}, under &ldquo;{text(policy['name'])}&rdquo;, "
        f"version {text(policy['version'])}.</p></header>"
        f"<section>{inner}</section>"
    )


def _record(record: Row, titles: Mapping[str, str], names: Mapping[str, str]) -> str:
    """One record: what it says, what it is held for and until when, who received what of it."""
    how = "You gave us this" if record["provided"] == "given" else "This was observed"
    fields = [
        (f"<span class=soft>{text(_word(each['field']))}</span>", _value(each["value"]))
        for each in record["fields"]
    ]
    uses = "".join(f"<li>{_use(each, titles)}</li>" for each in record["held_for"])
    given = "".join(f"<li>{_given(each, record, names)}</li>" for each in record["given_to"])
    more = f"<h3>Who received some of it</h3><ul>{given}</ul>" if given else ""
    return (
        f"<section><h2>{text(record['title'])}</h2>"
        f"<p class=soft>{how} on {day(record['collected_at'])}.</p>"
        f"<div class=fields>{table((), fields)}</div><h3>What we hold it for</h3><ul>{uses}</ul>{more}"
        f"<p class='soft small'>Record <code>{text(record['record_id'])}</code>"
        f"{_revised(record['revision'])}</p></section>"
    )


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return "<br>".join(f"{text(name)}: {text(each)}" for name, each in value.items())
    return f'<span class="said">{text(value)}</span>'


def _word(field: str) -> str:
    return field.replace("_", " ").replace("properties.", "")


def _use(each: Row, titles: Mapping[str, str]) -> str:
    until = f"{text(titles.get(each['purpose'], each['purpose']))}, until {_when(each['until'])}"
    if each["restricted"]:
        return f'{until} <span class="pill wait">kept, not used</span>'
    return f"{until} <span class=soft>(not used now)</span>" if each["unused"] else until


def _given(each: Row, record: Row, names: Mapping[str, str]) -> str:
    """Who received which of the fields that still open: by their names, for categories are ours."""
    got = [_word(field["field"]) for field in record["fields"] if field["category"] in each["categories"]]
    who, what = text(names.get(each["processor"], each["processor"])), text(", ".join(got) or None)
    return f"{who}: {what} <span class=soft>since {_when(each['since'])}</span>"


def _when(at: str | None) -> str:
    """A moment in words: its day alone where it is a midnight, as due dates of days are."""
    said = day(at)
    return said.removesuffix(" 00:00:00 UTC")


def _kept_for(retention: str) -> str:
    """A retention for people: `P6M from collection` is 6 months from collection."""
    return text(_SPAN.sub(_spelled, retention).replace("_", " "))


def _spelled(found: re.Match[str]) -> str:
    units = {**_DATES, "M": "minute"} if found["time"] else {**_DATES, "M": "month"}
    count, unit = found["count"], units[found["unit"]]
    return f"{count} {unit}" if count == "1" else f"{count} {unit}s"


def _revised(revision: int) -> str:
    return (
        f", corrected {revision - 1} times" if revision > 2 else ", corrected once" if revision == 2 else ""
    )


def _kept(rows: Sequence[Row], titles: Mapping[str, str]) -> str:
    if not rows:
        return ""
    cells = [
        (
            text(each["what"]) + _finder(each["found_out_by"]),
            text(each["value"]),
            text(titles.get(each["purpose"], each["purpose"])),
        )
        for each in rows
    ]
    return section("What we keep beside your records", table(("What", "Value", "For"), cells))


def _finder(by: str | None) -> str:
    return f" <span class=soft>(found out by {text(by)})</span>" if by else ""


def _purposes(rows: Sequence[Row], restricted: Sequence[str]) -> str:
    if not rows:
        return ""
    cells = [
        (
            f"<b>{text(each['title'])}</b>{_pill(each['purpose'] in restricted)}<br>"
            f"<span class=soft>{text(each['says'] or '')}</span>",
            text(BASES.get(each["basis"], each["basis"])) + _because(each["because"]),
            _kept_for(each["retention"]),
        )
        for each in rows
    ]
    return section("Why we hold it, and for how long", table(("Purpose", "We may, because", "Kept"), cells))


def _pill(restricted: bool) -> str:
    return ' <span class="pill wait">restricted</span>' if restricted else ""


def _because(why: str | None) -> str:
    return f"<br><span class=soft>{text(why)}</span>" if why else ""


def _recipients(rows: Sequence[Row], titles: Mapping[str, str]) -> str:
    if not rows:
        return section("Who received it", "<p>Nobody but us.</p>")
    cells = [
        (
            f"<b>{text(each['title'])}</b>{_passed(each['passes_on_to'])}",
            text(each["region"])
            + (f", under {text(_word(each['safeguards']))}" if each["safeguards"] else ""),
            text(", ".join(titles.get(name, name) for name in each["purposes"]) or None),
        )
        for each in rows
    ]
    note = "Each may use it for these purposes alone, and has to remove it when they end."
    shown = table(("Who", "Where", "For"), cells)
    return section("Who received it", f"{shown}<p class='soft small'>{note}</p>")


def _passed(rows: Sequence[Row]) -> str:
    named = ", ".join(f"{text(each['name'])} ({text(each['region'])})" for each in rows)
    return f"<br><span class=soft>and those who work for it: {named}</span>" if named else ""


def _consents(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    cells = [
        (
            text(each["title"]),
            f'<span class="dot {SAID[each["state"]][0]}"></span>{SAID[each["state"]][1]}',
            day(each["stated_at"]),
        )
        for each in rows
    ]
    return section("What you have said", table(("Purpose", "You said", "On"), cells))


def _rights(rows: Sequence[Row]) -> str:
    items = "".join(
        f"<li>{text(RIGHTS[each['right']])} <span class=soft>({text(each['article'])}, answered within "
        f"{text(each['answer_days'])} days)</span></li>"
        for each in rows
        if each["right"] in RIGHTS
    )
    more = "<li>complain to a supervisory authority <span class=soft>(GDPR Art. 77)</span></li>"
    return section("What you may do", f"<p>You may</p><ul>{items}{more}</ul>")


def _foot(document: Mapping[str, Any]) -> str:
    return (
        f"<footer>Request <code>{text(document['request_id'])}</code>. That this was opened for you stands "
        "in our log, without your name. This page holds personal data: keep it as you keep a letter.</footer>"
    )
