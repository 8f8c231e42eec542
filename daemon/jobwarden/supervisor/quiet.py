"""When a handlers directory has come to rest after a change, so that reading it makes sense. Pure.

Fed with looks by the watcher. One file that was written whole is a save, and somebody waits for it; several files, or
an empty one, are somebody's work under way, which gets more time. A tree that never rests is read nevertheless.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobwarden.sources.look import Look

_MS_NS = 1_000_000
SAVE_REST_NS = 80 * _MS_NS
"""No change for so long after a save of one file."""
DEPLOY_REST_NS = 400 * _MS_NS
"""And after a change of several: a `git pull`, a copy, a refactoring."""
LONGEST_UNREST_NS = 5_000 * _MS_NS
_SIZE = 2


class Quiet:
    """One directory's changes."""

    def __init__(self) -> None:
        """Nothing was seen; the first look counts as a change."""
        self._begun = False
        self._last: Look | None = None
        self._changed: set[str] = set()
        self._since_ns: int | None = None
        """When the unrest began; None is rest."""
        self._moved_ns = 0

    @property
    def last(self) -> Look | None:
        """The last look; None if there was no directory."""
        return self._last

    def saw(self, found: Look | None, *, now_ns: int) -> bool:
        """Take one look into account; whether the directory, as it is now, should be read."""
        if not self._begun or found != self._last:
            self._changed |= _files_changed(self._last, found)
            self._moved_ns = now_ns
            self._since_ns = now_ns if self._since_ns is None else self._since_ns
        self._begun, self._last = True, found
        due_ns = self.due_ns()
        return due_ns is not None and now_ns >= due_ns

    def due_ns(self) -> int | None:
        """In unrest: when the next look may end it; None at rest."""
        if self._since_ns is None:
            return None
        rest_ns = DEPLOY_REST_NS if self._is_much() else SAVE_REST_NS
        return min(self._moved_ns + rest_ns, self._since_ns + LONGEST_UNREST_NS)

    def never_rests(self, *, now_ns: int) -> bool:
        """Whether the unrest lasts so long that it is read as it is."""
        return self._since_ns is not None and now_ns - self._since_ns >= LONGEST_UNREST_NS

    def was_read(self) -> None:
        """What the last look saw was read."""
        self._since_ns = None
        self._changed.clear()

    def _is_much(self) -> bool:
        return self._last is None or len(self._changed) != 1 or any(map(self._is_empty, self._changed))

    def _is_empty(self, relative: str) -> bool:
        state = self._last.files.get(relative) if self._last is not None else None
        return state is not None and state[_SIZE] == 0


def _files_changed(before: Look | None, after: Look | None) -> set[str]:
    if before is None or after is None:
        return set() if after is None else set(after.files)
    return after.changed_since(before)
