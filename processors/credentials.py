"""Where recipients' secrets lie, and whether there are enough to call: files of the data folder, 0600."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from processors.registry import Vendor, vendor
from processors.said import BASE_URL, own, played
from schemas.errors import BadInput
from schemas.plan import ProcessorPlan


def webhook_secret_file(secrets_dir: Path, processor: str) -> Path:
    """Return where a partner's webhook secrets lie: one `whsec_...` per line."""
    return secrets_dir / f"{processor}.webhook"


def kafka_login_file(secrets_dir: Path, processor: str) -> Path:
    """Return where the log-in to another cluster lies, for `kafka: {bootstrap: ...}`: JSON."""
    return secrets_dir / f"{processor}.kafka"


def credentials_file(secrets_dir: Path, plan: ProcessorPlan) -> Path:
    """Return where a vendor's credentials lie: a JSON object of texts."""
    return secrets_dir / f"{plan.name}.{plan.connector}"


def stand_in_file(secrets_dir: Path, plan: ProcessorPlan) -> Path:
    """Return where what a stand-in takes lies.

    Apart from a vendor's own, so that neither ever sees the other's; a partner's secret is ours anyway.
    """
    if plan.connector == "webhook":
        return webhook_secret_file(secrets_dir, plan.name)
    return secrets_dir / f"{plan.name}.{plan.connector}.fake"


def lacking(secrets_dir: Path, plan: ProcessorPlan) -> str | None:
    """Return what is missing to call a recipient, None where nothing is.

    Nothing is opened for one that cannot be called: its deliveries stay sealed on its topic.
    """
    if plan.connector == "webhook":
        return None if plan.webhook and plan.webhook.url else "no address to call"
    offered = vendor(plan.connector)
    if offered is None:
        return None
    if not (stand_in_file if played(plan) else credentials_file)(secrets_dir, plan).is_file():
        return "no credentials"
    try:
        settings_of(secrets_dir, plan, offered)
    except BadInput as error:
        return f"{error.what} ({error.where})"
    return None


def settings_of(
    secrets_dir: Path,
    plan: ProcessorPlan,
    offered: Vendor,
    *,
    stand_in: str = "http://127.0.0.1",
    private: bool = False,
) -> Any:
    """Return a vendor's settings; `stand_in` is the address of the one that plays it, if one does.

    `BadInput` says which setting or secret is missing or wrong.
    """
    said = own(plan.settings)
    if played(plan):
        # A stand-in lives on loopback; that must not open this host to the other recipients.
        said, private = {**said, BASE_URL: stand_in}, True
    path = (stand_in_file if played(plan) else credentials_file)(secrets_dir, plan)
    return offered.make.settings({**said, "allow_private": private}, read_credentials(path))


def changed_at(secrets_dir: Path, plan: ProcessorPlan) -> float | None:
    """Return when a recipient's own secrets were last written, None where it has none."""
    try:
        return credentials_file(secrets_dir, plan).stat().st_mtime
    except OSError:
        return None


def read_credentials(path: Path) -> dict[str, str]:
    """Read a credentials file; `BadInput` names the file where it is missing or no JSON object of texts."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except (msgspec.MsgspecError, OSError):
        what, do = "no credentials, or not a JSON object of texts", "see docs/processors.md"
        raise BadInput("bad_argument", what, str(path), do) from None
