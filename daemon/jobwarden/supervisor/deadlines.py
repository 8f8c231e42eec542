"""Moments at which the pool must act: a heap with lazy removal. Pure; the caller brings the time."""

from __future__ import annotations

import heapq

_MOST_REPLACED = 256
"""Replaced entries that the heap may hold beside as many as there are living ones."""


class Deadlines:
    """Keys that fall due. Setting a key again replaces its earlier moment.

    What was replaced is thrown away when it has come to the top, or when it makes up most of the heap: the limits of
    15,000 jobs per second would otherwise pile up until the first of them is due.
    """

    def __init__(self) -> None:
        """Nothing is due, ever."""
        self._heap: list[tuple[int, int]] = []
        self._at: dict[int, int] = {}

    def set(self, key: int, at_ns: int | None) -> None:
        """`key` falls due at this monotonic moment; None takes it away."""
        if at_ns is None:
            self._at.pop(key, None)
            return
        self._at[key] = at_ns
        heapq.heappush(self._heap, (at_ns, key))
        if len(self._heap) > _MOST_REPLACED + 2 * len(self._at):
            self._heap = [(at, each) for each, at in self._at.items()]
            heapq.heapify(self._heap)

    def is_set(self, key: int) -> bool:
        """Whether this key will fall due."""
        return key in self._at

    def next_ns(self) -> int | None:
        """The earliest moment, or None for never."""
        self._drop_replaced()
        return self._heap[0][0] if self._heap else None

    def due(self, now_ns: int) -> list[int]:
        """The keys that are due, earliest first; they are taken away."""
        found = []
        while self._heap and self._heap[0][0] <= now_ns:
            at_ns, key = heapq.heappop(self._heap)
            if self._at.get(key) == at_ns:
                del self._at[key]
                found.append(key)
        return found

    def _drop_replaced(self) -> None:
        while self._heap and self._at.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
