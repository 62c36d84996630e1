"""A lint over the whole of the code: nothing that holds a secret is put into words."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from lapse.broker.connection import Credentials
from lapse.collector import SiteCredential
from lapse.settings import Settings
from processors.messages import Secrets
from vault.tokens import PixelKeys, SigningKey

ROOT = Path(__file__).parents[3]
FOLDERS = ("schemas", "vault", "processors", "streams", "lapse", "lapse_client")
SECRET = re.compile(
    r"(^|_)(password|passwd|secret|secrets|token|tokens|credential|credentials|private_key|signing_key|"
    r"content_key|bucket_key|epoch_key|subject_key|id_key|admin_token|bearer|authorization)$"
)
VOICES = frozenset({"print", "say", "_say", "show", "show_rows", "show_error", "write"})
"""Functions that put something in front of a person."""
LEVELS = frozenset({"debug", "info", "warning", "error", "critical", "exception", "log"})
ALLOWED = {
    ("processors/fakes/partner.py", "write", "make_secret"),  # into a file of 0600
    ("lapse/cli/processors.py", "show", "credentials"),  # the name of the file: test_no_verb_prints_a_secret
}


def named(node: ast.AST) -> str | None:
    """The last name of an expression that names something."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else None


def secrets_in(node: ast.AST) -> Iterator[str]:
    """Names of secrets that an expression turns into words; hashing, comparing and measuring do not."""
    if isinstance(node, ast.Call):
        called = named(node.func) or ""
        if called in {"len", "bool", "sha256", "hexdigest", "digest", "compare_digest", "isinstance"}:
            return
    name = named(node)
    if name is not None and SECRET.search(name):
        yield name
        return
    for child in ast.iter_child_nodes(node):
        yield from secrets_in(child)


def spoken(tree: ast.AST) -> Iterator[tuple[int, str, str]]:
    """Line, by what, and which secret: arguments of voices and loggers, texts of errors, reprs."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            by = named(node.func)
            logs = by in LEVELS and isinstance(node.func, ast.Attribute)
            if by in VOICES or logs:
                arguments = [*node.args, *(word.value for word in node.keywords)]
                yield from ((node.lineno, str(by), name) for each in arguments for name in secrets_in(each))
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            yield from ((node.lineno, "raise", name) for each in node.exc.args for name in secrets_in(each))
        elif isinstance(node, ast.FunctionDef) and node.name in {"__repr__", "__str__"}:
            yield from ((node.lineno, node.name, name) for each in node.body for name in secrets_in(each))


def test_no_secret_is_printed_logged_raised_or_represented() -> None:
    """Every call that says something, in every file of the product, names no variable that holds a secret."""
    found, files = [], 0
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            files += 1
            place = str(path.relative_to(ROOT))
            for line, by, name in spoken(ast.parse(path.read_text())):
                if (place, by, name) not in ALLOWED:
                    found.append(f"{place}:{line}: {by}({name})")
    assert found == []
    assert files > 200


@pytest.mark.parametrize(
    "line",
    [
        "print(token)",
        "say(f'use {credentials.password}')",
        "log.warning('bad %s', admin_token)",
        "raise ValueError(f'{secret}')",
        "logger.info('x', extra={'a': self._password})",
        "sys.stdout.write('t ' + token)",
    ],
)
def test_the_lint_sees_what_it_is_for(line: str) -> None:
    """It finds each way of saying one."""
    assert list(spoken(ast.parse(line)))


@pytest.mark.parametrize(
    "line", ["print(len(token))", "say('the token is missing')", "log.info('tokens', count=1)"]
)
def test_the_lint_lets_through_what_is_none(line: str) -> None:
    """Words about secrets are not secrets."""
    assert not list(spoken(ast.parse(line)))


VALUE = "s3cr3t-s3cr3t-s3cr3t-s3cr3t-s3cr"


def held() -> list[object]:
    """One of each value that carries a secret about."""
    signing = SigningKey(id=1, key=VALUE.encode()[:32])
    return [
        Credentials(username="crm", password=VALUE),
        SiteCredential(site="www", key="sk_www", token=VALUE),
        signing,
        PixelKeys(id_key=VALUE.encode()[:32], signing=(signing,)),
        Settings(bootstrap="k:9", bootstrap_user="u", bootstrap_password=VALUE),  # type: ignore[arg-type]  # as the environment gives it
        Secrets.parse("whsec_" + "c2VjcmV0" * 8, where="x"),
    ]


@pytest.mark.parametrize("number", range(6))
def test_values_that_carry_secrets_do_not_show_them(number: int) -> None:
    """Neither as text nor in a debugger's view, so an accident in a log stays an accident without harm."""
    value = held()[number]
    for text in (repr(value), str(value), f"{value}"):
        assert VALUE not in text
        assert VALUE[:12] not in text
        assert "c2VjcmV0" not in text


def test_a_wrong_setting_is_said_without_its_value() -> None:
    """The text of a validation error quotes what was given, and that can be a password."""
    with pytest.raises(ValidationError) as wrong:
        Settings(bootstrap_password=VALUE)  # type: ignore[arg-type]  # same
    assert VALUE[:6] not in str(wrong.value)
    assert VALUE[-6:] not in str(wrong.value)
