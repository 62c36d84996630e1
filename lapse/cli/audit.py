"""Verbs that look: policy, buckets, events, quarantine, the lifecycle log, residue; and tokens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lapse.cli.lazily import lazily
from lapse.cli.options import Data, Format, Reason, Timeout, Yes
from lapse.cli.output import Output, show, show_rows
from schemas.errors import BadInput

if TYPE_CHECKING:
    from lapse import ledger, main, policies, proving, quarantine, records
else:
    ledger, main, policies, proving, quarantine, records = lazily(
        "lapse.ledger", "lapse.main", "lapse.policies", "lapse.proving", "lapse.quarantine", "lapse.records"
    )

Columns = tuple[str, ...]


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    _group(
        app,
        "policy",
        "The privacy policy as the machine keeps it.",
        check=policy_check,
        show=policy_show,
        publish=policy_publish,
    )
    _group(app, "bucket", "Buckets: what is due when, and how much.", list=bucket_list)
    _group(app, "records", "What became of an event.", show=records_show)
    _group(
        app,
        "quarantine",
        "Input nobody could read or believe: at most 14 days, then gone.",
        list=quarantine_list,
        show=quarantine_show,
        release=quarantine_release,
        drop=quarantine_drop,
    )
    _group(
        app,
        "lifecycle",
        "The public log of every depersonalization.",
        tail=lifecycle_tail,
        verify=lifecycle_verify,
    )
    _group(app, "residue", "What may stay: counts of at least k people.", show=residue_show)
    _group(app, "token", "Pixel tokens for mails.", mint=token_mint)


def _group(app: typer.Typer, name: str, about: str, **verbs: object) -> None:
    group = typer.Typer(no_args_is_help=True, help=about)
    for verb, function in verbs.items():
        group.command(verb)(function)  # type: ignore[type-var]
    app.add_typer(group, name=name)


def policy_check(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A policy; the one in force is compared when --data is given."),
    ],
    data: Data = None,
    _output: Format = Output.TABLE,
) -> int:
    """Say whether a policy is whole and free of contradictions, and what publishing it would change."""
    report = policies.check(file, data)
    show(report)
    return 0 if report["publishable"] else 1


def policy_show(
    version: Annotated[int | None, typer.Option("--version", help="Default: the one in force.")] = None,
    data: Data = None,
    _output: Format = Output.TABLE,
) -> None:
    """Show the purposes in force: basis, retention, what data, who receives it."""
    with main.installation(main.data_folder(data)) as here:
        rows, about = policies.show(here, version)
    columns = ("purpose", "basis", "retention", "width", "terms", "categories", "recipients")
    show_rows("purposes", columns, rows, empty="no purposes", extra=about)


def policy_publish(
    file: Annotated[Path, typer.Argument(metavar="FILE")],
    data: Data = None,
    yes: Yes = False,
    timeout: Timeout = 60.0,
    _output: Format = Output.TABLE,
) -> None:
    """Put a new policy version into force by a signed command.

    Due dates that come forward hide at once and destroy after the policy's `brakes.hidden_for`.
    """
    with main.installation(main.data_folder(data)) as here:
        show(policies.publish(here, file, confirmed=yes, timeout=timeout))


def bucket_list(
    purpose: Annotated[str | None, typer.Option("--purpose")] = None,
    state: Annotated[str | None, typer.Option("--state", help="open, hidden or destroyed")] = None,
    data: Data = None,
    _output: Format = Output.TABLE,
) -> None:
    """Show the buckets: one key each, its due date, how many records hang on it."""
    if state not in (None, "open", "hidden", "destroyed"):
        raise BadInput("usage", "no such state", "--state", "open, hidden or destroyed")
    with main.installation(main.data_folder(data)) as here:
        rows = ledger.buckets(here, purpose, state)
    show_rows(
        "buckets", ("purpose", "period", "terms", "due", "tally", "state"), rows, empty="No bucket yet."
    )


def records_show(
    event: Annotated[
        str | None, typer.Option("--event", metavar="HEX", help="The event id the collector answered.")
    ] = None,
    message: Annotated[
        str | None, typer.Option("--message", metavar="HEX", help="A mail's message id: finds its opens.")
    ] = None,
    site: Annotated[str | None, typer.Option("--site", help="Only this site's events.")] = None,
    data: Data = None,
    output: Format = Output.TABLE,
) -> None:
    """Say what became of an event and why: outcome, code, purposes, verdicts, where it lies on the log."""
    if (event is None) == (message is None):
        raise BadInput("usage", "give --event or --message", "lapse records show", "one of the two")
    with main.installation(main.data_folder(data)) as here:
        if event is not None:
            found = records.of_event(here, event, site)
            show(found if output is Output.JSON else records.in_words(found))
        else:
            rows = records.of_message(here, str(message), site)
            show_rows(
                "events",
                ("event_id", "record_id", "outcome", "code"),
                rows,
                empty="No open of this message is known.",
            )


def quarantine_list(data: Data = None, _output: Format = Output.TABLE) -> None:
    """Show what lies in quarantine: since when, from which topic, why."""
    with main.installation(main.data_folder(data)) as here:
        rows = quarantine.listed(here)
    show_rows(
        "quarantine",
        ("record_id", "topic", "code", "path", "received_at", "until", "state"),
        rows,
        empty="Nothing is in quarantine.",
    )


def quarantine_show(
    record_id: str, reason: Reason, data: Data = None, _output: Format = Output.TABLE
) -> None:
    """Open one quarantined input; that it was opened, by whom and why is recorded."""
    with main.installation(main.data_folder(data)) as here:
        show(quarantine.reveal(here, record_id, reason))


def quarantine_release(
    record_id: str, data: Data = None, timeout: Timeout = 60.0, _output: Format = Output.TABLE
) -> None:
    """Send it through tagging again, under its original time."""
    with main.installation(main.data_folder(data)) as here:
        show(quarantine.release(here, record_id, timeout))


def quarantine_drop(
    record_id: str,
    data: Data = None,
    yes: Yes = False,
    timeout: Timeout = 60.0,
    _output: Format = Output.TABLE,
) -> None:
    """Let it open no more, sooner than its 14 days; its outcome stays `quarantined`."""
    if not yes:
        raise BadInput("usage", "this cannot be undone", "lapse quarantine drop", "say --yes")
    with main.installation(main.data_folder(data)) as here:
        show(quarantine.drop(here, record_id, timeout))


def lifecycle_tail(
    count: Annotated[int, typer.Option("-n", min=1, max=10_000, help="How many of the newest.")] = 20,
    data: Data = None,
    _output: Format = Output.TABLE,
) -> None:
    """Show the newest depersonalizations and checkpoints of the public log; nothing in it is personal."""
    with main.installation(main.data_folder(data)) as here:
        rows = ledger.lifecycle(here, count)
    show_rows(
        "lifecycle",
        ("offset", "at", "what", "cause", "scope", "records"),
        rows,
        empty="Nothing has lapsed yet.",
    )


def lifecycle_verify(
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="BASE64", help="The service's public key, as you noted it earlier."),
    ] = None,
    data: Data = None,
    _output: Format = Output.TABLE,
) -> int:
    """Recompute the proof of every lapse from `decisions`, and of every signed checkpoint from the log.

    Exit 1 where something does not agree.
    """
    with main.installation(main.data_folder(data)) as here:
        report = proving.verify(here, key)
    show(report)
    return 0 if report["proven"] else 1


def residue_show(
    recount: Annotated[
        bool, typer.Option("--recount", help="Count what was accepted from `decisions`, all of it.")
    ] = False,
    data: Data = None,
    output: Format = Output.TABLE,
) -> int:
    """Show what stays for good: events counted in cells of at least k people.

    Published and carried are what was accepted; exit 1 where they are not.
    """
    with main.installation(main.data_folder(data)) as here:
        summary, cells = ledger.residue(here, recount=recount)
    if output is Output.JSON:
        show({**summary, "cells": cells})
    else:
        show(summary)
        show_rows(
            "cells", ("period", "label", "events", "people"), cells, empty="No cell has reached k people yet."
        )
    return 0 if summary["published"] + summary["carried"] == summary["accepted"] else 1


def token_mint(
    site: Annotated[str, typer.Option("--site")],
    days: Annotated[
        int,
        typer.Option("--days", min=-3650, max=3650, help="Days until it expires; negative: expired already."),
    ],
    subject: Annotated[
        str | None,
        typer.Option("--for", metavar="KIND:VALUE", help="The recipient; kept in the vault alone."),
    ] = None,
    data: Data = None,
    _output: Format = Output.TABLE,
) -> None:
    """Make the token of one mail's clear gif (GET /o/TOKEN.gif) and unsubscribe link; it names nobody."""
    with main.installation(main.data_folder(data)) as here:
        show(records.mint(here, site, days, subject))
