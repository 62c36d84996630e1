"""Where the secrets of recipients lie, and whether there are enough of them to call: files of the data
folder, 0600.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from processors.registry import kind, vendor
from processors.said import played
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
    """Return where what a stand-in takes lies: apart from a vendor's own, so that neither ever sees the
    other's; a partner's secret is ours anyway.
    """
    if plan.connector == "webhook":
        return webhook_secret_file(secrets_dir, plan.name)
    return secrets_dir / f"{plan.name}.{plan.connector}.fake"


def configured(secrets_dir: Path, plan: ProcessorPlan) -> bool:
    """Return whether a recipient can be called: it has an address and, where it is a vendor's, credentials.

    Nothing is opened for one that cannot: its deliveries stay sealed on its topic.
    """
    if plan.connector == "webhook":
        return bool(plan.webhook and plan.webhook.url)
    if not kind(plan.connector).vendor:
        return True
    return vendor(plan.connector) is not None and (
        played(plan) or credentials_file(secrets_dir, plan).is_file()
    )


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
