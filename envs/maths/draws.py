"""Random draws that depend on the two texts alone, so that a verdict is the same on every machine and in every process.

A seed from both texts also keeps the points unknown to whoever knows only the answer.
"""

from __future__ import annotations

from zlib import crc32

_MASK = (1 << 64) - 1


class Draws:
    """SplitMix64 (Steele, Lea and Flood 2014): tiny, and good enough to pick points."""

    __slots__ = ("state",)

    def __init__(self, *texts: str) -> None:
        self.state = 0
        for text in texts:
            data = text.encode("utf-8", "surrogatepass")
            self.state = (self.state << 32 ^ crc32(data) ^ len(data) << 7) & _MASK

    def word(self) -> int:
        """64 random bits."""
        self.state = (self.state + 0x9E3779B97F4A7C15) & _MASK
        z = self.state
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & _MASK
        z = (z ^ z >> 27) * 0x94D049BB133111EB & _MASK
        return z ^ z >> 31

    def below(self, limit: int) -> int:
        """A number in [0, limit), with a bias below 2^-64."""
        value = 0
        for _ in range(limit.bit_length() // 64 + 2):
            value = value << 64 | self.word()
        return value % limit

    def between(self, low: int, high: int) -> int:
        """A number in [low, high]."""
        return low + self.below(high - low + 1)
