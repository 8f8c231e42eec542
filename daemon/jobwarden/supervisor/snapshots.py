"""The bytes of the generation that is served, and of the one that loads, each in a memfd (P6, R24).

A template that dies is replaced by one that loads the same bytes again: what stands on the disk by then may be broken,
or simply newer than what somebody asked to be loaded.
"""

from __future__ import annotations

import os


class Snapshots:
    """Memfds by the number of their generation."""

    def __init__(self) -> None:
        """Nothing was loaded."""
        self._served: dict[str, int] = {}
        """By pool."""
        self._descriptors: dict[str, dict[int, int]] = {}

    def of(self, generation: int, *, pool: str, restore: bool) -> int:
        """The memfd for a template that is about to load; with `restore` it holds the served generation's bytes."""
        served = self._served.get(pool)
        held = self._close_others(pool, kept=served)
        if restore and served is not None:
            held[generation] = os.dup(held[served])
        else:
            held[generation] = os.memfd_create("jobwarden-code", os.MFD_CLOEXEC)
        return held[generation]

    def keep_only(self, generation: int, *, pool: str) -> None:
        """This generation is served: the bytes of the pool's others are not needed any more."""
        self._served[pool] = generation
        self._close_others(pool, kept=generation)

    def _close_others(self, pool: str, *, kept: int | None) -> dict[int, int]:
        held = self._descriptors.setdefault(pool, {})
        for other in list(held):
            if other != kept:
                os.close(held.pop(other))
        return held
