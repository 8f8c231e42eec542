"""The supervisor's signals as bytes on a socket: Python's own handler writes their numbers there. Used by the loop."""

from __future__ import annotations

import signal
import socket

KEEPER_LOST = signal.SIGUSR1
"""The supervisor's parent-death signal: the keeper is gone."""


def catch_signals() -> socket.socket:
    """Readable whenever a signal came; each byte is a number."""
    ours, theirs = socket.socketpair()
    ours.settimeout(0)
    theirs.settimeout(0)
    signal.set_wakeup_fd(theirs.detach(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, KEEPER_LOST):
        signal.signal(number, lambda _number, _frame: None)
    return ours
