"""Rate limits: at most `rate` starts in any window of `rate_seconds`. Pure.

Time is cut into slices of a fiftieth of the window, at least a millisecond; starts are counted per slice. A slice is
known by its last microsecond, so that what was counted keeps its meaning when the window is changed. A slice counts
for as long as any moment of it lies in the window: never too many starts, at the price of a fiftieth of the rate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

SLICES = 50
_SHORTEST_SLICE_US = 1_000
_SECOND_US = 1_000_000


class Rate(NamedTuple):
    """`number` starts in any window of `window_us`."""

    number: int
    window_us: int

    @classmethod
    def of(cls, rate: int, rate_seconds: float) -> Rate:
        """From the columns of a control."""
        return cls(rate, max(1, round(rate_seconds * _SECOND_US)))

    @property
    def slice_us(self) -> int:
        """The length of a slice."""
        return max(_SHORTEST_SLICE_US, self.window_us // SLICES)

    def slice_of(self, at_us: int) -> int:
        """The last microsecond of the slice in which this moment lies."""
        return at_us - at_us % self.slice_us + self.slice_us - 1

    def free(self, starts: Iterable[tuple[int, int]], *, now_us: int) -> int:
        """How many jobs may start now; negative after the rate was lowered. `starts`: (slice, number)."""
        return self.number - sum(number for _slice, number in self._counted(starts, now_us))

    def next_free_us(self, starts: Iterable[tuple[int, int]], *, now_us: int) -> int | None:
        """When at least one job may start if none starts before: now, later, or None for a rate of 0."""
        if self.number <= 0:
            return None
        counted = sorted(self._counted(starts, now_us))
        surplus = sum(number for _slice, number in counted) - self.number
        at_us = now_us
        for end_us, number in counted:
            if surplus < 0:
                break
            surplus -= number
            at_us = end_us + self.window_us
        return at_us

    def _counted(self, starts: Iterable[tuple[int, int]], now_us: int) -> list[tuple[int, int]]:
        """Slices that share a window with now. Later ones too: another node's clock may be ahead, ours set back."""
        last_us = now_us + self.window_us + self.slice_us
        return [start for start in starts if now_us - self.window_us < start[0] < last_us]
