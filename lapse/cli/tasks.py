"""Verbs about tasks: what somebody has to do because a recipient did not answer as it should."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lapse.cli.lazily import lazily
from lapse.cli.options import Data, Format, Timeout, Yes
from lapse.cli.output import Output, show, show_rows
from schemas.errors import BadInput

if TYPE_CHECKING:
    from lapse import main, tasks
else:
    main, tasks = lazily("lapse.main", "lapse.tasks")

Name = Annotated[str, typer.Argument(metavar="TASK", help="Its name, as `lapse task list` shows it.")]


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    task = typer.Typer(no_args_is_help=True, help="What recipients did not answer as they should.")
    for name, verb in (("list", task_list), ("show", task_show), ("done", task_done)):
        task.command(name)(verb)
    app.add_typer(task, name="task")


def task_list(
    processor: Annotated[
        str | None, typer.Option("--processor", metavar="NAME", help="Of this recipient alone.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Also what is awaited, and what was done of late.")
    ] = False,
    data: Data = None,
    _output: Format = Output.TABLE,
) -> None:
    """Show what somebody has to do, the longest due first: late, unfinished, manual, failed, review."""
    with main.installation(main.data_folder(data)) as here:
        rows = tasks.listed(here, processor=processor, every=every)
    columns = ("task", "state", "kind", "cause", "about", "purposes", "since", "due")
    show_rows("tasks", columns, rows, empty="Nothing is open.")


def task_show(name: Name, data: Data = None, _output: Format = Output.TABLE) -> None:
    """Show one task: what was asked, what was answered, and which letters were written about it."""
    with main.installation(main.data_folder(data)) as here:
        show(tasks.shown(here, name))


def task_done(
    name: Name,
    evidence: Annotated[
        str,
        typer.Option(
            "--evidence", metavar="FILE|SHA", help="What shows that it is done; its SHA-256 is kept, not it."
        ),
    ],
    data: Data = None,
    yes: Yes = False,
    timeout: Timeout = 60.0,
    _output: Format = Output.TABLE,
) -> None:
    """Say that a task is done. A receipt with the evidence's hash, signed by you, stays on `receipts`."""
    if not yes:
        raise BadInput("usage", "this is signed, and stays as proof", "TASK", "say --yes")
    with main.installation(main.data_folder(data)) as here:
        show(tasks.done(here, name, evidence, timeout))
