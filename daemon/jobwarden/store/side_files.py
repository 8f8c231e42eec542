"""Files beside a database file are for whoever may use it: its owner, and its group where the mode lets that write.

Modes are set, not asked of the umask, with which a daemon or a client may have been started as it pleases. Nothing is
ever open to others. Only what was opened is changed: in a shared folder a name may have become a link to something
else. Called where such a file or folder has just been made.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_OWN, _SHARED = 0o600, 0o660
_ENTER_OWN, _ENTER_SHARED = 0o100, 0o110
_READ_AND_WRITE = stat.S_IRGRP | stat.S_IWGRP


def make_side_folder(folder: Path) -> None:
    """Make `<database>.<name>` unless it is there. One of ours follows a database that came to be shared. OSError."""
    folder.mkdir(mode=_OWN | _ENTER_OWN, exist_ok=True)
    with suppress(OSError), _opened(str(folder), os.O_RDONLY | os.O_DIRECTORY) as here:
        database = folder.with_suffix("").stat()
        if _is_shared(database.st_mode) and os.fstat(here).st_uid == os.geteuid():
            os.fchown(here, -1, database.st_gid)
            os.fchmod(here, _SHARED | _ENTER_SHARED)


def share_file(descriptor: int, *, folder: Path) -> None:
    """Give an open file that we have made the rights of the folder that it stands in."""
    found = folder.stat()
    if _is_shared(found.st_mode):
        with suppress(OSError):  # we are not in that group; then nobody gains anything
            os.fchown(descriptor, -1, found.st_gid)
            os.fchmod(descriptor, _SHARED)


def share_socket(name: str, *, folder: int) -> None:
    """The same for the file of a socket, which can be opened as a place only; `folder` is a descriptor.

    What bind(2) makes is open to the owner alone, or as far as the umask lets it: the folder keeps all others out.
    """
    found = os.fstat(folder)
    with _opened(name, os.O_PATH, within=folder) as place:
        itself = Path(f"/proc/self/fd/{place}")
        if _is_shared(found.st_mode):
            with suppress(OSError):
                os.chown(itself, -1, found.st_gid)
        itself.chmod(_SHARED if _is_shared(found.st_mode) else _OWN)


@contextmanager
def _opened(name: str, flags: int, *, within: int | None = None) -> Iterator[int]:
    descriptor = os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=within)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_shared(mode: int) -> bool:
    return mode & _READ_AND_WRITE == _READ_AND_WRITE
