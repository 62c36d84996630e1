"""A nursery whose roles are small: what they are called is what they do (`test_nursery.py`)."""

from __future__ import annotations

import json
import os
import random
import secrets
import ssl
import sys
import tempfile
import time
import uuid
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lapse import cradle

TOKEN = secrets.token_hex(8)
"""Drawn before any birth: what is drawn then is everybody's."""
warm = (random.random(), uuid.uuid4(), ssl.RAND_bytes(8), Ed25519PrivateKey.generate())
"""Generators that were used before a fork have a state to share."""


def play(role: str, root: Path) -> int:
    """Be the role."""
    what = role.partition(".")[0]
    if what == "look":
        say(root, role, look())
    elif what == "draw":
        say(root, role, draw())
    elif what == "exit":
        return 7
    (root / f"{role}.there").touch()
    while what in ("sleep", "look"):
        time.sleep(0.05)
    return 0


def say(root: Path, role: str, document: object) -> None:
    """For the test to read; on the output too."""
    sys.stdout.write(f"{role} speaks\n")
    (root / f"{role}.json").write_text(json.dumps(document))


def look() -> dict[str, object]:
    """What this process is."""
    return {
        "arguments": Path("/proc/self/cmdline").read_bytes().rstrip(b"\0").decode().split("\0"),
        "argv": sys.argv[1:],
        "name": Path("/proc/self/comm").read_text().strip(),
        "environment": dict(os.environ),
        "files": {
            int(each): os.readlink(f"/proc/self/fd/{each}")
            for each in sorted(os.listdir("/proc/self/fd"))
            if os.path.exists(f"/proc/self/fd/{each}")
        },
        "session": os.getsid(0),
        "parent": os.getppid(),
        "token": TOKEN,
    }


def draw() -> list[str]:
    """Something of every generator a role may use."""
    return [
        os.urandom(8).hex(),
        secrets.token_hex(8),
        str(random.random()),
        str(random.SystemRandom().random()),
        uuid.uuid4().hex,
        ssl.RAND_bytes(8).hex(),
        AESGCM.generate_key(128).hex(),
        Ed25519PrivateKey.generate().private_bytes_raw().hex(),
        Path(tempfile.mktemp()).name,  # noqa: S306 - the name alone
    ]


if __name__ == "__main__":
    sys.exit(cradle.main(sys.argv[1:], modules=(), play=play))
