"""Verbs that answer a person's rights: see and take along, restrict, object; and the requests that wait."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lapse.cli.lazily import lazily
from lapse.cli.options import Data, Format, Reason, Timeout, Who, Yes
from lapse.cli.output import Output, jsonable, show, show_rows
from schemas.errors import BadInput, Refused

if TYPE_CHECKING:
    from lapse import access, access_page, access_shown, layout, main, requests, rights
else:
    access, access_page, access_shown, layout, main, requests, rights = lazily(
        "lapse.access",
        "lapse.access_page",
        "lapse.access_shown",
        "lapse.layout",
        "lapse.main",
        "lapse.requests",
        "lapse.rights",
    )

MaybeWho = Annotated[
    str | None,
    typer.Argument(metavar="[KIND:VALUE]", help="email:…, phone:…, account:… or cookie:…; or --request."),
]
Purposes = Annotated[
    list[str] | None,
    typer.Option("--purpose", help="May be given several times; all that it can be by default."),
]
Request = Annotated[
    str | None, typer.Option("--request", metavar="ID", help="The request that waits for this answer.")
]
RequestId = Annotated[str, typer.Argument(metavar="REQUEST", help="As `lapse request list` names it.")]


def register(app: typer.Typer) -> None:
    """Add the verbs about requests."""
    request = typer.Typer(no_args_is_help=True, help="What people asked for, and until when it is answered.")
    request.command("list")(request_list)
    request.command("show")(request_show)
    request.command("refuse")(request_refuse)
    app.add_typer(request, name="request")


def about_one(subject: typer.Typer) -> None:
    """Add the verbs about one person beside those that are there."""
    subject.command("export")(subject_export)
    subject.command("restrict")(subject_restrict)
    subject.command("unrestrict")(subject_unrestrict)
    subject.command("object")(subject_object)


def subject_export(
    who: MaybeWho = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the answer as JSON here (0600).")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write it as one page to hand over (0600).")
    ] = None,
    portable: Annotated[
        bool,
        typer.Option("--portable", help="What they may take along (Art. 20), in place of all (Art. 15)."),
    ] = False,
    reason: Annotated[
        str, typer.Option("--reason", help="Why it is opened. No personal data.")
    ] = "asked for",
    proven: Annotated[
        str | None,
        typer.Option("--proven", metavar="HOW", help="How they showed that a shared identifier is theirs."),
    ] = None,
    request: Request = None,
    data: Data = None,
    timeout: Timeout = 60.0,
    _output: Format = Output.TABLE,
) -> None:
    """Open everything that is held of a person, for that person: what, for what, how long, who received it.

    The order stands on `control`, the opening on `decisions`. Answers alike for somebody erased and somebody
    nobody knows. With --out or --html the content is in the file alone.
    """
    if html is not None and portable:
        raise BadInput("usage", "what is taken along is for programs", "--html", "leave one of them out")
    files = [path for path in (out, html) if path is not None]
    _writable(files)
    with main.installation(main.data_folder(data)) as here:
        document = access.export(
            here, who, portability=portable, reason=reason, request=request, proven=proven, timeout=timeout
        )
        if out is not None:
            layout.write_json(out, jsonable(document))
        if html is not None:
            layout.write_atomically(html, access_page.page(document).encode())
        if files:
            show(access_shown.glance(document, files))
        else:
            access_shown.whole(document)
        if request is not None:
            requests.close(here, requests.named(request), document["right"], "answered", reason, timeout)


def _writable(files: list[Path]) -> None:
    """Refuse a place nothing can be written to before anything is opened for it."""
    for path in files:
        # A file takes the place of what stands there: of a device or a link that would break it for others.
        taken = path.is_symlink() or (path.exists() and not path.is_file())
        if taken or not os.access(path.absolute().parent, os.W_OK):
            do = "name a file in a folder that is there and yours"
            raise BadInput("bad_argument", "nothing can be written there", "--out, --html", do)
    if len({path.absolute() for path in files}) < len(files):
        what = "one would be written over the other"
        raise BadInput("bad_argument", what, "--out, --html", "name two files")


def subject_restrict(
    reason: Reason,
    who: MaybeWho = None,
    purpose: Purposes = None,
    request: Request = None,
    data: Data = None,
    timeout: Timeout = 60.0,
    _output: Format = Output.TABLE,
) -> None:
    """Keep a person's data and let nobody use it, from the moment this returns (GDPR Art. 18).

    Also what arrives of them later. Recipients that may hold a clear copy become tasks, to be told by hand.
    """
    with main.installation(main.data_folder(data)) as here:
        show(rights.restrict(here, who, purpose or [], reason, request=request, timeout=timeout))


def subject_unrestrict(
    who: Who,
    reason: Reason,
    purpose: Purposes = None,
    yes: Yes = False,
    data: Data = None,
    timeout: Timeout = 60.0,
    _output: Format = Output.TABLE,
) -> None:
    """Lift a restriction: what is held is used again. Whoever asked for it has to be told before."""
    if not yes:
        what = "the person has to be told before their data is used again (GDPR Art. 18 (3))"
        raise Refused("not_confirmed", what, "command line", "tell them, then say --yes")
    with main.installation(main.data_folder(data)) as here:
        show(rights.unrestrict(here, who, purpose or [], reason, timeout))


def subject_object(
    reason: Reason,
    who: MaybeWho = None,
    purpose: Purposes = None,
    request: Request = None,
    data: Data = None,
    timeout: Timeout = 60.0,
    _output: Format = Output.TABLE,
) -> None:
    """Enter a person's objection (GDPR Art. 21): what was held for these purposes becomes unreadable.

    Without --purpose it ends everything that rests on interests or consent. Recipients are told.
    """
    with main.installation(main.data_folder(data)) as here:
        show(rights.objects(here, who, purpose or [], reason, request=request, timeout=timeout))


def request_list(
    every: Annotated[bool, typer.Option("--all", help="Also what was answered or refused.")] = False,
    data: Data = None,
    _output: Format = Output.TABLE,
) -> None:
    """Show what people asked for and nobody has answered yet, the longest due first."""
    with main.installation(main.data_folder(data)) as here:
        rows = requests.listed(here, every=every)
    columns = ("request_id", "right", "state", "received_at", "due", "overdue", "purposes")
    show_rows("requests", columns, rows, empty="Nobody waits for an answer.")


def request_show(request: RequestId, data: Data = None, _output: Format = Output.TABLE) -> None:
    """Show one request: what was asked, until when it is due, every step and order about it on the log."""
    with main.installation(main.data_folder(data)) as here:
        found = requests.shown(here, request)
    show(found if _output is Output.JSON else requests.in_words(found))


def request_refuse(
    request: RequestId,
    reason: Reason,
    data: Data = None,
    timeout: Timeout = 60.0,
    _output: Format = Output.TABLE,
) -> None:
    """Say that a request is not granted, and why: unfounded, or nobody showed whose it is."""
    with main.installation(main.data_folder(data)) as here:
        show(requests.refuse(here, request, reason, timeout))
