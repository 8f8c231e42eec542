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
        self._served: int | None = None
        self._descriptors: dict[int, int] = {}

    def of(self, generation: int, *, restore: bool) -> int:
        """The memfd for a template that is about to load; with `restore` it holds the served generation's bytes."""
        self._close_others(self._served)
        if restore and self._served is not None:
            self._descriptors[generation] = os.dup(self._descriptors[self._served])
        else:
            self._descriptors[generation] = os.memfd_create("jobwarden-code", os.MFD_CLOEXEC)
        return self._descriptors[generation]

    def keep_only(self, generation: int) -> None:
        """This generation is served: the bytes of all others are not needed any more."""
        self._served = generation
        self._close_others(generation)

    def _close_others(self, kept: int | None) -> None:
        for other in list(self._descriptors):
            if other != kept:
                os.close(self._descriptors.pop(other))
