"""The prctl(2) options that tie a process to its parent and its children to it; Python has no call for them."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(number: signal.Signals = signal.SIGKILL) -> None:
    """This signal for us when the thread that is our parent ends. Look at `getppid()` again afterwards."""
    _prctl(_PR_SET_PDEATHSIG, number)


def adopt_orphans() -> None:
    """Descendants that lose their parent become our children instead of init's."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def can_adopt_orphans() -> bool:
    """Whether this kernel knows child subreapers; changes nothing."""
    answer = ctypes.c_int()
    failed: int = _libc.prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(answer), 0, 0, 0)
    return not failed


def hide_memory() -> None:
    """Other processes of the same user can no longer read our environment and memory, nor trace us."""
    _prctl(_PR_SET_DUMPABLE, 0)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), f"prctl({option})")
