"""Letters to the privacy officer, against a mail server of another author (aiosmtpd)."""

from __future__ import annotations

import email
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from lapse.officer import mailer
from lapse.runtime import free_ports
from lapse.settings import Settings
from schemas.errors import BadInput, Unavailable
from schemas.ids import Micros
from streams.tasking import Letter, Mailer

LETTER = Letter(
    id="a1" * 16, subject="Lapse: crm: late", body="crm: late.\n", at=Micros(1_790_000_000_000_000)
)


class Mailbox:
    """What the server took; while `full`, nothing."""

    def __init__(self) -> None:
        self.taken: list[Message] = []
        self.to: list[str] = []
        self.full = False

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # its name there
        """Take a mail."""
        if self.full:
            return "452 not now"
        self.to += envelope.rcpt_tos
        self.taken.append(email.message_from_bytes(envelope.content))
        return "250 taken"


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, int]]:
    """A server on loopback, and its port."""
    controller = pytest.importorskip("aiosmtpd.controller", reason="aiosmtpd is not installed: make setup")
    box = Mailbox()
    [port] = free_ports("127.0.0.1", 1)
    server = controller.Controller(box, hostname="127.0.0.1", port=port)
    server.start()
    try:
        yield box, port
    finally:
        server.stop()


def office(port: int, **more: Any) -> Mailer:
    """Who writes to the officer, by these settings."""
    smtp = more.pop("smtp", f"smtp://127.0.0.1:{port}")
    found = mailer(Settings(officer="officer@example.org", smtp=smtp, **more))
    assert found is not None
    return found


def test_a_letter_arrives_under_the_same_name_however_often_it_is_written(
    mailbox: tuple[Mailbox, int],
) -> None:
    """Mailboxes know by it that it is one."""
    box, port = mailbox
    for _ in range(2):
        office(port, mail_from="lapse@example.org")(LETTER)
    first, again = box.taken
    assert box.to == ["officer@example.org"] * 2
    assert (first["From"], first["Subject"]) == ("lapse@example.org", "Lapse: crm: late")
    assert first["Message-ID"] == again["Message-ID"] == f"<{LETTER.id}@lapse.invalid>"
    assert str(first.get_payload()).strip() == "crm: late."


def test_what_the_server_does_not_take_is_to_be_sent_again(mailbox: tuple[Mailbox, int]) -> None:
    """Refused for now, or nobody there."""
    box, port = mailbox
    box.full = True
    with pytest.raises(Unavailable):
        office(port)(LETTER)
    with pytest.raises(Unavailable):
        office(1)(LETTER)


def test_a_password_goes_only_over_tls(mailbox: tuple[Mailbox, int], tmp_path: Path) -> None:
    """A server that offers no encryption, or no log-in, gets neither password nor letter."""
    box, port = mailbox
    secret = tmp_path / "smtp.password"
    secret.write_text("canary\n")
    with pytest.raises(Unavailable) as refused:
        office(port, smtp_user="lapse", smtp_password_file=secret)(LETTER)
    assert not box.taken and "canary" not in str(refused.value)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("smtp", "mail.example.org"), ("smtp", "smtp://x:y"), ("smtp", "http://x"), ("officer", "nobody")],
)
def test_a_setting_that_cannot_be_used_is_named(setting: str, value: str) -> None:
    """Before anything starts, not when a letter is due."""
    settings = {"officer": "officer@example.org", "smtp": "smtp://127.0.0.1:25", setting: value}
    with pytest.raises(BadInput) as wrong:
        mailer(Settings(**settings))  # type: ignore[arg-type]  # texts, as from the environment
    assert wrong.value.where == f"LAPSE_{setting.upper()}"


def test_without_settings_nobody_is_written_to() -> None:
    """Which is said elsewhere."""
    assert mailer(Settings()) is None
