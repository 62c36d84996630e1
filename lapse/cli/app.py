"""`lapse`: the verbs, gathered; every error leaves with its own exit code."""

from __future__ import annotations

import copy
import errno
import inspect
import logging
import os
import re
import sys
from collections.abc import Callable
from itertools import pairwise

import typer
from typer.exceptions import TyperException
from typer.main import get_command, get_group

from lapse.cli import audit, people, processors, recalls, rights, system, tasks
from lapse.cli.output import Output, mode, plain, show_error
from schemas.errors import BadInput, Bug, LapseError, Unavailable

INTERRUPTED = 130
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})

app = typer.Typer(
    name="lapse",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Keep the promises of a privacy policy: events come in, are tagged with purpose and retention,
handed out sealed to approved processors, and become unreadable everywhere when their time has come.

Start with [bold]lapse demo[/bold]. For real use: [bold]lapse up --data DIR --policy FILE --port
8100[/bold].""",
)
for part in (system, people, rights, processors, tasks, recalls, audit):
    part.register(app)


def _flow_help(group: typer.Typer) -> None:
    """Let every verb's help fill the terminal: source lines are joined, paragraphs stay."""
    for command in group.registered_commands:
        text = inspect.getdoc(command.callback) or ""
        command.help = "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))
    for inner in group.registered_groups:
        if inner.typer_instance is not None:
            _flow_help(inner.typer_instance)


_flow_help(app)


def main() -> None:
    """Run one command. Exit: 0 done, 1 findings, 2 usage, 3 refused, 4 not found, 5 unavailable, 70 bug."""
    os.umask(0o077)  # whatever a verb writes is for the user who runs it
    sys.exit(_run(sys.argv[1:]))


def _run(arguments: list[str]) -> int:
    if any(pair in ("-o=json", "--output=json", "-ojson") for pair in arguments) or _asks_json(arguments):
        mode.set(Output.JSON)
    try:
        result = _commands(arguments)(arguments, standalone_mode=False, prog_name="lapse")
    except LapseError as error:
        show_error(error)
        return error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except TyperException as error:  # Typer carries a Click of its own: click's classes are others
        where = getattr(getattr(error, "ctx", None), "command_path", "lapse")
        what = without_values(error.format_message(), arguments) or "a verb is missing"
        show_error(BadInput("usage", what, where, f"see: {where} --help"))
        return BadInput.exit_code
    except Exception as error:  # the outermost line: whatever is left is a bug, and is said as one
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            show_error(
                Unavailable("unavailable", "the disk takes nothing more", "data", "make room, then again")
            )
            return Unavailable.exit_code
        logging.getLogger("lapse").debug("bug", exc_info=True)
        show_error(
            Bug("bug", f"{type(error).__name__} at {_place(error)}", "lapse", "please report this line")
        )
        return Bug.exit_code
    return result if isinstance(result, int) else 0


def _commands(arguments: list[str]) -> Callable[..., object]:
    """The verb or group that is asked for, alone; all of them where the first word is none, for hints.

    Typer reads the signatures of all it is given, a tenth of a second for every verb there is.
    """
    name = arguments[0] if arguments else None
    narrowed = copy.copy(app)
    narrowed.registered_commands = [each for each in app.registered_commands if each.name == name]
    narrowed.registered_groups = [each for each in app.registered_groups if each.name == name]
    if narrowed.registered_commands or narrowed.registered_groups:
        return get_group(narrowed)
    return get_command(app)


def without_values(message: str, arguments: list[str]) -> str:
    """The message of a usage error without what may be somebody's: words alone may name verbs and options."""
    for argument in sorted(arguments, key=len, reverse=True):
        name, _, value = argument.partition("=")
        for part in (argument, value or name):
            if not _WORDS.fullmatch(part):
                for spelling in (part, plain(part), repr(part)[1:-1]):
                    message = message.replace(spelling, "…")
    return message


_WORDS = re.compile(r"[a-z-]*")


def _asks_json(arguments: list[str]) -> bool:
    return any(a in ("-o", "--output") and b == "json" for a, b in pairwise(arguments))


def _place(error: BaseException) -> str:
    """File and line of the innermost frame; never the text of a foreign error, which may carry data."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    if trace is None:
        return "an unknown place"
    return f"{trace.tb_frame.f_code.co_filename.rsplit('/', 2)[-1]}:{trace.tb_lineno}"


if __name__ == "__main__":
    main()
