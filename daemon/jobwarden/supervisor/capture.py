"""What attempts print: a bounded tail per worker, cut at the end marks that the worker writes. See R26.

A marked attempt wrote its end mark into the pipe before it sent Done, and a pipe holds 64 KiB at most; so whatever
of the attempt is not yet here can be read without waiting when Done has come, and no thread of its own is needed
(decision 002).
"""

from __future__ import annotations

import os

from jobwarden.wire.messages import end_mark

_READ_BYTES = 65_536
_MARK_ROOM = 64


class Capture:
    """The read end of one worker's capture pipe (non-blocking)."""

    def __init__(self, descriptor: int, *, nonce: str, tail_bytes: int) -> None:
        """`tail_bytes` is how much of an attempt's text is kept, from its end."""
        self.descriptor = descriptor
        self._nonce = nonce
        self._tail_bytes = tail_bytes
        self._tail = bytearray()
        self._dropped = 0
        self.ended = False
        """Nobody has the other end any more."""

    def read_some(self) -> bool:
        """One read of at most 64 KiB: a turn's budget. False when there was nothing."""
        try:
            data = os.read(self.descriptor, _READ_BYTES)
        except (BlockingIOError, OSError):
            return False
        if not data:
            self.ended = True
            return False
        self._tail += data
        excess = len(self._tail) - self._tail_bytes - _MARK_ROOM
        if excess > 0:
            del self._tail[:excess]
            self._dropped += excess
        return True

    def cut(self, fence: int) -> str | None:
        """The text of the marked attempt with this fence; reads until its mark is found or the pipe is empty."""
        mark = end_mark(self._nonce, fence)
        while (position := self._tail.find(mark)) < 0:
            if not self.read_some():
                return self.rest()
        text = self._text(position)
        del self._tail[: position + len(mark)]
        self._dropped = 0
        return text

    def rest(self, *, reads: int = 16) -> str | None:
        """All that is there, of an attempt that will not write a mark any more."""
        while reads > 0 and self.read_some():
            reads -= 1
        text = self._text(len(self._tail))
        self._tail.clear()
        self._dropped = 0
        return text

    def _text(self, end: int) -> str | None:
        kept = self._tail[max(0, end - self._tail_bytes) : end]
        if not kept:
            return None
        text = kept.decode(errors="replace").replace("\0", "\ufffd")
        dropped = self._dropped + end - len(kept)
        return f"[{dropped} bytes before this were dropped]\n{text}" if dropped else text
