"""The answer to an access request on a terminal: what it holds at a glance, or all of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from lapse.cli.output import Lines, Output, brief, mode, plain, show, stdout
from lapse.visible import visible

Document = Mapping[str, Any]


def glance(document: Document, files: Sequence[Path]) -> dict[str, object]:
    """Return what was written where, in counts: the content is in the files alone."""
    fields = sum(len(record["fields"]) for record in document["records"])
    found: dict[str, object] = {
        "request_id": document["request_id"],
        "records": len(document["records"]),
        "fields": fields,
        "files": [str(path) for path in files],
    }
    for name in ("recipients", "restricted"):
        if name in document:
            found[name] = len(document[name])
    return found | {"revealed": document["proof"]["root"]}


def whole(document: Document) -> None:
    """Print the answer: as it is for programs, else what each record says and what it is held for."""
    if mode.get() is Output.JSON:
        show(document)
        return
    show({**glance(document, ()), "files": Lines(["none: say --out FILE or --html FILE to hand it over"])})
    console = stdout()
    if not document["records"] and not document.get("kept"):
        console.print(Text("Nothing that opens is held of this person.", style="bold"))
    for record in document["records"]:
        console.print()
        title = f"{record['title']}, {brief(record['collected_at'])}"
        console.print(Text(visible(title), style="bold") + Text(f"  {record['source']}", style="dim"))
        console.print(_fields(record))
        console.print(_uses(record))
    if document.get("consents"):
        console.print()
        console.print(Text("Consents", style="bold"))
        console.print(_consents(document["consents"]))


def _fields(record: Mapping[str, Any]) -> Table:
    table = Table.grid(padding=(0, 2))
    for each in record["fields"]:
        name, why = Text(visible(each["field"]), style="dim"), Text(", ".join(each["purposes"]), style="dim")
        table.add_row(Text("  "), name, Text(plain(each["value"])), why)
    return table


def _uses(record: Mapping[str, Any]) -> Table:
    table = Table.grid(padding=(0, 2))
    for each in record.get("held_for", ()):
        mark = (
            Text("restricted", style="bold yellow")
            if each["restricted"]
            else Text(plain(each["unused"] or ""))
        )
        until = f"until {brief(each['until'])}"
        table.add_row(Text("  "), Text("held for", style="dim"), Text(each["purpose"]), Text(until), mark)
    for each in record.get("given_to", ()):
        what = ", ".join(each["categories"])
        table.add_row(
            Text("  "), Text("given to", style="dim"), Text(each["processor"]), Text(what), Text("")
        )
    return table


def _consents(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table.grid(padding=(0, 2))
    for each in rows:
        style = "green" if each["state"] == "granted" else "red"
        at = plain(brief(each["stated_at"]))
        table.add_row(
            Text("  "), Text(each["purpose"]), Text(each["state"], style=style), Text(at, style="dim")
        )
    return table
