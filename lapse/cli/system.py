"""Verbs about the system as a whole: make, run and examine it, wait for it, move its clock."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lapse.cli.lazily import lazily
from lapse.cli.options import Data, Format, Timeout
from lapse.cli.output import Output, say, show, show_rows, stdout

if TYPE_CHECKING:
    from lapse import clockwork, crew, doctor, initialise, lone_broker, main, topics, up, waiting
else:
    clockwork, crew, doctor, initialise, lone_broker, main, topics, up, waiting = lazily(
        "lapse.clockwork",
        "lapse.crew",
        "lapse.doctor",
        "lapse.initialise",
        "lapse.lone_broker",
        "lapse.main",
        "lapse.topics",
        "lapse.up",
        "lapse.waiting",
    )

POLICY_HELP = "The YAML file of the policy in force (see policies/)."


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    app.command("up")(run_up)
    app.command("demo")(run_demo)
    app.command("init")(run_init)
    app.command("doctor")(run_doctor)
    app.command("wait")(run_wait)
    app.command("broker")(run_broker)
    app.command("topics")(run_topics)
    app.command("workers")(run_workers)
    app.command("fake")(run_fake)
    app.command("role", hidden=True)(run_role)
    clock = typer.Typer(no_args_is_help=True, help="The manual clock of test data.")
    clock.command("advance")(run_clock_advance)
    clock.command("show")(run_clock_show)
    clock.command("confirm")(run_clock_confirm)
    app.add_typer(clock, name="clock")
    epoch = typer.Typer(no_args_is_help=True, help="The epoch key, under which every other key is wrapped.")
    epoch.command("turn")(run_epoch_turn)
    app.add_typer(epoch, name="epoch")


def run_up(
    data: Data = None,
    policy: Annotated[Path | None, typer.Option("--policy", metavar="FILE", help=POLICY_HELP)] = None,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65533, help="Collector; +1 keys, +2 admin; 0: free.")
    ] = 8100,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    bootstrap: Annotated[
        str | None,
        typer.Option("--bootstrap", metavar="HOST:PORT", help="A Kafka to use instead of the embedded one."),
    ] = None,
    clock: Annotated[
        Literal["system", "manual"] | None,
        typer.Option("--clock", help="manual: only on data of `lapse init --test`."),
    ] = None,
    wait_ready: Annotated[
        float, typer.Option("--wait-ready", metavar="S", help="Exit 5 if not ready by then.")
    ] = 90.0,
    workers: Annotated[
        list[str] | None,
        typer.Option("--workers", metavar="ROLE=N", help="Several workers of a role; may be repeated."),
    ] = None,
) -> None:
    """Run Lapse on this host until Ctrl-C: broker, collector, workers, key endpoint, admin API.

    The first time it makes the data folder; later it goes on where it stopped. When all is ready it prints
    where to
    send a form and writes DATA/run.json.
    """
    folder = main.data_folder(data)
    up.run(
        up.Wanted(
            folder=folder,
            policy=policy,
            first_port=port,
            host=host,
            bootstrap=bootstrap,
            clock=clock,
            wait_ready=wait_ready,
            workers=crew.parse(workers or ()),
        ),
        main.settings(),
    )


def run_demo(
    plain: Annotated[bool, typer.Option("--plain", help="Lines instead of a live view.")] = False,
    file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the result as JSON.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="The same traffic again.")] = 7,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running and print what to try.")] = False,
    data: Data = None,
) -> int:
    """Watch events being collected, tagged, handed out and, seconds later, become unreadable everywhere.

    About a minute and a half, on a real Kafka. Ends with checks made from outside; exit 1 if one failed.
    """
    from lapse.demo import run  # the demo's view is needed by nothing else

    return run.demo(run.Options(plain=plain, json_file=file, seed=seed, keep=keep, data=data))


def run_init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    policy: Annotated[Path | None, typer.Option("--policy", metavar="FILE", help=POLICY_HELP)] = None,
    test: Annotated[
        bool, typer.Option("--test", help="Data for tests: allows a manual clock and crash points.")
    ] = False,
    _output: Format = Output.TABLE,
) -> None:
    """Make a data folder: signing keys, certificates, credentials of sites and processors, first policy."""
    chosen = policy or main.shipped_policy("demo" if test else "company")
    marker = initialise.initialise(
        folder,
        chosen,
        test=test,
        clock="system",
        hosts=main.certificate_hosts("127.0.0.1"),
        fault=main.settings().fault,
    )
    show(
        {
            "data": str(folder),
            "policy": marker.policy_version,
            "test": marker.test,
            "installation": marker.installation,
        }
    )


def run_doctor(data: Data = None, output: Format = Output.TABLE) -> int:
    """Look at everything that must be well: roles, broker, rights, topics, backlogs, vault, clock and more.

    Exit 1 if anything needs somebody; each finding says what is wrong, where, and what to do.
    """
    with main.installation(main.data_folder(data)) as here:
        findings = doctor.examine(here)
    if output is Output.JSON:
        show({"checks": [each.as_row() for each in findings], "ok": all(each.ok for each in findings)})
    else:
        stdout().print(doctor.sheet(findings))
    return 0 if all(finding.ok for finding in findings) else 1


def run_wait(data: Data = None, timeout: Timeout = 60.0, _output: Format = Output.TABLE) -> None:
    """Return when nothing is on its way any more: every lag, the outbox and the spool are 0."""
    with main.installation(main.data_folder(data)) as here:
        show(waiting.until_quiet(here, timeout).as_json())


def run_broker(
    data: Data = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: a free one.")] = 0,
) -> None:
    """Run only the embedded Kafka of a data folder, until Ctrl-C; prints address and super user's file."""
    lone_broker.run(main.data_folder(data), port)


