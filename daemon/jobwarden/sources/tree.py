"""The bytes of one generation: every file that belongs to it (`belonging`), read once and hashed as read.

Nothing is imported here. If the tree changed while it was read, it is read again, so that a save in between never
gives a generation half old and half new (R24). Called by the template and `check`, which import it, with the rights
of those who will run it; `fingerprint` by the watcher, which only wants to know whether it is another one.
A file that somebody else than the `trusted` users can change is not read (`strict_modes`): it serves nothing.
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

from jobwarden.errors import DistrustedError
from jobwarden.sources.look import DEEPEST, MOST_ENTRIES, Look, look
from jobwarden.strict_modes import Guard
from jobwarden.wire.messages import Problem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

MOST_READINGS = 20
LARGEST_FILE = 256 * 1024 * 1024
"""Bytes; every file of a generation is in memory for a while."""
_CHUNK_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file as it was read. `relative` has slashes; `path` is absolute, for `__file__` and tracebacks."""

    relative: str
    path: str
    data: bytes
    executable: bool = False


@dataclass(frozen=True, slots=True)
class SourceTree:
    """All files by their relative path, in order of it."""

    root: str
    """The directory, all links resolved; empty if there is none."""
    files: dict[str, SourceFile]
    problems: list[Problem] = field(default_factory=list)

    def only_python(self) -> SourceTree:
        """What is imported; the rest need not stay in memory."""
        return SourceTree(self.root, {name: file for name, file in self.files.items() if name.endswith(".py")})

    @property
    def content_hash(self) -> str:
        """SHA-256 over place, paths and bytes; equal hashes are equal generations.

        The place (all links resolved) belongs to it because handlers may read what stands beside them.
        """
        digests = ((file.relative, file.executable, hashlib.sha256(file.data).digest()) for file in self.files.values())
        return _hash_of(self.root, digests)


def read_tree(directory: str, *, trusted: Collection[int] | None = None) -> SourceTree:
    """Read until two looks at the tree, before and after, agree. A file that cannot be read is a problem.

    So is one that others than the users `trusted` can change; None trusts everybody.
    """
    tree = SourceTree("", {})
    for _ in range(MOST_READINGS):
        before = look(directory)
        if before is None:
            return SourceTree("", {}, [_missing(directory)])
        tree = _read_all(before, _Door(directory, before.root, trusted))
        if look(directory) == before:
            return tree
    restless = "the directory changed each time it was read"
    tree.problems.append(Problem(file=".", line=None, error=restless, way_out="save it once more"))
    return tree


def fingerprint(directory: str, *, at: Look | None, trusted: Collection[int] | None = None) -> str | None:
    """The `content_hash` that `read_tree` would give; None if anything has changed since the look `at` it.

    Holds no file as a whole, because what stands there may be larger than the memory. `at` is None for a directory
    that is not there.
    """
    found = _hash_of("", ()) if at is None else _hash_of(at.root, _digests(at, _Door(directory, at.root, trusted)))
    return found if look(directory) == at else None


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


def _missing(directory: str) -> Problem:
    way_out = "create it, or set the handlers directory to one that is there"
    return Problem(file=".", line=None, error=f"{directory} is no directory", way_out=way_out)


def _hash_of(root: str, digests: Iterable[tuple[str, bool, bytes]]) -> str:
    whole = hashlib.sha256(os.fsencode(root))
    for relative, executable, digest in digests:
        whole.update(b"\0%s\0%d%s" % (os.fsencode(relative), executable, digest))
    return whole.hexdigest()


class _Door:
    """Opens the files of one look that are fit to be read."""

    def __init__(self, directory: str, root: str, trusted: Collection[int] | None) -> None:
        self._directory = directory
        self._guard = None if trusted is None else Guard(trusted, closed=root)

    def require_way(self) -> None:
        """To the directory itself. Raises DistrustedError."""
        if self._guard is not None:
            self._guard.require_way(self._directory)

    def open(self, path: str) -> int:
        """A descriptor. Raises OSError, and DistrustedError."""
        # O_NONBLOCK: opening a FIFO must not hang the load.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            self._require(path, os.fstat(descriptor))
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _require(self, path: str, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST_FILE:
            raise OSError(errno.EINVAL, _why_not(found.st_mode))
        if self._guard is not None:
            self._guard.require(path, found)
            self._guard.require_way(path)


def _digests(found: Look, door: _Door) -> Iterator[tuple[str, bool, bytes]]:
    """Of what can be read; the rest is in no generation."""
    try:
        door.require_way()
    except DistrustedError:
        return
    for relative in found.files:
        if _shown(relative) == relative:
            try:
                yield relative, relative in found.executables, _digest(door, str(Path(found.root, relative)))
            except (OSError, DistrustedError):
                continue


def _digest(door: _Door, path: str) -> bytes:
    digest = hashlib.sha256()
    with os.fdopen(door.open(path), "rb", buffering=0) as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.digest()


def _read_all(found: Look, door: _Door) -> SourceTree:
    files: dict[str, SourceFile] = {}
    problems: dict[str, Problem] = {}
    """By the file: a folder that others can write is one problem, however many files are in it."""
    try:
        door.require_way()
    except DistrustedError as error:
        return SourceTree(found.root, {}, [_distrusted(error, found.root)])
    for relative in found.files:
        problem = _read(found, relative, door, files)
        if problem is not None:
            problems.setdefault(problem.file, problem)
    return SourceTree(found.root, files, list(problems.values()))


def _read(found: Look, relative: str, door: _Door, files: dict[str, SourceFile]) -> Problem | None:
    """Enter one file among `files`; what is wrong, if it cannot be."""
    path = str(Path(found.root, relative))
    if (shown := _shown(relative)) != relative:
        return Problem(file=shown, line=None, error="its name is not UTF-8", way_out="rename it")
    try:
        with os.fdopen(door.open(path), "rb") as file:
            files[relative] = SourceFile(relative, path, file.read(), executable=relative in found.executables)
    except DistrustedError as error:
        return _distrusted(error, found.root)
    except OSError as error:
        text = f"it cannot be read: {error.strerror or error}"
        return Problem(file=relative, line=None, error=text, way_out="make it readable, or move it elsewhere")
    return None


def _distrusted(error: DistrustedError, root: str) -> Problem:
    inside = error.path.startswith(f"{root}/")
    place = error.path[len(root) + 1 :] if inside else "."
    told = error.problem if inside else f"{_shown(error.path)}: {error.problem}"
    return Problem(file=_shown(place), line=None, error=told, way_out=_shown(error.way_out))


def _shown(relative: str) -> str:
    return relative.encode("utf-8", "backslashreplace").decode()


def _why_not(mode: int) -> str:
    if stat.S_ISDIR(mode):
        bounds = f"{MOST_ENTRIES:,} entries or is deeper than {DEEPEST} folders"
        return f"the folder holds more than {bounds} (does a link in it lead somewhere else?)"
    return "it is larger than 256 MiB" if stat.S_ISREG(mode) else "it is no regular file"
