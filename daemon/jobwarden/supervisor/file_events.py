"""The kernel's events about folders, by way of watchfiles; says no more than that something has happened.

Which folders are listened to is told by the watcher, one by one: so a link into another folder is followed, and `.git`
or a virtual environment beside the handlers costs nothing. Events may get lost; whoever relies on them looks now and
then. Used in the watcher's thread only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from watchfiles._rust_notify import RustNotify

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

    from jobwarden.sources.look import Identity

_STEP_MS = 25
"""watchfiles itself looks so often whether events have arrived."""
_LONGEST_BURST_MS = 100
_UNUSED_POLL_MS = 1_000


class FileEvents:
    """At first no folder is listened to."""

    def __init__(self, leaving: threading.Event) -> None:
        """Once `leaving` is set, waits end at once."""
        self.problem: str | None = None
        """Why there are no events; they are tried again with other folders."""
        self._leaving = leaving
        self._folders: Mapping[str, Identity] = {}
        self._notify: RustNotify | None = None

    def listen_to(self, folders: Mapping[str, Identity]) -> bool:
        """From now on to these, by path; True if they are others than before: something may have been missed."""
        if folders == self._folders:
            return False
        self.close()
        self._folders = dict(folders)
        self.problem = None
        if folders:
            self._begin()
        return True

    def wait(self, seconds: float) -> bool:
        """Until something has happened in one of the folders; False: nothing within this time."""
        if self._notify is None:
            self._leaving.wait(seconds)
            return False
        limit_ms = max(1, int(seconds * 1_000))  # 0 would be for ever
        try:
            found = self._notify.watch(_LONGEST_BURST_MS, _STEP_MS, limit_ms, self._leaving)
        except (OSError, RuntimeError) as error:
            self._fail(error)
            return True
        return not isinstance(found, str)

    def close(self) -> None:
        """Give the kernel's watches back."""
        if self._notify is not None:
            self._notify.close()
        self._notify = None

    def _begin(self) -> None:
        try:
            self._notify = RustNotify(
                [path for path in self._folders if _is_text(path)],
                False,  # noqa: FBT003 - positional only: no debugging
                False,  # noqa: FBT003 - no polling: the watcher looks by itself
                _UNUSED_POLL_MS,
                False,  # noqa: FBT003 - not recursive
                True,  # noqa: FBT003 - a folder without rights is no reason to fail
            )
        except FileNotFoundError:  # it went away since it was looked at
            self._folders = {}
        except (OSError, RuntimeError, ValueError) as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self.close()
        self.problem = str(error)


def _is_text(path: str) -> bool:
    """What is no UTF-8 cannot be given to watchfiles. Nothing in such a folder is served, so nobody saves there."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
