"""Verbs about a data subject: what is held, erasure, consent, and holds for a dispute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lapse.cli.lazily import lazily
from lapse.cli.options import Data, Format, Reason, Timeout, Who, Yes
from lapse.cli.output import Output, say, show, show_rows
from lapse.cli.rights import MaybeWho, Request, about_one
from schemas.errors import BadInput, Refused

if TYPE_CHECKING:
    from lapse import correcting, holds, main, requests, rights, subjects
else:
    correcting, holds, main, requests, rights, subjects = lazily(
        "lapse.correcting",
        "lapse.holds",
        "lapse.main",
        "lapse.requests",
        "lapse.rights",
        "lapse.subjects",
    )


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    subject = typer.Typer(no_args_is_help=True, help="One data subject: look, hand over, restrict, forget.")
    subject.command("show")(subject_show)
    subject.command("erase")(subject_erase)
    subject.command("correct")(subject_correct)
    about_one(subject)
    app.add_typer(subject, name="subject")
    consent = typer.Typer(no_args_is_help=True, help="What a data subject allows.")
    consent.command("grant")(consent_grant)
    consent.command("withdraw")(consent_withdraw)
    app.add_typer(consent, name="consent")
    hold = typer.Typer(
        no_args_is_help=True, help="Keep what a dispute or an authority needs, under its own key."
    )
    hold.command("place")(hold_place)
    hold.command("release")(hold_release)
    hold.command("list")(hold_list)
    hold.command("open")(hold_open)
    app.add_typer(hold, name="hold")


def subject_show(who: Who, data: Data = None, _output: Format = Output.TABLE) -> None:
    """Show per purpose what state a person is in: consent, since when, floor, generation; opens nothing."""
    with main.installation(main.data_folder(data)) as here:
        rows = subjects.show(here, who)
    show_rows(
        "purposes",
        ("purpose", "state", "stated_at", "not_before", "generation", "restricted", "held_since"),
        rows,
        empty="Nobody is known by this identifier (or they were erased: both look the same).",
    )


def subject_erase(
    reason: Reason,
    who: MaybeWho = None,
    request: Request = None,
    data: Data = None,
    yes: Yes = False,
    timeout: Timeout = 60.0,
    _output: Format = Output.TABLE,
) -> None:
    """Forget a person: every key is destroyed, every recipient told, late arrivals are turned away.

    Answers alike for a person nobody knows. Purposes the law obliges you to keep stay, restricted. Who is
    named beside a request counts; without a name everybody it names is forgotten.
    """
    _sure(yes, "This destroys keys. It cannot be undone.")
    with main.installation(main.data_folder(data)) as here:
        show(rights.erase(here, who, reason, request, timeout))


def subject_correct(
    who: Who,
    reason: Reason,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="May be given several times.")
    ] = None,
    unset: Annotated[
        list[str] | None, typer.Option(metavar="FIELD", help="Blank a field; may be given several times.")
    ] = None,
    source: Annotated[
        str | None, typer.Option(metavar="form/NAME", help="Only in what came by this form.")
    ] = None,
    request: Request = None,
    data: Data = None,
    yes: Yes = False,
    timeout: Timeout = 60.0,
    _output: Format = Output.TABLE,
) -> None:
    """Correct what a person said in forms: each record with the field gets a next revision.

    The old one opens nowhere, recipients get the new one.

    Answers alike for a person nobody knows. What the person is found by cannot be corrected.
    """
    wanted = correcting.changes(set_ or (), unset or ())
    _sure(yes, "What is held now can not be read again.")
    with main.installation(main.data_folder(data)) as here:
        asked = None if request is None else requests.asked(here, who, "rectification", request)
        request_id = None if asked is None else asked.request_id
        done = correcting.correct(here, who, wanted, source, reason, timeout, request_id=request_id)
        if asked is not None and correcting.settles(done):
            requests.close(here, asked.request_id, "rectification", "answered", reason, timeout)
        show(done)


def consent_grant(
    who: Who,
    purpose: Annotated[str, typer.Argument()],
    data: Data = None,
    timeout: Timeout = 60.0,
    _output: Format = Output.TABLE,
) -> None:
    """Record a consent given outside a form, on the phone say.

    It counts from now; it never revives old data.
    """
    with main.installation(main.data_folder(data)) as here:
        show(subjects.state_consent(here, who, purpose, granted=True, timeout=timeout))


def consent_withdraw(
    who: Who,
    purpose: Annotated[str, typer.Argument()],
    data: Data = None,
    timeout: Timeout = 60.0,
    _output: Format = Output.TABLE,
) -> None:
    """Record a withdrawal: what was held for this purpose becomes unreadable, and recipients are told."""
    with main.installation(main.data_folder(data)) as here:
        show(subjects.state_consent(here, who, purpose, granted=False, timeout=timeout))


def hold_place(
    who: Who,
    purpose: Annotated[list[str], typer.Option("--purpose", help="May be given several times.")],
    reason: Reason,
    data: Data = None,
    timeout: Timeout = 60.0,
    _output: Format = Output.TABLE,
) -> None:
    """Keep a person's data of these purposes readable under the hold's id alone; says what is gone."""
    with main.installation(main.data_folder(data)) as here:
        show(holds.place(here, who, purpose, reason, timeout))


def hold_release(
    hold_id: str, data: Data = None, yes: Yes = False, timeout: Timeout = 60.0, _output: Format = Output.TABLE
) -> None:
    """End a hold; what it kept past its time is destroyed."""
    _sure(yes, "What this hold kept is destroyed with it.")
    with main.installation(main.data_folder(data)) as here:
        show(holds.release(here, hold_id, timeout))


def hold_list(data: Data = None, _output: Format = Output.TABLE) -> None:
    """Show the holds that stand."""
    with main.installation(main.data_folder(data)) as here:
        show_rows(
            "holds",
            ("hold_id", "purposes", "placed_at", "escrowed"),
            holds.listed(here),
            empty="No hold stands.",
        )


def hold_open(hold_id: str, reason: Reason, data: Data = None, _output: Format = Output.TABLE) -> None:
    """Open what a hold keeps; the reveal itself is recorded on `decisions`."""
    with main.installation(main.data_folder(data)) as here:
        rows = holds.open_held(here, hold_id, reason)
    show_rows(
        "records",
        ("record_id", "purpose", "period", "fields"),
        rows,
        empty="The hold keeps nothing readable.",
    )


def _sure(yes: bool, what: str) -> None:
    if yes:
        return
    say(what)
    try:
        if typer.confirm("Go on?", default=False):
            return
    except typer.Abort:
        raise BadInput("usage", "nobody is there to confirm", "command line", "say --yes") from None
    raise Refused("not_confirmed", "nothing was done", "command line", "say --yes to do it")
