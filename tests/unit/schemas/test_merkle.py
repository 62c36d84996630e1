"""The published vectors of Certificate Transparency, and proofs of trees of every small size."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import merkle

# The leaves, roots and proofs of the reference tests of Certificate Transparency (RFC 6962).
LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
A = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
B = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
C = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
D = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
E = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
F = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"

Trees = st.lists(st.binary(max_size=4), min_size=1, max_size=40)


def hexes(proof: list[bytes]) -> list[str]:
    """Return a proof as it is published."""
    return [part.hex() for part in proof]


def test_published_roots() -> None:
    """The reference tree has its published root at every size."""
    assert [merkle.root(LEAVES[:n]).hex() for n in range(9)] == ROOTS


@pytest.mark.parametrize(
    ("leaf", "size", "proof"),
    [(1, 1, []), (1, 8, [A, B, C]), (6, 8, [D, E, ROOTS[4]]), (3, 3, [ROOTS[2]]), (2, 5, [ROOTS[1], B, D])],
)
def test_published_inclusion_proofs(leaf: int, size: int, proof: list[str]) -> None:
    """Leaves are counted from 1, as they are published."""
    assert hexes(merkle.inclusion_proof(leaf - 1, LEAVES[:size])) == proof


@pytest.mark.parametrize(
    ("old", "size", "proof"), [(1, 1, []), (1, 8, [A, B, C]), (6, 8, [F, E, ROOTS[4]]), (2, 5, [B, D])]
)
def test_published_consistency_proofs(old: int, size: int, proof: list[str]) -> None:
    """The reference tree's growth is proven by the published hashes."""
    assert hexes(merkle.consistency_proof(old, LEAVES[:size])) == proof


@given(leaves=Trees, data=st.data())
def test_every_leaf_is_proven_and_no_other(leaves: list[bytes], data: st.DataObject) -> None:
    """A proof verifies for its leaf, place and tree; another leaf, place, root or proof does not."""
    index = data.draw(st.integers(0, len(leaves) - 1))
    size, root, proof = len(leaves), merkle.root(leaves), merkle.inclusion_proof(index, leaves)
    leaf = leaves[index]
    assert merkle.verify_inclusion(leaf, index, size, proof, root)
    assert not merkle.verify_inclusion(leaf + b"x", index, size, proof, root)
    assert not merkle.verify_inclusion(leaf, index, size, proof, hashlib.sha256(root).digest())
    assert not merkle.verify_inclusion(leaf, index, size, [*proof, root], root)
    assert not merkle.verify_inclusion(leaf, size, size, proof, root)
    assert not merkle.verify_inclusion(leaf, -1, size, proof, root)
    if proof:
        assert not merkle.verify_inclusion(leaf, index, size, proof[:-1], root)


@given(leaves=Trees, data=st.data())
def test_growth_is_proven_and_rewriting_is_not(leaves: list[bytes], data: st.DataObject) -> None:
    """A consistency proof verifies for the trees it is of; a rewritten past or a changed proof does not."""
    old = data.draw(st.integers(1, len(leaves)))
    size, before, after = len(leaves), merkle.root(leaves[:old]), merkle.root(leaves)
    proof = merkle.consistency_proof(old, leaves)
    assert merkle.verify_consistency(old, size, before, after, proof)
    other = merkle.root([*leaves[: old - 1], leaves[old - 1] + b"x"])
    assert not merkle.verify_consistency(old, size, other, after, proof)
    assert not merkle.verify_consistency(old, size, before, other, proof)
    assert not merkle.verify_consistency(old, size, before, after, [*proof, after])
    if proof:
        assert not merkle.verify_consistency(old, size, before, after, proof[:-1])


@pytest.mark.parametrize(("old", "size"), [(old, size) for size in range(1, 9) for old in range(1, size + 1)])
def test_a_proof_too_long_proves_nothing(old: int, size: int) -> None:
    """Hashes after the end of a proof are refused in trees of every shape."""
    before, after = merkle.root(LEAVES[:old]), merkle.root(LEAVES[:size])
    more = [*merkle.consistency_proof(old, LEAVES[:size]), after]
    assert not merkle.verify_consistency(old, size, before, after, more)
    proof = [*merkle.inclusion_proof(old - 1, LEAVES[:size]), after]
    assert not merkle.verify_inclusion(LEAVES[old - 1], old - 1, size, proof, after)


@pytest.mark.parametrize(("old", "size"), [(0, 3), (4, 3), (-1, 3)])
def test_no_earlier_tree_means_no_proof(old: int, size: int) -> None:
    """Sizes that cannot be are refused by the prover and false for the verifier."""
    with pytest.raises(ValueError, match="no such earlier tree"):
        merkle.consistency_proof(old, LEAVES[:size])
    assert not merkle.verify_consistency(old, size, b"", b"", [])
    with pytest.raises(ValueError, match="no such leaf"):
        merkle.inclusion_proof(size, LEAVES[:size])


def test_an_empty_proof_proves_no_growth() -> None:
    """Trees of unlike sizes need hashes between them."""
    assert not merkle.verify_consistency(3, 5, b"a" * 32, b"b" * 32, [])


@given(leaves=st.lists(st.binary(max_size=4), max_size=40), data=st.data())
def test_a_growing_tree_goes_on_from_what_was_stored(leaves: list[bytes], data: st.DataObject) -> None:
    """Size and peaks are all that is needed to continue after a restart."""
    first = data.draw(st.integers(0, len(leaves)))
    tree = merkle.Frontier()
    for leaf in leaves[:first]:
        tree.append(leaf)
    again = merkle.Frontier(tree.size, tree.peaks)
    for leaf in leaves[first:]:
        again.append(leaf)
    assert (again.size, again.root()) == (len(leaves), merkle.root(leaves))
    assert merkle.root(leaves) == _by_definition(leaves)


def _by_definition(leaves: list[bytes]) -> bytes:
    """Return MTH as RFC 6962 2.1 defines it."""
    if len(leaves) < 2:
        return merkle.leaf_hash(leaves[0]) if leaves else hashlib.sha256().digest()
    split = max(1 << k for k in range(len(leaves)) if 1 << k < len(leaves))
    return merkle.node_hash(_by_definition(leaves[:split]), _by_definition(leaves[split:]))


def test_peaks_must_fit_their_size() -> None:
    """A stored tree that lost a peak is noticed at once."""
    with pytest.raises(ValueError, match="one peak"):
        merkle.Frontier(3, [b"p" * 32])


@given(first=st.integers(0, 40), more=st.integers(0, 70), block=st.sampled_from([1, 4, 8, 4096]))
def test_a_tree_grows_by_many_leaves_as_by_one_after_the_other(first: int, more: int, block: int) -> None:
    """Wherever it stood, and however many are hashed together."""
    leaves = [bytes([n]) for n in range(first + more)]
    slow, fast = merkle.Frontier(), merkle.Frontier()
    for n, leaf in enumerate(leaves):
        slow.append(leaf)
        if n < first:
            fast.append(leaf)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merkle, "_BLOCK", block)
        fast.extend(iter(leaves[first:]))
    assert (fast.size, fast.peaks) == (slow.size, slow.peaks)
