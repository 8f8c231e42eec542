"""Where a database file lies: on what file system, whose it is, how much room there is.

Looks from outside and opens nothing but tables of the kernel. SQLite's log needs memory that all processes share and
locks that all of them see; a file system that other hosts write to has neither (sqlite.org/wal.html). Called by the
dialect's checkup, and by the engine, which refuses what would damage the database.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jobwarden.findings import notice, ok, problem, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobwarden.findings import Finding

MOUNTS = Path("/proc/self/mountinfo")

_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph", "lustre", "gfs2", "ocfs2", "glusterfs", "beegfs"}
)
"""Other hosts may write to the same file, and neither shared memory nor locks reach them reliably."""
_DOUBTFUL = ("9p", "virtiofs", "vboxsf", "fuse", "drvfs", "prl_fs", "hgfs")
"""Served by a program or by the host of a virtual machine: it depends on that whether shared memory and locks work."""

_OCTAL = re.compile(r"\\([0-7]{3})")
_LEAST_BYTES, _LOW_BYTES = 64 * 1024 * 1024, 1024 * 1024 * 1024
_LEAST_FILES = 1_000
_OTHERS, _GROUP = 0o007, 0o060
_WHY_WAL = "the write-ahead log needs shared memory and locks among all processes that use the file"
_WAY_OUT = "put the file on a local disk; for many hosts use PostgreSQL"


class Mount(NamedTuple):
    """What is mounted over a path."""

    point: str
    kind: str
    """The kernel's name of the file system; `fuse.sshfs` for one that a program serves."""


def mount_of(path: Path) -> Mount | None:
    """The mount that `path` lies on; None where the kernel does not tell (proc(5), mountinfo)."""
    place = os.path.realpath(path)
    found: Mount | None = None
    try:
        lines = MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    for line in lines:  # of mounts over the same point, the last one is seen
        mounted, _, file_system = line.partition(" - ")
        point = _OCTAL.sub(lambda octal: chr(int(octal[1], 8)), mounted.split(" ")[4])
        covers = point in {"/", place} or place.startswith(f"{point}/")
        if covers and (found is None or len(point) >= len(found.point)):
            found = Mount(point, file_system.split(" ")[0])
    return found


def unfit(path: Path) -> str | None:
    """Why the file at `path` cannot be a store, and the way out; None if nothing speaks against it."""
    mount = mount_of(path)
    if mount is None or mount.kind not in _NETWORK:
        return None
    return f"lies on a network file system ({mount.kind}), but {_WHY_WAL}; {_WAY_OUT}"


def file_system(path: Path) -> Iterator[Finding]:
    """Whether the file system can hold a write-ahead log."""
    mount = mount_of(path)
    if mount is None:
        return
    told = f"the database lies on {mount.kind}, mounted at {mount.point}"
    if mount.kind in _NETWORK:
        yield problem("file-system", told, why=f"{_WHY_WAL}; over a network it can be damaged", do=_WAY_OUT)
    elif mount.kind.startswith(_DOUBTFUL):
        why = f"{_WHY_WAL}, and not every file system of this kind gives them"
        yield warning("file-system", told, why=why, do="use it from this host only, better put it on a local disk")
    else:
        yield ok("file-system", told)


def rights(path: Path) -> Iterator[Finding]:
    """Whether we may write the file and its folder, and who else may read it."""
    sides = [Path(f"{path}{ending}") for ending in ("-wal", "-shm")]
    barred = [each for each in (path, *sides) if each.exists() and not _may(each, os.R_OK | os.W_OK)]
    barred += [] if _may(path.parent, os.W_OK | os.X_OK) else [path.parent]
    user = _user(os.geteuid())
    if barred:
        names = ", ".join(map(str, barred))
        do = f"check owner and mode, and that the disk is not read-only (now running as {user})"
        why = "SQLite writes the file and, in the same folder, its log; nothing can be added, claimed or finished"
        yield problem("rights", f"{names} cannot be written", why=why, do=do)
        return
    yield from _strange_owners(path, sides)
    yield from _strange_groups(path, sides)
    yield from _closed_folders(path)
    if path.stat().st_mode & _OTHERS:
        why = "payloads, outputs and what jobs print are open to every user of this host"
        yield notice("rights", f"{path} is open to all users", why=why, do=f"chmod o-rwx '{path}'")
    else:
        yield ok("rights", f"{path} can be written by {user}, and is closed to strangers")


def _closed_folders(path: Path) -> Iterator[Finding]:
    folders = [path.with_name(f"{path.name}.{name}") for name in ("doorbell", "nodes")]
    barred = [each for each in folders if each.exists() and not _may(each, os.R_OK | os.W_OK | os.X_OK)]
    if barred:
        yield notice(
            "rights",
            f"{' and '.join(map(str, barred))} cannot be used by {_user(os.geteuid())}",
            why="a job that is added starts a little later, because no daemon can be rung",
            do="give the folders the group that shares the database, and chmod g+rwx them",
        )


def _strange_owners(path: Path, sides: list[Path]) -> Iterator[Finding]:
    if _is_shared(path):
        return
    owner = path.stat().st_uid
    odd = [each for each in sides if each.exists() and each.stat().st_uid != owner]
    if odd:
        names = " and ".join(each.name for each in odd)
        yield warning(
            "rights",
            f"{names} belong to {_user(odd[0].stat().st_uid)}, the database to {_user(owner)}",
            why="whoever may write the one and not the other cannot use the database",
            do=f"stop the daemon and give them one owner: chown {_user(owner)} '{path}'*",
        )


def _strange_groups(path: Path, sides: list[Path]) -> Iterator[Finding]:
    """A file that is shared through its group, whose log somebody made with the group that he had himself."""
    group = path.stat().st_gid
    odd = [each for each in sides if each.exists() and each.stat().st_gid != group] if _is_shared(path) else []
    if odd:
        yield warning(
            "rights",
            f"{' and '.join(each.name for each in odd)} belong to another group than the database, which is shared",
            why="others of the database's group cannot use it",
            do=f"stop the daemon, then: chgrp {group} '{path}'* && chmod g+s,+t '{path.parent}'",
        )


def _is_shared(path: Path) -> bool:
    return path.stat().st_mode & _GROUP == _GROUP


def room(path: Path) -> Iterator[Finding]:
    """Whether the disk has room for the database and its log."""
    free = shutil.disk_usage(path.parent).free
    files = os.statvfs(path.parent)
    told = f"{free / 2**20:,.0f} MiB are free on the database's disk"
    why = "a full disk refuses every write: nothing is added, claimed or finished until there is room"
    do = "make room; `jobwarden cleanup` removes old jobs, whose space SQLite uses again"
    if free < _LEAST_BYTES:
        yield problem("disk", told, why=why, do=do)
    elif files.f_files and files.f_favail < _LEAST_FILES:
        yield problem("disk", f"only {files.f_favail} more files fit on the database's disk", why=why, do="make room")
    elif free < _LOW_BYTES:
        yield warning("disk", told, why=why, do=do)
    else:
        yield ok("disk", told)


def _may(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=True)


def _user(number: int) -> str:
    import pwd  # noqa: PLC0415 - reads a database of users, for people only

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"
