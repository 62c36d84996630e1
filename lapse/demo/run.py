"""The demo from start to end: bring the system up, play the traffic, watch it lapse, check from outside."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from lapse import main
from lapse.demo import checks as outside
from lapse.demo.chats import chats
from lapse.demo.checks import Check
from lapse.demo.director import Director
from lapse.demo.opening import KeyEndpoint
from lapse.demo.people import Person
from lapse.demo.shelves import Shelf
from lapse.demo.stands import Stand, emptied, stands
from lapse.demo.traffic import Traffic
from lapse.demo.view import Lines, LiveScreen, View
from lapse.initialise import initialise
from lapse.layout import read_json, write_json
from lapse.main import Installation
from lapse.records import mint
from lapse.rights import erase
from lapse.supervisor import interpreter_environment
from lapse.visible import visible
from lapse.waiting import until_quiet
from schemas.errors import NotFound, Unavailable

TRAFFIC_SECONDS = 22.0
READY_SECONDS = 240.0
LONGEST_SECONDS = 45.0
"""The longest retention a recipient is granted data for, one period, and some."""
NOT_SHARED = ("tax_records", "quarantine")
"""Nobody receives these, and they outlive the demo: what the law keeps, and what nobody could believe."""
CLAIMS = {
    1: "every accepted event ends in exactly one outcome",
    2: "nobody was granted more than policy, consent and approval allow",
    3: "no file of broker, vault, logs or spool holds a person's clear bytes",
    4: "what is past its time opens for nobody",
    7: "the erased person is gone, also from what arrives late",
    9: "whatever a recipient could open is followed by the order to forget it",
    10: "every delivery was decided before it was made",
    21: "no recipient holds what lapsed, or its receipt says what it could not remove",
}
"""The invariants the demo checks, in a spectator's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asks for."""

    plain: bool
    json_file: Path | None
    seed: int
    keep: bool
    data: Path | None


def demo(options: Options) -> int:
    """Play it; 0 only if every check held."""
    started = time.monotonic()
    plain = options.plain or not sys.stdout.isatty()
    folder = options.data or Path(tempfile.mkdtemp(prefix="lapse-demo-"))
    console = Console()
    _say(f"Lapse demo: a real Kafka and every role, in {folder}")
    with _up(folder) as process:
        with main.installation(folder) as here:
            view: View = Lines() if plain else LiveScreen(console)
            try:
                result = asyncio.run(_play(here, options.seed, view, started))
            finally:
                view.close()
        result |= {"seconds": round(time.monotonic() - started, 1), "run_file": str(folder / "run.json")}
        _report(result)
        if options.json_file:
            write_json(options.json_file, result)
        if options.keep:
            _keep(folder, process)
    if not options.keep and options.data is None:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if result["ok"] else 1


