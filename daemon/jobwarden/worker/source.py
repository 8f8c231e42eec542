"""The bytes of one generation: every Python file under the handlers directory, read once and hashed as read.

Nothing is imported here. If the tree changed while it was read, it is read again, so that a save in between never
gives a generation half old and half new (R24). Called by the loader only.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jobwarden.wire.messages import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_READINGS = 20
_READ_BYTES = 1 << 20


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
    """Read until two looks at the tree, one before and one after, agree. A file that cannot be read is a problem."""
    root = os.path.realpath(directory)
    if not os.path.isdir(root):
        missing = Problem(
            file=".",
            line=None,
            error=f"{directory} is no directory",
            way_out="create it, or set the handlers directory",
        )
        return SourceTree(root, {}, [missing])
    tree = SourceTree(root, {})
    for _ in range(MOST_READINGS):
        before = _look(root)
        tree = _read_all(root, before)
        if _look(root) == before:
            return tree
    tree.problems.append(
        Problem(
            file=".",
            line=None,
            error="the directory changed each time it was read",
            way_out="save it once more",
        )
    )
    return tree


_State = tuple[int, int, int, int, int]


def _look(root: str) -> dict[str, _State | None]:
    """Relative path to what `stat` says of each Python file; None for one without (a dangling link)."""
    return {os.path.relpath(path, root): _state_of(path) for path in sorted(_python_files(root, ()))}


def _state_of(path: str) -> _State | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _python_files(folder: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    """Follows links to directories; `above` ends the walk where a link leads back up."""
    try:
        here = os.stat(folder)
        names = sorted(os.listdir(folder))
    except OSError:
        return
    identity = (here.st_dev, here.st_ino)
    if identity in above:
        return
    for name in names:
        path = os.path.join(folder, name)
        if name.startswith(".") or name == "__pycache__":
            continue
        if os.path.isdir(path):
            yield from _python_files(path, (*above, identity))
        elif name.endswith(".py"):
            yield path


def _read_all(root: str, found: dict[str, _State | None]) -> SourceTree:
    files, problems = {}, []
    for relative in found:
        path = os.path.join(root, relative)
        try:
            files[relative] = SourceFile(relative, path, _read(path))
        except OSError as error:
            way_out = "make it a readable file, or remove it"
            text = f"it cannot be read: {error.strerror or error}"
            problems.append(Problem(file=relative, line=None, error=text, way_out=way_out))
    return SourceTree(root, files, problems)


def _read(path: str) -> bytes:
    # O_NONBLOCK: opening a FIFO must not hang the load.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "it is no regular file")
        pieces = []
        while piece := os.read(descriptor, _READ_BYTES):
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        os.close(descriptor)
