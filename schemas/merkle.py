"""Merkle tree hashes of RFC 6962 (section 2.1), those of Certificate Transparency: roots and their proofs.

A depersonalization states the root over the records it ended, a checkpoint the root over all of `lifecycle`.
An inclusion proof shows that one leaf is under a root, a consistency proof that a tree only grew.
Verification follows RFC 9162 (2.1.3.2 and 2.1.4.2), which writes out the algorithm for the same hashes.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from itertools import islice

_BLOCK = 4096
"""Leaves hashed together: a power of two."""


def leaf_hash(leaf: bytes) -> bytes:
    """Return the 32-byte hash of a leaf; the prefix 0 keeps a leaf from passing for a node."""
    return sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the 32-byte hash of an inner node."""
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """A tree that only grows, kept as the roots of its perfect subtrees: 32 bytes per bit of its size."""

    def __init__(self, size: int = 0, peaks: Iterable[bytes] = ()) -> None:
        self.size = size
        self.peaks = list(peaks)
        """Roots of the perfect subtrees, largest first: with `size` all that must be stored to go on."""
        if len(self.peaks) != size.bit_count():
            raise ValueError("a tree has one peak for every bit set in its size")

    def append(self, leaf: bytes) -> None:
        """Add one leaf on the right."""
        self._grow(leaf_hash(leaf), 0)

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add leaves on the right: a perfect subtree at a time, which is twice as fast as leaf by leaf."""
        rest = iter(leaves)
        while block := list(islice(rest, min(_BLOCK, self.size & -self.size or _BLOCK))):
            hashes, at = [sha256(b"\x00" + leaf).digest() for leaf in block], 0
            for height in range(len(block).bit_length() - 1, -1, -1):
                if len(block) >> height & 1:
                    self._grow(_fold(hashes[at : at + (1 << height)]), height)
                    at += 1 << height

    def _grow(self, node: bytes, height: int) -> None:
        """Add the root of a perfect subtree of this height, where so many leaves are a whole number of it."""
        size = self.size >> height
        while size & 1:
            node = node_hash(self.peaks.pop(), node)
            size >>= 1
        self.peaks.append(node)
        self.size += 1 << height

    def root(self) -> bytes:
        """Return the tree hash; that of no leaves is the hash of nothing."""
        if not self.peaks:
            return sha256(b"").digest()
        node = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            node = node_hash(peak, node)
        return node


def root(leaves: Iterable[bytes]) -> bytes:
    """Return the tree hash over these leaves, in order."""
    tree = Frontier()
    tree.extend(leaves)
    return tree.root()


def inclusion_proof(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """Return the hashes that lead from leaf `index` to the root; ValueError outside the tree."""
    if not 0 <= index < len(leaves):
        raise ValueError("no such leaf")
    return _path(index, [leaf_hash(leaf) for leaf in leaves])


def consistency_proof(old: int, leaves: Sequence[bytes]) -> list[bytes]:
    """Return the hashes that show the tree of the first `old` leaves inside this one; else ValueError."""
    if not 0 < old <= len(leaves):
        raise ValueError("no such earlier tree")
    return _subproof(old, [leaf_hash(leaf) for leaf in leaves], True)


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected: bytes) -> bool:
    """Say whether the proof leads from this leaf at `index` to the root of a tree of `size` leaves."""
    if not 0 <= index < size:
        return False
    fn, sn, node = index, size - 1, leaf_hash(leaf)
    for hash_ in proof:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            node = node_hash(hash_, node)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            node = node_hash(node, hash_)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and node == expected


def verify_consistency(old: int, size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Say whether the tree of `size` leaves under `new_root` begins with that of `old` under `old_root`."""
    if not 0 < old <= size:
        return False
    if old == size:
        return not proof and old_root == new_root
    hashes = list(proof) if old & (old - 1) else [old_root, *proof]
    if not hashes:
        return False
    fn, sn = old - 1, size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    before = after = hashes[0]
    for hash_ in hashes[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            before, after = node_hash(hash_, before), node_hash(hash_, after)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            after = node_hash(after, hash_)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and before == old_root and after == new_root


def _split(count: int) -> int:
    """Return the largest power of two smaller than `count` (which is at least 2)."""
    return 1 << (count - 1).bit_length() - 1


def _fold(hashes: Sequence[bytes]) -> bytes:
    level = list(hashes)
    while len(level) > 1:
        pairs = [sha256(b"\x01" + a + b).digest() for a, b in zip(level[::2], level[1::2], strict=False)]
        level = pairs + level[len(pairs) * 2 :]
    return level[0]


def _path(index: int, hashes: Sequence[bytes]) -> list[bytes]:
    if len(hashes) == 1:
        return []
    split = _split(len(hashes))
    if index < split:
        return [*_path(index, hashes[:split]), _fold(hashes[split:])]
    return [*_path(index - split, hashes[split:]), _fold(hashes[:split])]


def _subproof(old: int, hashes: Sequence[bytes], whole: bool) -> list[bytes]:
    """Return SUBPROOF of RFC 6962 2.1.2; `whole` says that the verifier knows this subtree's root."""
    if old == len(hashes):
        return [] if whole else [_fold(hashes)]
    split = _split(len(hashes))
    if old <= split:
        return [*_subproof(old, hashes[:split], whole), _fold(hashes[split:])]
    return [*_subproof(old - split, hashes[split:], False), _fold(hashes[:split])]
