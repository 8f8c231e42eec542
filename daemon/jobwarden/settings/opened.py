"""Opens what an operator wrote, config files and files with a secret: whole, bounded, and nothing that blocks.

Never reads more than `LARGEST_BYTES`, never waits for a pipe's other end. Called by `file` and `secret_files`.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LARGEST_BYTES = 1_048_576
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


def read_text(path: Path) -> str:
    """The text of this file, without a byte order mark. Raises OSError, for a pipe too, and UnicodeDecodeError.

    A path with a NUL in it is a file that cannot be there.
    """
    if "\0" in str(path):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    with open(path, "rb", opener=lambda name, _flags: os.open(name, _FLAGS), buffering=0) as file:
        _refuse_pipes(os.fstat(file.fileno()).st_mode)
        content = _whole(file.fileno())
    return content.decode("utf-8-sig")


def _refuse_pipes(mode: int) -> None:
    """A reload reads it again, when nobody writes into the pipe any more."""
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        raise OSError(errno.EINVAL, "it is a pipe, which can be read only once")


def _whole(descriptor: int) -> bytes:
    pieces, left = [], LARGEST_BYTES + 1
    while left and (piece := os.read(descriptor, left)):
        pieces.append(piece)
        left -= len(piece)
    if not left:
        raise OSError(errno.EFBIG, f"it is larger than {LARGEST_BYTES} bytes")
    return b"".join(pieces)
