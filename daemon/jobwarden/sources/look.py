"""What stands in a handlers directory, seen without reading any of it: which files belong, and how they are now.

Two equal looks with a reading in between mean that the reading is of one moment. Follows links, as the reading does;
never raises for what it finds. Called by whoever reads the tree, and by the watcher, many times a minute.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from itertools import islice

from jobwarden.sources.belonging import LIBRARIES, belonging, may_belong
from jobwarden.strict_modes import steps_to

_ANYBODY = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH
_PASSED_OVER = {"__pycache__", LIBRARIES}
MOST_ENTRIES = 200_000
"""In all folders together; a link to `/` must keep nobody busy for ever."""
DEEPEST = 64
State = tuple[int, int, int, int, int]
"""Device, inode, size, and the times of the last write and of the last change, in nanoseconds."""
Identity = tuple[int, int]
"""Device and inode."""
Rights = tuple[int, int, int]
"""Owner, group, and mode."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a directory. Equal looks: nothing has changed in between."""

    root: str
    """The directory itself, every link on the way to it resolved."""
    files: dict[str, State | None] = field(default_factory=dict)
    """Relative path, with slashes and in order, to how the file is now; None for a link that leads nowhere."""
    folders: dict[str, Identity] = field(default_factory=dict)
    """The absolute path of every folder that was listed, the root among them."""
    executables: frozenset[str] = frozenset()
    """Which of the files have a mode that lets somebody run them."""
    rights: dict[str, Rights] = field(default_factory=dict)
    """Of each folder in it, and of everything on the way to it: another owner or mode may make it trusted, or not."""

    def changed_since(self, other: Look) -> set[str]:
        """The relative paths of the files that came, went or were written."""
        both = self.files.keys() | other.files.keys()
        return {relative for relative in both if self.files.get(relative, ()) != other.files.get(relative, ())}


def look(directory: str) -> Look | None:
    """How `directory` is now; None if there is none."""
    root = os.path.realpath(directory)
    if not os.path.isdir(root):  # noqa: PTH112 - os.path, because this runs many times a minute
        return None
    walk = _Walk()
    walk.enter(root, "", above=())
    rights = {step.path: _rights(step.found) for step in steps_to(directory)} | walk.rights
    if walk.entries > MOST_ENTRIES:
        return Look(root, {".": state_of(root)}, {root: walk.folders[root]}, rights=rights)
    kept = walk.unlisted | belonging(walk.files.keys() - walk.unlisted, executables=walk.executables)
    files = {relative: walk.files[relative] for relative in sorted(kept)}
    return Look(root, files, dict(sorted(walk.folders.items())), frozenset(kept & walk.executables), rights)


def state_of(path: str) -> State | None:
    """What `stat` says; None for a link that leads nowhere, and for what went away meanwhile."""
    found = _stat(path)
    return None if found is None else _state(found)


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116 - as above
    except OSError:
        return None


def _state(found: os.stat_result) -> State:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _rights(found: os.stat_result) -> Rights:
    return found.st_uid, found.st_gid, found.st_mode


class _Walk:
    """What one walk has found: every file that could belong."""

    def __init__(self) -> None:
        self.files: dict[str, State | None] = {}
        self.folders: dict[str, Identity] = {}
        self.rights: dict[str, Rights] = {}
        self.executables: set[str] = set()
        self.unlisted: set[str] = set()
        """Folders that could not be listed. They stand among the files: reading them will fail and be told."""
        self.entries = 0

    def enter(self, folder: str, prefix: str, *, above: tuple[Identity, ...]) -> None:
        """`above` ends the walk where a link leads back up."""
        if self.entries > MOST_ENTRIES:
            return
        try:
            here = os.stat(folder)  # noqa: PTH116 - as above
            with os.scandir(folder) as found:
                entries = list(islice(found, MOST_ENTRIES + 1))
        except OSError:
            self._pass_over(folder, prefix)
            return
        identity = (here.st_dev, here.st_ino)
        if identity in above:
            return
        if len(above) >= DEEPEST:
            self._pass_over(folder, prefix)
            return
        self.folders[folder] = identity
        self.rights[folder] = _rights(here)
        self.entries += len(entries)
        for entry in entries:
            if entry.name.startswith(".") or entry.name in _PASSED_OVER:
                continue
            if _is_folder(entry):
                self.enter(entry.path, f"{prefix}{entry.name}/", above=(*above, identity))
            else:
                self._note(entry, prefix + entry.name)

    def _pass_over(self, folder: str, prefix: str) -> None:
        relative = prefix.removesuffix("/") or "."
        self.files[relative] = state_of(folder)
        self.unlisted.add(relative)

    def _note(self, entry: os.DirEntry[str], relative: str) -> None:
        found = _stat(entry.path)
        executable = found is not None and stat.S_ISREG(found.st_mode) and bool(found.st_mode & _ANYBODY)
        if may_belong(entry.name, executable=executable):
            self.files[relative] = None if found is None else _state(found)
            if executable:
                self.executables.add(relative)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads in a circle
        return False
