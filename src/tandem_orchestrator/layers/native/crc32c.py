"""CRC32C (Castagnoli) from a table of 256 words: the plain twin of ``native/src/base/crc32c.c``.

Source: polynomial 0x1EDC6F41, reflected 0x82F63B78; RFC 3720 appendix B.4 has the test vectors.
"""

from __future__ import annotations

_POLYNOMIAL = 0x82F6_3B78


def _table() -> tuple[int, ...]:
    words = []
    for index in range(256):
        word = index
        for _ in range(8):
            word = word >> 1 ^ (_POLYNOMIAL if word & 1 else 0)
        words.append(word)
    return tuple(words)


_TABLE = _table()


def crc32c(data: bytes, crc: int = 0) -> int:
    """Extend ``crc`` (0 to begin) by ``data``: ``crc32c(a + b) == crc32c(b, crc32c(a))``."""
    word = crc ^ 0xFFFF_FFFF
    for byte in data:
        word = word >> 8 ^ _TABLE[(word ^ byte) & 0xFF]
    return word ^ 0xFFFF_FFFF
