"""A template's account of its load: which file's code runs, and where it stood if it never ends.

Handler files may hang, crash or end the process that imports them; nobody is left then to say where. So each file is
named before its code runs, and a watchdog of faulthandler's, which needs no interpreter, writes the stack into a memfd
of the supervisor's shortly before the load is given up. Called by the template, around the load.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
from typing import TYPE_CHECKING

from jobwarden.wire.frames import frame
from jobwarden.wire.messages import Began, Importing, encode

if TYPE_CHECKING:
    import socket

    from jobwarden.wire.messages import FromTemplate

_DUMPED_AT = 0.75
"""Of the time that the load has: the supervisor's clock has begun a little earlier."""


class LoadAccount:
    """One per load."""

    def __init__(self, control: socket.socket, *, dump_fd: int | None, load_seconds: float) -> None:
        """From now on a crash, or a load that takes too long, leaves its stack behind."""
        self._control = control
        self._dump_fd = dump_fd
        if dump_fd is not None:
            faulthandler.enable(file=dump_fd)
            faulthandler.dump_traceback_later(load_seconds * _DUMPED_AT, file=dump_fd)

    def began(self, content_hash: str) -> None:
        """This is the code."""
        self._say(Began(content_hash))

    def importing(self, file: str) -> None:
        """Its code runs next."""
        self._say(Importing(file))

    def close(self) -> None:
        """The load has ended: no thread of the watchdog's may be there when workers are forked."""
        if self._dump_fd is not None:
            faulthandler.cancel_dump_traceback_later()
            faulthandler.disable()
            with contextlib.suppress(OSError):  # a module's own code has closed it
                os.close(self._dump_fd)

    def _say(self, message: FromTemplate) -> None:
        with contextlib.suppress(OSError):  # a module's own code has closed it, which is told at the end of the load
            self._control.sendall(frame(encode(message)))
