"""Every construction against its published vectors."""

from binascii import unhexlify as hexed

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap, aes_key_wrap

from vault.keys import hkdf_expand, hkdf_extract, unwrap, wrap

# RFC 5869 appendix A, the SHA-256 cases: ikm, salt, info, length, prk, okm.
RFC5869 = [
    (
        "0b" * 22,
        "000102030405060708090a0b0c",
        "f0f1f2f3f4f5f6f7f8f9",
        42,
        "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        bytes(range(0x00, 0x50)).hex(),
        bytes(range(0x60, 0xB0)).hex(),
        bytes(range(0xB0, 0x100)).hex(),
        82,
        "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
        "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
    ),
    (
        "0b" * 22,
        "",
        "",
        42,
        "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
]

# RFC 3394 section 4: kek, key, wrapped.
RFC3394 = [
    (
        "000102030405060708090A0B0C0D0E0F",
        "00112233445566778899AABBCCDDEEFF",
        "1FA68B0A8112B447AEF34BD8FB5A7B829D3E862371D2CFE5",
    ),
    (
        "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F",
        "00112233445566778899AABBCCDDEEFF",
        "64E8C3F9CE0F5BA263E9777905818A2A93C8191E7D6E8AE7",
    ),
    (
        "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F",
        "00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F",
        "28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21",
    ),
]

# The GCM specification (McGrew and Viega), AES-256 cases 13 to 16: key, nonce, aad, clear, sealed and tag.
GCM_CLEAR = (
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525"
    "b16aedf5aa0de657ba637b39"
)
GCM_KEY = "feffe9928665731c6d6a8f9467308308" * 2
GCM_SEALED = (
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838"
    "c5f61e6393ba7a0abcc9f662"
)
GCM = [
    ("00" * 32, "00" * 12, "", "", "530f8afbc74536b9a963b4f1c4cb738b"),
    ("00" * 32, "00" * 12, "", "00" * 16, "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"),
    (
        GCM_KEY,
        "cafebabefacedbaddecaf888",
        "",
        GCM_CLEAR + "1aafd255",
        GCM_SEALED + "898015ad" + "b094dac5d93471bdec1a502270e3cc6c",
    ),
    (
        GCM_KEY,
        "cafebabefacedbaddecaf888",
        "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        GCM_CLEAR,
        GCM_SEALED + "76fc6ece0f4e1768cddf8853bb2d551b",
    ),
]


@pytest.mark.parametrize(("ikm", "salt", "info", "length", "prk", "okm"), RFC5869)
def test_hkdf(ikm: str, salt: str, info: str, length: int, prk: str, okm: str) -> None:
    """HKDF-SHA256 as in RFC 5869."""
    assert hkdf_extract(hexed(salt), hexed(ikm)) == hexed(prk)
    assert hkdf_expand(hexed(prk), hexed(info), length) == hexed(okm)


@pytest.mark.parametrize("length", [0, 8161])
def test_hkdf_knows_its_bounds(length: int) -> None:
    """Nothing, and more than 255 blocks, is refused."""
    with pytest.raises(ValueError, match="8160"):
        hkdf_expand(bytes(32), b"", length)


@pytest.mark.parametrize(("kek", "key", "wrapped"), RFC3394)
def test_key_wrap(kek: str, key: str, wrapped: str) -> None:
    """AES key wrap as in RFC 3394; ours takes keys of 32 bytes, the last vector."""
    assert aes_key_wrap(hexed(kek), hexed(key)) == hexed(wrapped)
    assert aes_key_unwrap(hexed(kek), hexed(wrapped)) == hexed(key)
    if len(hexed(key)) == len(hexed(kek)) == 32:
        assert wrap(hexed(kek), hexed(key)) == hexed(wrapped)
        assert unwrap(hexed(kek), hexed(wrapped)) == hexed(key)


def test_a_wrap_of_another_key_or_length_is_none() -> None:
    """What was not wrapped under this key, or is not a wrap, opens nothing."""
    kek, key, wrapped = (hexed(part) for part in RFC3394[2])
    assert unwrap(key, wrapped) is None
    assert unwrap(kek, wrapped[:-8]) is None
    assert unwrap(kek, b"") is None
    assert unwrap(kek, bytes(40)) is None


@pytest.mark.parametrize(("key", "nonce", "aad", "clear", "sealed"), GCM)
def test_gcm(key: str, nonce: str, aad: str, clear: str, sealed: str) -> None:
    """AES-256-GCM as its specification has it."""
    assert AESGCM(hexed(key)).encrypt(hexed(nonce), hexed(clear), hexed(aad)) == hexed(sealed)


def test_one_block() -> None:
    """AES-256 as in FIPS 197 appendix C.3: what a handle is made of."""
    key = hexed("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")
    encryptor = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()  # noqa: S305
    assert encryptor.update(hexed("00112233445566778899aabbccddeeff")) == hexed(
        "8ea2b7ca516745bfeafc49904b496089"
    )
