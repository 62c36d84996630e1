"""What a mail needs: the clear gif, and the two headers of one-click unsubscription (RFC 2369, RFC 8058).

A token (`lapse token mint --site S --days N --for email:...`) carries no person: who a message went to is
known to the vault alone.
"""

import re
from html import escape

from lapse_client.errors import Invalid

_TOKEN = re.compile(r"[A-Za-z0-9_-]{48}")
_PLAIN = re.compile(r"http://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?(/|$)")


def _address(collector: str, path: str, token: str) -> str:
    if not _TOKEN.fullmatch(token):
        raise Invalid("this is no token", code="token_invalid")
    if not collector.startswith("https://") and not _PLAIN.match(collector):
        raise Invalid("mails link to https addresses only", code="bad_argument")
    return f"{collector.rstrip('/')}{path}"


def pixel_url(collector: str, token: str) -> str:
    """The address of a mail's clear gif."""
    return _address(collector, f"/o/{token}.gif", token)


def pixel_html(collector: str, token: str) -> str:
    """The picture, for the end of a mail's HTML."""
    source = escape(pixel_url(collector, token), quote=True)
    return f'<img src="{source}" width="1" height="1" alt="" style="border:0">'


def unsubscribe_url(collector: str, token: str) -> str:
    """The address a person's click or a mailbox provider's POST goes to."""
    return _address(collector, f"/u/{token}", token)


def unsubscribe_headers(collector: str, token: str, mailto: str | None = None) -> dict[str, str]:
    """`List-Unsubscribe` and `List-Unsubscribe-Post`; both must be covered by the mail's DKIM signature."""
    ways = [f"<{unsubscribe_url(collector, token)}>"]
    if mailto is not None:
        if any(character in mailto for character in "<>\r\n, "):
            raise Invalid("this is no mail address", code="bad_argument")
        ways.append(f"<mailto:{mailto}>")
    return {
        "List-Unsubscribe": ", ".join(ways),
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }
