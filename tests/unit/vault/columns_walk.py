"""A walk through the calls in C beside their twins: `python -m tests.unit.vault.columns_walk EXTENSION`.

For a build with sanitizers, which says by exit code and stderr what it saw; the seed makes it repeatable.
"""

from __future__ import annotations

import importlib.util
import random
import sys
from collections.abc import Sequence

from vault import columns, columns_plain
from vault.columns import OPENSSL, Columns

ROUNDS = 40
SIZES = (0, 1, 15, 16, 17, 63, 64, 65, 300, 70_000)


def extension(path: str) -> Columns:
    """Load an extension from a file, its OpenSSL found and its vectors held."""
    spec = importlib.util.spec_from_file_location("_columns", path)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    made.load(OPENSSL)
    columns.check(made)
    return made


def outcome(own: Columns, name: str, *given: object) -> object:
    """What a call returns, or the error it refuses with."""
    try:
        return getattr(own, name)(*given)
    except (TypeError, ValueError) as error:
        return type(error)


def walk(own: Columns, dice: random.Random) -> None:
    """Columns of some rows through every call, some of them wrong; `AssertionError` where the twins part."""

    def same(name: str, *given: object) -> object:
        found = outcome(own, name, *given)
        assert found == outcome(columns_plain, name, *given), name
        return found

    n, some = dice.choice((0, 1, 2, 7)), dice.randbytes
    keys, nonces = [some(32) for _ in range(n)], [some(12) for _ in range(n)]
    texts = [some(dice.choice(SIZES)) for _ in range(n)]
    pieces: Sequence[object] = [b"label", [some(dice.randrange(70)) for _ in range(n)], b"", texts]
    for given in (
        (keys, pieces),
        ([some(131)] * n, pieces),
        (keys, [keys[:-1]]),
        (keys, [keys, 7]),
        (b"", [b""]),
    ):
        same("macs", *given)
    same("mac", some(dice.choice(SIZES)), *texts)
    same("joins", pieces)
    same("wraps", [key[:-1] for key in keys], keys)
    wrapped = [*own.wraps(keys, keys), some(40), some(3), b""] if n else [some(40)]
    same("unwraps", [*keys, *(some(32) for _ in range(len(wrapped) - n))], wrapped)
    same("seals", b"label", keys, [nonce[1:] for nonce in nonces], texts, pieces)
    sealed = same("seals", b"label", keys, nonces, texts, pieces)
    assert isinstance(sealed, list)
    spoilt = [each[: dice.randrange(len(each))] if dice.random() < 0.3 else each for each in sealed]
    spoilt = [each[:-1] + bytes([each[-1] ^ 1]) if each and dice.random() < 0.3 else each for each in spoilt]
    same("opens", b"label", [key if dice.random() < 0.8 else None for key in keys], spoilt, pieces)


def main() -> None:
    """Walk, with the extension of the first argument."""
    own, dice = extension(sys.argv[1]), random.Random(5)
    for _ in range(ROUNDS):
        walk(own, dice)
    sys.stdout.write("same\n")


if __name__ == "__main__":
    main()
