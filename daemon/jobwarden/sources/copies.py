"""The bytes of a generation as files again: executables run from a copy, so that a job ends on the code it began with.

A copy holds the files of the generation, read-only; whatever else stands in the handlers directory is there too, as a
link to the real thing. Who uses a copy holds a lock on it, and children inherit that with the descriptor: a copy that
nobody holds is dead, and the next one that is made clears it away. So nothing has to be told when a job ends or a
process is killed. Called by the template, with the rights of the pool.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from jobwarden.sources.belonging import LIBRARIES, PACKAGE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobwarden.sources.tree import SourceFile, SourceTree

_LOCK = "lock"
_SEARCHABLE, _WRITABLE = 0o555, 0o700
_READABLE = 0o444
_SURROUNDINGS = (LIBRARIES, PACKAGE)
"""Node looks for these in the folders above a script, up to the root."""


def make_copy(tree: SourceTree, folder: Path) -> str:
    """A new copy below `folder`; its path. This process and those it forks hold it until their end.

    Raises OSError where there can be none, for example on a file system that is mounted noexec.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _require_exec(folder)
    with _locked(folder):
        _clear(folder)
        own = Path(tempfile.mkdtemp(prefix=f"{tree.content_hash[:12]}-", dir=folder))
        fcntl.flock(os.open(own, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), fcntl.LOCK_SH)
    root = own / Path(tree.root).name
    _fill(tree, root)
    _link_surroundings(tree.root, own)
    return str(root)


def _require_exec(folder: Path) -> None:
    if os.statvfs(folder).f_flag & os.ST_NOEXEC:
        raise OSError(None, f"{folder} is on a file system that is mounted noexec")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _clear(folder: Path) -> None:
    """Remove every copy that nobody holds."""
    for copy in folder.iterdir():
        if copy.name != _LOCK and not _held(copy):
            _remove(copy)


def _held(copy: Path) -> bool:
    try:
        descriptor = os.open(copy, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:  # somebody else's
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _remove(copy: Path) -> None:
    with suppress(OSError):  # what stays is tried again by the next one
        for place, _folders, _files in os.walk(copy):
            os.chmod(place, _WRITABLE)  # noqa: PTH101 - os.walk does not follow links, so this is a folder of ours
        shutil.rmtree(copy)


def _fill(tree: SourceTree, root: Path) -> None:
    folders = {PurePosixPath()} | {parent for name in tree.files for parent in PurePosixPath(name).parents}
    for folder in sorted(folders):
        (root / folder).mkdir()
    for file in tree.files.values():
        _write(file, root, real=tree.root)
    for folder in folders:
        _link_the_rest(Path(tree.root, folder), root / folder)
        (root / folder).chmod(_SEARCHABLE)


def _write(file: SourceFile, root: Path, *, real: str) -> None:
    """A link that leads out of the directory stays one: a program may look beside its real place for what it needs."""
    path = root / file.relative
    origin = os.path.realpath(file.path)
    if not origin.startswith(f"{real}/"):
        path.symlink_to(origin)
        return
    mode = _SEARCHABLE if file.executable else _READABLE
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with open(descriptor, "wb") as written:  # noqa: PTH123 - a descriptor, not a path
        written.write(file.data)
        os.fchmod(descriptor, mode)


def _link_the_rest(real: Path, folder: Path) -> None:
    try:
        names = [entry.name for entry in os.scandir(real)]
    except OSError:  # gone since it was read
        return
    for name in names:
        with suppress(FileExistsError):
            (folder / name).symlink_to(real / name)


def _link_surroundings(root: str, own: Path) -> None:
    for name in _SURROUNDINGS:
        found = next((place / name for place in Path(root).parents if (place / name).exists()), None)
        if found is not None:
            (own / name).symlink_to(found)
