"""What a role may say in its log: ids, codes and places, never the text of a foreign error.

The text of an error from a library can quote what it choked on, and that can be somebody's data. So an
exception leaves its type and the places it passed; only errors of Lapse's own tree, which carry no values,
keep their words.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import structlog

from schemas.errors import LapseError

DEEPEST = 12
"""How many of the innermost places are named."""


def without_values(error: BaseException) -> str:
    """An exception, and what it came of, as types and places: `KeyError at tags.py:12 < run.py:4`."""
    said: list[str] = []
    at: BaseException | None = error
    while at is not None and len(said) < DEEPEST:
        said.append(_one(at))
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
    return ", after ".join(said)


def _one(error: BaseException) -> str:
    places: list[str] = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}")
        trace = trace.tb_next
    name = f"{type(error).__name__}({error})" if isinstance(error, LapseError) else type(error).__name__
    return f"{name} at {' < '.join(places[: -DEEPEST - 1 : -1])}" if places else name


class WithoutValues(logging.Filter):
    """Takes exceptions out of a record's arguments and its trace; what remains names types and places."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record; it always passes."""
        if isinstance(record.msg, BaseException):
            record.msg, record.args = without_values(record.msg), None
        if isinstance(record.args, Mapping):
            record.args = {name: _bare(value) for name, value in record.args.items()}
        elif record.args:
            record.args = tuple(_bare(value) for value in record.args)
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            if not isinstance(error, LapseError) and str(error) and str(error) in record.getMessage():
                record.msg, record.args = "an error", None  # formatted before it came here
            record.error = without_values(error)
        record.exc_info = record.exc_text = record.stack_info = None
        return True


def _bare(value: object) -> object:
    return without_values(value) if isinstance(value, BaseException) else value


def no_values(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """structlog's step that does the same to `exc_info` of its own loggers."""
    info = event.pop("exc_info", None)
    error = info if isinstance(info, BaseException) else info[1] if isinstance(info, tuple) else None
    error = sys.exc_info()[1] if info is True else error
    return {**event, "error": without_values(error)} if error is not None else event


def catch_all() -> None:
    """Let the last words of a process or thread that dies of an unforeseen error keep to the same rule."""

    def process(_kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
        logging.getLogger("lapse").critical("this process ends: %s", without_values(error))

    def thread(died: threading.ExceptHookArgs) -> None:
        if died.exc_value is not None and not isinstance(died.exc_value, SystemExit):
            logging.getLogger("lapse").error("a thread ended: %s", without_values(died.exc_value))

    sys.excepthook, threading.excepthook = process, thread


def to_stdout(level: str) -> None:
    """One JSON object a line on stdout, which goes to the role's log: ids and codes, never payloads."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        no_values,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    render: list[structlog.typing.Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.JSONRenderer(),
    ]
    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(WithoutValues())
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=render))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    catch_all()
    for name, lowest in QUIET.items():
        logging.getLogger(name).setLevel(lowest)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


QUIET = {
    "kafka": logging.WARNING,
    "kafka.net.sasl.scram": logging.ERROR,  # on loopback SCRAM without TLS is what was chosen
    "aiokafka": logging.WARNING,
    "faust": logging.WARNING,
    "mode": logging.WARNING,
    "uvicorn.access": logging.WARNING,
    "asyncio": logging.ERROR,
    "python_multipart": logging.CRITICAL,  # it says which byte of a body displeased it, once per byte
}
"""Libraries that talk: from which level on they are heard. kafka-python's DEBUG would print its password."""
