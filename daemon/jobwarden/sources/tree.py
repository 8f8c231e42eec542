"""The bytes of one generation: every Python file under the handlers directory, read once and hashed as read.

Nothing is imported here. If the tree changed while it was read, it is read again, so that a save in between never
gives a generation half old and half new (R24). Called by the template and `check`, which import it, and by the watcher.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from jobwarden.wire.messages import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_READINGS = 20


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file as it was read. `relative` has slashes; `path` is absolute, for `__file__` and tracebacks."""

    relative: str
    path: str
    data: bytes


@dataclass(frozen=True, slots=True)
class SourceTree:
    """All files by their relative path, in order of it."""

    root: str
    files: dict[str, SourceFile]
    problems: list[Problem] = field(default_factory=list)

    @property
    def content_hash(self) -> str:
        """SHA-256 over paths and bytes; equal hashes are equal generations."""
        digest = hashlib.sha256()
        for relative, file in self.files.items():
            digest.update(b"%s\0%d\0" % (os.fsencode(relative), len(file.data)))
            digest.update(file.data)
        return digest.hexdigest()


def read_tree(directory: str) -> SourceTree:
    """Read until two looks at the tree, before and after, agree. A file that cannot be read is a problem."""
    root = Path(directory).resolve()
    if not root.is_dir():
        return SourceTree(str(root), {}, [_missing(directory)])
    tree = SourceTree(str(root), {})
    for _ in range(MOST_READINGS):
        before = _look(root)
        tree = _read_all(root, before)
        if _look(root) == before:
            return tree
    restless = "the directory changed each time it was read"
    tree.problems.append(Problem(file=".", line=None, error=restless, way_out="save it once more"))
    return tree


def keep(tree: SourceTree, descriptor: int) -> None:
    """Write the tree into the generation's memfd, which outlives this template: see `recall`."""
    os.ftruncate(descriptor, 0)
    packed = memoryview(msgspec.msgpack.encode(tree))
    while packed:
        packed = packed[os.pwrite(descriptor, packed, os.fstat(descriptor).st_size) :]


def recall(descriptor: int) -> SourceTree:
    """The tree that an earlier template of this very code kept, whatever stands on the disk by now (P6)."""
    packed = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    return msgspec.msgpack.decode(packed, type=SourceTree)


_State = tuple[int, int, int, int, int]


def _missing(directory: str) -> Problem:
    way_out = "create it, or set the handlers directory to one that is there"
    return Problem(file=".", line=None, error=f"{directory} is no directory", way_out=way_out)


def _look(root: Path) -> dict[str, _State | None]:
    """Relative path to what `stat` says of each Python file; None for one without (a dangling link)."""
    found = {path.relative_to(root).as_posix(): _state_of(path) for path in _python_files(root, above=())}
    return dict(sorted(found.items()))


def _state_of(path: Path) -> _State | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _python_files(folder: Path, *, above: tuple[tuple[int, int], ...]) -> Iterator[Path]:
    """Follows links to directories; `above` ends the walk where a link leads back up.

    A folder that cannot be listed stands for itself: reading it will fail and be told, like a file's.
    """
    try:
        here = folder.stat()
        paths = list(folder.iterdir())
    except OSError:
        yield folder
        return
    identity = (here.st_dev, here.st_ino)
    if identity in above:
        return
    for path in paths:
        if path.name.startswith(".") or path.name == "__pycache__":
            continue
        if path.is_dir():
            yield from _python_files(path, above=(*above, identity))
        elif path.suffix == ".py":
            yield path


def _read_all(root: Path, found: dict[str, _State | None]) -> SourceTree:
    files, problems = {}, []
    for relative in found:
        path = str(root / relative)
        shown = relative.encode("utf-8", "backslashreplace").decode()
        if shown != relative:
            text = "its name is not UTF-8"
            problems.append(Problem(file=shown, line=None, error=text, way_out="rename it"))
            continue
        try:
            files[relative] = SourceFile(relative, path, _read(path))
        except OSError as error:
            text = f"it cannot be read: {error.strerror or error}"
            way_out = "make it readable, or remove it"
            problems.append(Problem(file=relative, line=None, error=text, way_out=way_out))
    return SourceTree(str(root), files, problems)


def _read(path: str) -> bytes:
    # O_NONBLOCK: opening a FIFO must not hang the load.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:  # noqa: PTH123 - the descriptor is what is looked at
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        return file.read()
