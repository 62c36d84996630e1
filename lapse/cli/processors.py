"""Verbs about recipients: who is approved, stop one at once, start one, bring one on board."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lapse.cli.lazily import lazily
from lapse.cli.options import Data, Format, Reason, Timeout, Yes
from lapse.cli.output import Output, show, show_rows, stdout
from lapse.visible import visible
from schemas.errors import BadInput

if TYPE_CHECKING:
    from lapse import conforming, connecting, main, recipients, showing
else:
    conforming, connecting, main, recipients, showing = lazily(
        "lapse.conforming", "lapse.connecting", "lapse.main", "lapse.recipients", "lapse.showing"
    )

Name = Annotated[str, typer.Argument(metavar="NAME", help="A processor the policy names.")]


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    processor = typer.Typer(no_args_is_help=True, help="The recipients the policy approves.")
    for name, verb in (
        ("list", processor_list),
        ("show", processor_show),
        ("check", processor_check),
        ("conform", processor_conform),
        ("approve", processor_approve),
        ("suspend", processor_suspend),
        ("resume", processor_resume),
        ("recall", processor_recall),
        ("onboard", processor_onboard),
        ("credentials", processor_credentials),
    ):
        processor.command(name)(verb)
    app.add_typer(processor, name="processor")


def processor_list(data: Data = None, _output: Format = Output.TABLE) -> None:
    """Show every recipient: state, since when, until when its assurance holds, what it may have for what."""
    with main.installation(main.data_folder(data)) as here:
        rows = recipients.listed(here)
    columns = ("processor", "state", "since", "assurance_until", "connector", "calls", "region", "purposes")
    show_rows("processors", columns, rows, empty="The policy names no processor.")


def processor_show(name: Name, data: Data = None, _output: Format = Output.TABLE) -> None:
    """Show all that is known of a recipient.

    What it may have and under which names, where it is and to whom it passes data on, what its interface can
    erase, what it holds, and the lapse that is open longest.
    """
    with main.installation(main.data_folder(data)) as here:
        show(showing.shown(here, name))


def processor_check(
    name: Name, data: Data = None, timeout: Timeout = 20.0, _output: Format = Output.TABLE
) -> None:
    """Prove the credentials of a recipient that we call; nothing of anybody is sent or read.

    Ends with 0 if they hold, 3 if it refuses them, 5 if it does not answer, 2 if something is missing here.
    """
    with main.installation(main.data_folder(data)) as here:
        show(connecting.check(here, name, timeout))


def processor_conform(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A connector, or a processor the policy names.")
    ] = None,
    module: Annotated[
        str | None,
        typer.Option("--module", metavar="PKG.MOD:FUNCTION", help="Your own: returns a conformance Party."),
    ] = None,
    situation: Annotated[
        list[str] | None, typer.Option("--situation", metavar="ID", help="Only this one; may be repeated.")
    ] = None,
    seed: Annotated[str, typer.Option("--seed", help="Another seed draws other variants.")] = "lapse",
    most: Annotated[
        int, typer.Option("--most", min=1, max=100_000, help="Variants played of a situation that has more.")
    ] = 16,
    data: Data = None,
    output: Format = Output.TABLE,
) -> int:
    """Put a connector through every situation it must come through, beside a stand-in on this machine.

    Nothing of anybody is used, and nobody is called. Exit 1 where a situation failed; its trace is shown.
    """
    asked = conforming.Asked(name=name, module=module, situations=situation or (), seed=seed, most=most)
    results = conforming.conforms(asked, data)
    columns = ("situation", "held", "runs", "why")
    rows = [conforming.row(each, traced=output is Output.JSON) for each in results]
    show_rows("situations", columns, rows, empty="There is no situation.")
    failed = [each for each in results if each.held == "failed"]
    if output is Output.TABLE:
        for each in failed:
            stdout().print("\n".join((f"\n{each.situation}: {each.why}", *each.trace)), markup=False)
    return int(bool(failed))


def processor_approve(
    name: Name,
    evidence: Annotated[
        str | None, typer.Option("--evidence", help="Where the assurance is written down.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="DATE", help="The assurance ends (RFC 3339 date).")
    ] = None,
    data: Data = None,
    timeout: Timeout = 60.0,
    _output: Format = Output.TABLE,
) -> None:
    """Let a processor receive.

    Refused where its safeguard no longer holds, its assurance has run out, or what a transfer to its country
    needs is not stated.
    """
    with main.installation(main.data_folder(data)) as here:
        show(recipients.approve(here, name, evidence=evidence, until=until, timeout=timeout))


def processor_suspend(
    name: Name,
    reason: Reason = "ordered by an operator",
    recall: Annotated[bool, typer.Option("--recall", help="Ask back everything it holds.")] = False,
    data: Data = None,
    timeout: Timeout = 60.0,
    _output: Format = Output.TABLE,
) -> None:
    """Stop a processor at once, also for records already on its topic; returns when it is in force."""
    with main.installation(main.data_folder(data)) as here:
        show(recipients.suspend(here, name, reason, recall=recall, timeout=timeout))


def processor_resume(
    name: Name, data: Data = None, timeout: Timeout = 60.0, _output: Format = Output.TABLE
) -> None:
    """Let a suspended processor receive again, as it was approved last; returns when it is in force."""
    with main.installation(main.data_folder(data)) as here:
        show(recipients.resume(here, name, timeout=timeout))


def processor_recall(
    name: Name,
    reason: Reason = "ordered by an operator",
    data: Data = None,
    timeout: Timeout = 60.0,
    _output: Format = Output.TABLE,
) -> None:
    """Suspend a processor and ask back all it holds; `lapse recall show NAME` follows what it answers."""
    with main.installation(main.data_folder(data)) as here:
        show(recipients.suspend(here, name, reason, recall=True, timeout=timeout))


def processor_onboard(
    name: Name,
    data: Data = None,
    output: Format = Output.TABLE,
) -> None:
    """Print what a consumer's team needs: topic, group, addresses, credentials, how to open a record."""
    with main.installation(main.data_folder(data)) as here:
        facts, guide = recipients.onboard(here, name)
    if output is Output.JSON:
        show(facts)
    else:
        stdout().print("\n".join(visible(line) for line in guide.split("\n")), markup=False)


def processor_credentials(
    name: Name,
    rotate: Annotated[
        bool, typer.Option("--rotate", help="Make new ones; the old token and password end at once.")
    ] = False,
    file: Annotated[Path | None, typer.Option("--to", metavar="FILE", help="Write them here (0600).")] = None,
    data: Data = None,
    yes: Yes = False,
    _output: Format = Output.TABLE,
) -> None:
    """Say where a processor's credentials lie, or rotate them.

    Secrets go to a 0600 file, never to the screen.
    """
    if rotate and not yes:
        raise BadInput("usage", "the old token and password end at once", "--rotate", "say --yes")
    with main.installation(main.data_folder(data)) as here:
        show(recipients.credentials(here, name, rotate=rotate, copy_to=file))
