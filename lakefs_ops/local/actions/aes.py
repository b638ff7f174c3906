"""AES in CBC mode (FIPS 197), for the few bytes that a script encrypts: without a library, and slow."""

from __future__ import annotations

import secrets
from itertools import pairwise

BLOCK = 16


def _times(left: int, right: int) -> int:
    """Multiply in the field of AES."""
    product = 0
    while right:
        if right & 1:
            product ^= left
        left = left << 1 ^ (0x11B if left & 0x80 else 0)
        right >>= 1
    return product


def _boxes() -> tuple[bytes, bytes]:
    box = bytearray(256)
    for value in range(256):
        inverse = next((other for other in range(256) if _times(value, other) == 1), 0)
        turned = inverse | inverse << 8
        box[value] = (inverse ^ turned >> 7 ^ turned >> 6 ^ turned >> 5 ^ turned >> 4) & 0xFF ^ 0x63
    return bytes(box), bytes(box.index(value) for value in range(256))


_BOX, _UNBOX = _boxes()
_SHIFTED = tuple((at + 4 * (at % 4)) % 16 for at in range(16))
_UNSHIFTED = tuple(_SHIFTED.index(at) for at in range(16))
_MIX, _UNMIX = (2, 3, 1, 1), (14, 11, 13, 9)


def encrypt(key: bytes, text: bytes) -> bytes:
    """Encrypt a text, padded as PKCS 7 says, behind random bytes to begin with.

    Raises:
        ValueError: the key has not 16, 24 or 32 bytes.
    """
    keys = _keys(key)
    missing = BLOCK - len(text) % BLOCK
    padded = text + bytes([missing]) * missing
    blocks = [secrets.token_bytes(BLOCK)]
    for at in range(0, len(padded), BLOCK):
        state = _xor(_xor(padded[at : at + BLOCK], blocks[-1]), keys[0])
        for number, round_key in enumerate(keys[1:], 1):
            state = bytes(_BOX[state[at]] for at in _SHIFTED)
            state = _xor(state if number == len(keys) - 1 else _mixed(state, _MIX), round_key)
        blocks.append(state)
    return b"".join(blocks)


def decrypt(key: bytes, data: bytes) -> bytes:
    """Decrypt what `encrypt` returns.

    Raises:
        ValueError: the key has not 16, 24 or 32 bytes, or the data is not of whole blocks with a padding.
    """
    keys = _keys(key)
    if len(data) % BLOCK or len(data) < 2 * BLOCK:
        raise ValueError("crypto/cipher: input not full blocks")
    text = b""
    for before, block in pairwise(data[at : at + BLOCK] for at in range(0, len(data), BLOCK)):
        state = _xor(block, keys[-1])
        for number, round_key in enumerate(reversed(keys[:-1]), 1):
            state = _xor(bytes(_UNBOX[state[at]] for at in _UNSHIFTED), round_key)
            if number < len(keys) - 1:
                state = _mixed(state, _UNMIX)
        text += _xor(state, before)
    if text[-1] > len(text):
        raise ValueError(f"slice bounds out of range [:{len(text) - text[-1]}]")
    return text[: len(text) - text[-1]]


def _keys(key: bytes) -> list[bytes]:
    """Return the keys of the rounds."""
    size = len(key) // 4
    if len(key) not in (16, 24, 32):
        raise ValueError(f"crypto/aes: invalid key size {len(key)}")
    words = [key[at : at + 4] for at in range(0, len(key), 4)]
    power = 1
    while len(words) < 4 * (size + 7):
        word = words[-1]
        if len(words) % size == 0:
            word = bytes(_BOX[byte] for byte in word[1:] + word[:1])
            word = bytes([word[0] ^ power]) + word[1:]
            power = _times(power, 2)
        elif size == 8 and len(words) % size == 4:
            word = bytes(_BOX[byte] for byte in word)
        words.append(_xor(word, words[-size]))
    return [b"".join(words[at : at + 4]) for at in range(0, len(words), 4)]


def _mixed(state: bytes, factors: tuple[int, ...]) -> bytes:
    return bytes(
        _times(state[column], factors[-row % 4])
        ^ _times(state[column + 1], factors[(1 - row) % 4])
        ^ _times(state[column + 2], factors[(2 - row) % 4])
        ^ _times(state[column + 3], factors[(3 - row) % 4])
        for column in range(0, 16, 4)
        for row in range(4)
    )


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))