def run_topics(data: Data = None, _output: Format = Output.TABLE) -> int:
    """Compare the live topics with the plan: partitions, retention, minutes until bytes are gone."""
    with main.installation(main.data_folder(data)) as here:
        rows = topics.compare(here)
    show_rows(
        "topics",
        ("topic", "partitions", "kept", "bytes_gone_within", "holds", "differs"),
        rows,
        empty="no topics",
    )
    return 1 if any(row["differs"] for row in rows) else 0


def run_workers(
    counts: Annotated[
        list[str] | None,
        typer.Argument(metavar="ROLE=N", help="tag, route, govern, expire or connect, and how many."),
    ] = None,
    data: Data = None,
    timeout: Timeout = 60.0,
    _output: Format = Output.TABLE,
) -> None:
    """Show or change how many workers each role has; returns when the new ones work and the old ones left.

    The partitions of a topic are shared out among a role's workers, so more than there are partitions idle.
    """
    with main.installation(main.data_folder(data)) as here:
        wanted = crew.wish(here.layout, crew.parse(counts or ()))
        if counts:
            crew.await_wished(here.layout, timeout)
    show(dict(wanted))


def run_fake(
    name: Annotated[str, typer.Argument(help="partner, or a vendor's connector.")],
    port: Annotated[int, typer.Option("--port", min=0, max=65535)] = 0,
    secret_file: Annotated[
        Path | None, typer.Option("--secret-file", help="What both sides share; made where it is missing.")
    ] = None,
) -> None:
    """Run a stateful stand-in of a recipient: holds what it is sent, misbehaves on request (PUT /_fault)."""
    from processors.fakes import Player, serve  # ships with the product, runs only when asked for

    player = Player(name=name, port=port, secret_file=secret_file)
    serve([player], announce=lambda urls: say(f"{name} listens on {urls[0]}"))


def run_role(name: str, data: Data = None) -> int:
    """Play one role; the supervisor starts these."""
    from lapse import roles  # imports Faust, which takes a second

    return roles.play(name, main.data_folder(data))


def run_clock_advance(
    by: Annotated[
        str, typer.Argument(metavar="DURATION", help="ISO 8601, fractions of a second allowed: PT2H, PT0.5S")
    ],
    confirm: Annotated[
        bool, typer.Option("--confirm", help="Really; without it this is a jump, and the brake holds.")
    ] = False,
    data: Data = None,
    timeout: Timeout = 300.0,
    _output: Format = Output.TABLE,
) -> None:
    """Move the manual clock, stopping at every due instant; returns when each expiry has been published."""
    with main.installation(main.data_folder(data)) as here:
        show(clockwork.advance(here, by, confirm=confirm, timeout=timeout))


def run_clock_show(data: Data = None, _output: Format = Output.TABLE) -> None:
    """Show the vault's time and whether a brake holds expiry."""
    with main.installation(main.data_folder(data)) as here:
        show(clockwork.state(here))


def run_clock_confirm(data: Data = None, _output: Format = Output.TABLE) -> None:
    """Say that the clock is right: expiry goes on after a step or jump stopped it."""
    with main.installation(main.data_folder(data)) as here:
        show(clockwork.confirm(here))


def run_epoch_turn(data: Data = None, _output: Format = Output.TABLE) -> None:
    """Wrap every living key anew, destroy the old epoch's key: older copies of the vault open nothing more.

    Do it monthly, while the system runs. Interrupted, it goes on where it stopped when called again.
    """
    with main.installation(main.data_folder(data)) as here:
        show({"epoch": here.vault.turn_epoch()})
