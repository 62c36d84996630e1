"""The options every verb shares, each defined once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lapse.cli.output import Output, choose

Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", envvar="LAPSE_DATA", help="The data folder of the installation."),
]
Format = Annotated[
    Output, typer.Option("-o", "--output", callback=choose, help="table for people, json for programs.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do it without asking; programs must say this.")]
Reason = Annotated[
    str, typer.Option("--reason", help="Why, in words an auditor will read. No personal data.")
]
Timeout = Annotated[float, typer.Option("--timeout", metavar="S", help="Seconds to wait before exit 5.")]
Who = Annotated[str, typer.Argument(metavar="KIND:VALUE", help="email:…, phone:…, account:… or cookie:…")]
