"""The verb about recalls: what was asked back, what was answered, what is open."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lapse.cli.lazily import lazily
from lapse.cli.options import Data, Format
from lapse.cli.output import Output, say, show
from schemas.errors import BadInput

if TYPE_CHECKING:
    from lapse import layout, main, recall_page, recalls
else:
    layout, main, recall_page, recalls = lazily(
        "lapse.layout", "lapse.main", "lapse.recall_page", "lapse.recalls"
    )

LOOK_SECONDS = 1.0


def register(app: typer.Typer) -> None:
    """Add this verb."""
    recall = typer.Typer(no_args_is_help=True, help="What recipients were asked to give back.")
    recall.command("show")(recall_show)
    app.add_typer(recall, name="recall")


def recall_show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The recipient.")],
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write it as .html or .json (0600).")
    ] = None,
    watch: Annotated[
        float,
        typer.Option("--watch", metavar="S", help="Say how far it is for so long, or until it is over."),
    ] = 0.0,
    data: Data = None,
    _output: Format = Output.TABLE,
) -> None:
    """Show the latest recall of a recipient: what it held, what it answered, what is open."""
    if report is not None and report.suffix not in (".html", ".json"):
        raise BadInput("usage", "a report is a .html or a .json file", "--report", "name it so")
    with main.installation(main.data_folder(data)) as here:
        found, deadline = recalls.gather(here, name), time.monotonic() + watch
        while not found.whole and time.monotonic() < deadline:
            say(f"{found.progress:.0%}, {found.open} open")
            time.sleep(LOOK_SECONDS)
            found = recalls.gather(here, name)
        document = found.as_json()
        if report is not None:
            text = json.dumps(document, indent=2) if report.suffix == ".json" else recall_page.page(found)
            layout.write_atomically(report, text.encode())
    brief = {key: value for key, value in document.items() if key != "receipts"}
    show(document if _output is Output.JSON else brief)
