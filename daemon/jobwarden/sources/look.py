"""What stands in a handlers directory, seen without reading any of it: which files belong, and how they are now.

Two equal looks with a reading in between mean that the reading is of one moment. Follows links, as the reading does;
never raises for what it finds. Called by whoever reads the tree, and by the watcher, many times a minute.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

State = tuple[int, int, int, int, int]
"""Device, inode, size, and the times of the last write and of the last change, in nanoseconds."""
Identity = tuple[int, int]
"""Device and inode."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a directory. Equal looks: nothing has changed in between."""

    root: str
    """The directory itself, every link on the way to it resolved."""
    files: dict[str, State | None] = field(default_factory=dict)
    """Relative path, with slashes and in order, to how the file is now; None for a link that leads nowhere."""
    folders: dict[str, Identity] = field(default_factory=dict)
    """The absolute path of every folder that was listed, the root among them."""

    def changed_since(self, other: Look) -> set[str]:
        """The relative paths of the files that came, went or were written."""
        both = self.files.keys() | other.files.keys()
        return {relative for relative in both if self.files.get(relative, ()) != other.files.get(relative, ())}


def look(directory: str) -> Look | None:
    """How `directory` is now; None if there is none."""
    root = os.path.realpath(directory)
    if not os.path.isdir(root):  # noqa: PTH112 - os.path, because this runs many times a minute
        return None
    files: dict[str, State | None] = {}
    folders: dict[str, Identity] = {}
    _walk(root, "", above=(), files=files, folders=folders)
    return Look(root, dict(sorted(files.items())), dict(sorted(folders.items())))


def state_of(path: str) -> State | None:
    """What `stat` says; None for a link that leads nowhere, and for what went away meanwhile."""
    try:
        found = os.stat(path)  # noqa: PTH116 - as above
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _walk(
    folder: str,
    prefix: str,
    *,
    above: tuple[Identity, ...],
    files: dict[str, State | None],
    folders: dict[str, Identity],
) -> None:
    """`above` ends the walk where a link leads back up.

    A folder that cannot be listed stands among the files: reading it will fail and be told, like a file's.
    """
    try:
        here = os.stat(folder)  # noqa: PTH116 - as above
        with os.scandir(folder) as found:
            entries = list(found)
    except OSError:
        files[prefix.removesuffix("/") or "."] = state_of(folder)
        return
    identity = (here.st_dev, here.st_ino)
    if identity in above:
        return
    folders[folder] = identity
    for entry in entries:
        if entry.name.startswith(".") or entry.name == "__pycache__":
            continue
        if _is_folder(entry):
            _walk(entry.path, f"{prefix}{entry.name}/", above=(*above, identity), files=files, folders=folders)
        elif entry.name.endswith(".py"):
            files[prefix + entry.name] = state_of(entry.path)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads in a circle
        return False
