"""Frames on a stream socket: four bytes of length, then one message. No I/O here."""

from __future__ import annotations

import struct

from jobwarden.errors import FrameError

LARGEST_FRAME = 64 * 1024 * 1024
_LENGTH = struct.Struct(">I")
_HEADER = _LENGTH.size


def frame(message: bytes) -> bytes:
    """One message with its length before it."""
    return _LENGTH.pack(len(message)) + message


class FrameReader:
    """Cuts a stream of bytes into messages; what is incomplete waits for the next `feed`."""

    def __init__(self, *, largest: int = LARGEST_FRAME) -> None:
        """`largest` is the number of bytes above which a length is taken for garbage."""
        self._largest = largest
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are complete now, in order. Raises FrameError for an impossible length."""
        buffer = self._buffer
        buffer += data
        messages, position, end = [], 0, len(buffer)
        while end - position >= _HEADER:
            (length,) = _LENGTH.unpack_from(buffer, position)
            if length > self._largest:
                text = f"a frame claims {length} bytes, the limit is {self._largest}"
                raise FrameError(text)
            if end - position - _HEADER < length:
                break
            position += _HEADER
            messages.append(bytes(buffer[position : position + length]))
            position += length
        del buffer[:position]
        return messages

    @property
    def pending(self) -> int:
        """Bytes of an incomplete message; more than 0 at the end of a stream means that its writer died writing."""
        return len(self._buffer)