@contextlib.contextmanager
def _up(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`lapse up` with the demo's policy, as its own process: the demo then speaks to it from outside."""
    policy = main.shipped_policy("demo")
    initialise(folder, policy, test=True, clock="system", hosts=main.certificate_hosts("127.0.0.1"))
    root = Path(main.__file__).parents[1]
    variables = interpreter_environment(main.environment(), root) | {"LAPSE_ALLOW_PRIVATE_WEBHOOKS": "1"}
    command = [sys.executable, "-m", "lapse.cli.app", "up", "--data", str(folder), "--port", "0"]
    log_path = folder / "logs" / "supervisor.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=variables, start_new_session=True
        )
    try:
        _wait_ready(folder, process, log_path)
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _wait_ready(folder: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline, told = time.monotonic() + READY_SECONDS, 0
    while not (folder / "run.json").exists():
        told = _pass_on(log, told)
        if process.poll() is not None or time.monotonic() > deadline:
            last = log.read_text(errors="replace").strip().splitlines()[-3:]
            raise Unavailable(
                "not_ready",
                "the system did not start: " + " / ".join(last),
                str(log),
                "look into the logs beside it",
            )
        time.sleep(0.05)


def _pass_on(log: Path, told: int) -> int:
    """Print what the supervisor has said for people since the last look, not its events and librdkafka's."""
    lines = log.read_text(errors="replace").splitlines(keepends=True)
    whole = [line.rstrip() for line in lines if line.endswith("\n")]
    for line in whole[told:]:
        if line and not line.startswith(("{", "%")):
            _say(f"  {line}")
    return len(whole)


async def _play(here: Installation, seed: int, view: View, started: float) -> dict[str, Any]:
    run = read_json(here.layout.run_file)
    keys = {name: _key_endpoint(run, name) for name in run["processors"]}
    site = run["sites"]["www"]
    token = read_json(Path(site["token_file"]))["token"]
    traffic = Traffic(
        run["urls"]["collector"], site["key"], token, seed, lambda person: _minted(here, person)
    )
    watch = frozenset(person.email for person in traffic.cast.everyone)
    shelves = [_shelf(here, run, name, keys[name], watch) for name in ("crm", "mail")]
    played = stands(run)
    director = Director(here, traffic, shelves, played, view, started)
    talk = chats(here, run)
    for shelf in shelves:
        shelf.start()
    for chat in talk:
        chat.start()
    directing = asyncio.create_task(director.run())
    try:
        await traffic.run(TRAFFIC_SECONDS, lambda person: _erase(here, director, person))
        late = await _late_arrivals(traffic)
        director.stage("the doors are closed; what is held runs out")
        await director.until_lapsed(NOT_SHARED, LONGEST_SECONDS)
        director.stage("checks, from outside")
        await asyncio.to_thread(until_quiet, here, 30.0)
        for chat in talk:
            await asyncio.to_thread(chat.tidy_up)
        ends = Ends(shelves=shelves, stands=played, keys=keys, late=late)
        return await asyncio.to_thread(_checked, here, traffic, ends, director, seed)
    finally:
        director.stop()
        await directing
        for stop in (*(shelf.stop for shelf in shelves), *(chat.stop for chat in talk)):
            await asyncio.to_thread(stop)


def _key_endpoint(run: dict[str, Any], name: str) -> KeyEndpoint:
    token = read_json(Path(run["processors"][name]["credentials_file"]))["token"]
    return KeyEndpoint(run["urls"]["keys"], token, run["ca_file"])


def _shelf(
    here: Installation, run: dict[str, Any], name: str, keys: KeyEndpoint, watch: frozenset[str]
) -> Shelf:
    client = here.address.librdkafka(main.login(here.layout, "processors", name))
    return Shelf(name, client, run["processors"][name]["group"], keys, watch)


async def _minted(here: Installation, person: Person) -> str | None:
    """A token for a mail to somebody; None while nobody knows them, so no mail would be sent."""
    try:
        return str((await asyncio.to_thread(mint, here, "www", 30, f"email:{person.email}"))["token"])
    except NotFound:
        return None


async def _erase(here: Installation, director: Director, person: Person) -> None:
    await asyncio.to_thread(erase, here, f"email:{person.email}", "asked to be forgotten", None, 30.0)
    director.erased_at = time.time()


async def _late_arrivals(traffic: Traffic) -> list[str]:
    """An old form of the erased person arrives, as from a spool: a server may say when it was collected."""
    return [event for event in [await traffic.late_form(traffic.cast.erased, seconds_ago=18.0)] if event]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """What the checks look at when all is over."""

    shelves: list[Shelf]
    stands: list[Stand]
    keys: dict[str, KeyEndpoint]
    late: list[str]


def _checked(
    here: Installation, traffic: Traffic, ends: Ends, director: Director, seed: int
) -> dict[str, Any]:
    shelves, keys, late = ends.shelves, ends.keys, ends.late
    log, ids = outside.read_log(here, traffic.told.accepted)
    now: Callable[[], int] = here.vault.clock.now
    first, outcomes = outside.conservation(log, ids)
    late_outcomes = [log.found[r].decisive.outcome for event in late for r in ids[event] if r in log.found]
    found: list[Check] = [
        first,
        outside.lawful(here, log),
        outside.canary(here, traffic.cast.everyone, [f"plain.{name}" for name in keys]),
        outside.lapsed(shelves, keys, now),
        outside.forgotten(shelves, traffic.cast.erased, late_outcomes),
        outside.followed(log, shelves, now()),
        outside.ordered(here, log),
        emptied(here, ends.stands, [*traffic.cast.everyone, *traffic.crowd]),
    ]
    codes = outside.codes_of(log, [r for candidates in ids.values() for r in candidates])
    surprises = traffic.told.surprises
    return {
        "ok": all(check.held for check in found) and not surprises,
        "seed": seed,
        "events": {
            "sent": traffic.told.total,
            "accepted": len(traffic.told.accepted),
            "routed": outcomes["routed"],
            "discarded": dict(codes),
            "quarantined": outcomes["quarantined"],
            "expired": outcomes["expired"],
            "kept_in_vault": outcomes["kept_in_vault"],
        },
        "surprises": surprises[:5],
        "checks": [check.as_json() for check in found],
        "person": director.person_result(),
    }


def _report(result: dict[str, Any]) -> None:
    events, person, console = result["events"], result["person"], Console(highlight=False, soft_wrap=True)
    why = ", ".join(f"{count} {code}" for code, count in sorted(events["discarded"].items())) or "none"
    for line in (
        "",
        f"{events['sent']} events sent, {events['accepted']} accepted with an id; "
        "the others were pixels, or refused as they must be",
        f"routed {events['routed']}, expired {events['expired']}, "
        f"quarantined {events['quarantined']}, discarded: {why}",
        "one person, could be read by " + ("; ".join(person["opened_before"]) or "nobody"),
        "            closed now for   " + (", ".join(person["closed_after"]) or "nobody"),
        *(f"  !    {line}" for line in result["surprises"]),
        "",
    ):
        _say(line)
    for check in result["checks"]:
        state = Text("  ok  ", "bold green") if check["held"] else Text("  FAIL", "bold red")
        claim = Text.assemble((f"  {check['invariant']:>2}  {CLAIMS[check['invariant']]}", "bold"))
        console.print(state + claim)
        console.print(Text(visible(f"            {check['figure']}")))
        console.print(Text(f"            look: {check['command']}", "dim"))
    verdict = ("every check held", "bold green") if result["ok"] else ("A CHECK FAILED", "bold red")
    console.print(Text.assemble("\n", verdict, f" after {result['seconds']:.0f} s"))


def _keep(folder: Path, process: subprocess.Popen[bytes]) -> None:
    run = read_json(folder / "run.json")
    urls, key = run["urls"], run["sites"]["www"]["key"]
    _say("")
    _say(f"It goes on running (Ctrl-C ends it). Data: {folder}")
    _say(f"  collector {urls['collector']}   keys {urls['keys']}   admin {urls['admin']}")
    _say("Try:")
    _say(
        f"  curl -s {urls['collector']}/f/get-in-touch?k={key} "
        "-d email=you@example.org -d name=You -d consent.marketing_email=on"
    )
    _say(f"  .venv/bin/lapse bucket list --data {folder}")
    _say(f"  .venv/bin/lapse subject show email:you@example.org --data {folder}")
    _say(f"  .venv/bin/lapse subject erase email:you@example.org --reason asked --yes --data {folder}")
    with contextlib.suppress(KeyboardInterrupt):
        process.wait()


def _say(line: str) -> None:
    sys.stdout.write(visible(line) + os.linesep)
    sys.stdout.flush()
