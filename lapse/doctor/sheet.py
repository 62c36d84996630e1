"""The doctor's answer for people: what needs somebody, then what is to be set up, then what is well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lapse.cli.output import plain
from lapse.doctor.finding import Finding


def sheet(findings: Sequence[Finding]) -> RenderableType:
    """Lay the findings out; every text is made printable, for topic names come from a cluster."""
    amiss = [each for each in findings if not each.ok]
    waiting = [each for each in findings if each.state == "to do"]
    parts: list[RenderableType] = [_full(each, "✗", "bold red") for each in amiss]
    parts += [_full(replace(each, where=None), "○", "bold cyan") for each in waiting]
    others = [each for each in findings if each.ok and each.state != "to do"]
    return Group(*parts, _others(others), Text(""), _closing(findings, amiss, len(waiting)))


def _full(finding: Finding, mark: str, style: str) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(
        Text(f"{mark} {plain(finding.check)}", style=style), Text(plain(finding.figure), style="bold")
    )
    for name, said in (("where", finding.where), ("do", finding.do)):
        if said:
            table.add_row(Text(f"  {name}", style="dim"), Text(plain(said)))
    return Padding(table, (0, 0, 1, 0), expand=False)


def _others(findings: Sequence[Finding]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for each in findings:
        mark, style = ("✓", "green") if each.state == "ok" else ("?", "yellow")
        name = Text.assemble((f"{mark} ", style), plain(each.check))
        table.add_row(name, Text(plain(each.figure), style="" if each.state == "ok" else "yellow"))
    return table


def _closing(findings: Sequence[Finding], amiss: Sequence[Finding], to_do: int) -> Text:
    unknown = sum(each.state == "unknown" for each in findings)
    later = f"; {to_do} to set up when you are ready" if to_do else ""
    if not amiss:
        return Text(f"all {len(findings) - to_do} well{later}", style="green")
    said = f"{len(amiss)} of {len(findings)} need somebody"
    return Text(said + (f", {unknown} could not be looked at" if unknown else "") + later, style="bold red")
