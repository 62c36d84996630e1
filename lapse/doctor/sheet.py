"""The doctor's answer for people: what needs somebody first and in full, then everything that is well."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lapse.cli.output import plain
from lapse.doctor.finding import Finding


def sheet(findings: Sequence[Finding]) -> RenderableType:
    """Lay the findings out; every text is made printable, for topic names come from a cluster."""
    amiss = [each for each in findings if not each.ok]
    parts: list[RenderableType] = [_amiss(each) for each in amiss]
    return Group(*parts, _others([each for each in findings if each.ok]), Text(""), _closing(findings, amiss))


def _amiss(finding: Finding) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(
        Text(f"✗ {plain(finding.check)}", style="bold red"), Text(plain(finding.figure), style="bold")
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


def _closing(findings: Sequence[Finding], amiss: Sequence[Finding]) -> Text:
    unknown = sum(each.state == "unknown" for each in findings)
    if not amiss:
        return Text(f"all {len(findings)} well", style="green")
    said = f"{len(amiss)} of {len(findings)} need somebody"
    return Text(said + (f", {unknown} could not be looked at" if unknown else ""), style="bold red")
