"""What a handler prints: descriptors 1 and 2 are the capture pipe, and an end mark tells one attempt from the next.

User code may close, replace or redirect streams and descriptors; after each job everything is put back. Writing may
block while the pipe is full: the supervisor drains it. Runs in the worker.
"""

from __future__ import annotations

import fcntl
import io
import os
import sys
import termios
from typing import TYPE_CHECKING, Any

from jobwarden.clock import MILLISECOND_NS
from jobwarden.wire.messages import end_mark

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

MARK_AFTER_NS = 10 * MILLISECOND_NS
"""A job that lived this long gets its mark anyway: what its children printed may have been drained already."""

_STREAMS = (("stdout", 1), ("stderr", 2))


class Capture:
    """The worker's end of its capture pipe. `descriptor` is a private duplicate that user code does not know."""

    def __init__(self, descriptor: int, *, nonce: str) -> None:
        self._descriptor = descriptor
        self._nonce = nonce
        self._streams: dict[str, io.TextIOWrapper] = {}
        self.written = False
        """A stream of ours has written since the last mark."""

    def install(self) -> None:
        """Make the pipe descriptors 1 and 2, with fresh streams on them."""
        os.set_blocking(self._descriptor, True)
        self._restore_descriptors()
        for name, number in _STREAMS:
            self._open_stream(name, number)

    def finish(self, fence: int, *, lived_ns: int) -> bool:
        """Put everything back, and write the end mark if this attempt may have printed. True if it was written."""
        self._restore_descriptors()
        for name, number in _STREAMS:
            self._restore_stream(name, number)
        if not (self.written or lived_ns >= MARK_AFTER_NS or self._waiting_bytes()):
            return False
        self.written = False
        return self._write_mark(end_mark(self._nonce, fence))

    def _restore_descriptors(self) -> None:
        os.dup2(self._descriptor, 1)
        os.dup2(self._descriptor, 2)

    def _restore_stream(self, name: str, number: int) -> None:
        stream = self._streams[name]
        try:
            stream.flush()
        except (OSError, ValueError):  # closed, or detached from its buffer by user code
            self._open_stream(name, number)
        else:
            setattr(sys, name, stream)

    def _open_stream(self, name: str, number: int) -> None:
        # As with `python -u`, no BufferedWriter: it refuses a second print in one thread, and a callback at the limit
        # may have interrupted the first one.
        raw: Any = _Noted(number, self)
        stream = io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)
        self._streams[name] = stream
        setattr(sys, name, stream)

    def _waiting_bytes(self) -> int:
        """Bytes in the pipe that nobody has read yet, for example of a child process."""
        return int.from_bytes(fcntl.ioctl(self._descriptor, termios.FIONREAD, b"\0\0\0\0"), sys.byteorder)

    def _write_mark(self, mark: bytes) -> bool:
        try:
            os.set_blocking(self._descriptor, True)  # a child may have changed that for all of us
            os.write(self._descriptor, mark)  # shorter than PIPE_BUF, so it is never torn
        except BrokenPipeError:
            return False
        return True


class _Noted(io.FileIO):
    """The raw end of a stream; what really leaves for the pipe passes here."""

    def __init__(self, number: int, capture: Capture) -> None:
        super().__init__(number, "w", closefd=False)
        self._capture = capture

    def write(self, data: ReadableBuffer, /) -> int:
        """All of it; a pipe that a child has made non-blocking is made blocking again."""
        self._capture.written = True
        rest = memoryview(data).cast("B")
        size = rest.nbytes
        while rest.nbytes:
            written = super().write(rest)
            if written is None:
                os.set_blocking(self.fileno(), True)
            else:
                rest = rest[written:]
        return size
