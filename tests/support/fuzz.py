"""Bytes and values as a broken or hostile program makes them: known good ones, changed a little. Seeded."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

EXTREMES = (0, 1, -1, 2**31 - 1, 2**31, 2**53, 2**62, 2**63 - 1, 2**64, -(2**63), 10**40)
TEXTS = ("", "\0", "a\0b", "é", "\u202e", "x" * 300, "../../etc/passwd", "'; DROP TABLE job; --", "\x1b[31m", "\ud800")


class Fuzz:
    """The same seed gives the same bytes."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def changed(self, samples: Sequence[bytes]) -> bytes:
        """One of the samples, with one to four changes; now and then nothing but noise."""
        if self.random.random() < 0.05:
            return self.random.randbytes(self.random.randrange(200))
        data = bytearray(self.random.choice(samples))
        for _ in range(self.random.randint(1, 4)):
            self._change(data, samples)
        return bytes(data)

    def _change(self, data: bytearray, samples: Sequence[bytes]) -> None:
        at, end = sorted((self.random.randint(0, len(data)), self.random.randint(0, len(data))))
        match self.random.randrange(7):
            case 0 if data:
                data[min(at, len(data) - 1)] ^= 1 << self.random.randrange(8)
            case 1:
                del data[at:end]
            case 2:
                data[at:at] = self.random.randbytes(self.random.randint(1, 9))
            case 3:
                data[at:at] = data[at:end]
            case 4:
                del data[at:]
            case 5:
                other = self.random.choice(samples)
                data[at:end] = other[at:]
            case _:
                if data:
                    data[min(at, len(data) - 1)] = self.random.choice((0x00, 0x7F, 0x80, 0xC0, 0xC1, 0xDF, 0xFF))

    def value(self, *, depth: int = 3) -> object:
        """Any value that Python code could hand over as a payload."""
        makers: list[Callable[[], object]] = [
            lambda: self.random.choice((None, True, False, float("nan"), float("inf"), 1.5, -0.0, object(), b"raw")),
            lambda: self.random.choice(EXTREMES),
            lambda: self.random.choice(TEXTS),
        ]
        if depth:
            makers += [
                lambda: [self.value(depth=depth - 1) for _ in range(self.random.randrange(4))],
                lambda: {self.key(): self.value(depth=depth - 1) for _ in range(self.random.randrange(4))},
            ]
        return self.random.choice(makers)()

    def key(self) -> object:
        """A key of an object; JSON has only texts."""
        return self.random.choice((*TEXTS, *TEXTS, 1, None, True, (1, 2)))
