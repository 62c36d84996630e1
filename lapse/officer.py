"""Letters to the privacy officer, by SMTP. Only over TLS, but to this host itself; no mail names a person."""

from __future__ import annotations

import datetime as dt
import smtplib
import ssl
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from lapse.settings import Settings
from schemas.errors import BadInput, Unavailable
from streams.tasking import Letter, Mailer

SECONDS = 15.0
"""How long the mail server may take for each step."""
DOMAIN = "lapse.invalid"
"""Right part of a Message-ID: the host's name would say more than a mail has to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """Where the privacy officer is reached, and through whom; a `streams.tasking.Mailer`."""

    to: str
    sender: str
    host: str
    port: int
    tls: bool
    user: str | None = None
    password_file: Path | None = None
    context: ssl.SSLContext = field(default_factory=ssl.create_default_context, repr=False)

    def __call__(self, letter: Letter) -> None:
        """Hand one letter over; `Unavailable` where the server does not take it."""
        try:
            with self._session() as session:
                if not self.tls and not _here(self.host):
                    session.starttls(context=self.context)
                if self.user is not None and self.password_file is not None:
                    session.login(self.user, self.password_file.read_text().strip())
                session.send_message(self.message(letter))
        except (OSError, smtplib.SMTPException) as error:
            what = f"the mail server did not take it: {type(error).__name__}"
            raise Unavailable("unavailable", what, f"{self.host}:{self.port}", "see LAPSE_SMTP") from None

    def message(self, letter: Letter) -> EmailMessage:
        """Return the letter as a mail; written again it has the same Message-ID."""
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = self.sender, self.to, letter.subject
        mail["Date"] = format_datetime(dt.datetime.fromtimestamp(letter.at / 1_000_000, tz=dt.UTC))
        mail["Message-ID"] = f"<{letter.id}@{DOMAIN}>"
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
        mail.set_content(letter.body)
        return mail

    def _session(self) -> smtplib.SMTP:
        if self.tls:
            return smtplib.SMTP_SSL(self.host, self.port, timeout=SECONDS, context=self.context)
        return smtplib.SMTP(self.host, self.port, timeout=SECONDS)


def mailer(settings: Settings) -> Mailer | None:
    """Return what writes to the privacy officer; None where no address is set. `BadInput` for a wrong one."""
    if settings.officer is None or settings.smtp is None:
        return None
    address = urlsplit(settings.smtp)
    try:
        port = address.port
    except ValueError:
        port = -1
    if address.scheme not in ("smtp", "smtps") or not address.hostname or port == -1:
        raise BadInput("bad_setting", "not smtp://host:port or smtps://host:port", "LAPSE_SMTP")
    for name, mail in (("LAPSE_OFFICER", settings.officer), ("LAPSE_MAIL_FROM", settings.mail_from)):
        if mail is not None and ("@" not in parseaddr(mail)[1] or parseaddr(mail)[1] != mail):
            raise BadInput("bad_setting", "not a mail address", name)
    return Office(
        to=settings.officer,
        sender=settings.mail_from or settings.officer,
        host=address.hostname,
        port=port or (465 if address.scheme == "smtps" else 25),
        tls=address.scheme == "smtps",
        user=settings.smtp_user,
        password_file=settings.smtp_password_file,
    )


def _here(host: str) -> bool:
    """Whether the server is on this host, where nobody listens in between."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
