"""Who can change a file: its owner, whoever its mode lets write, and whoever may replace an entry on the way to it.

The rule is that of sshd's StrictModes (sshd_config(5)): everything belongs to a trusted user, and nobody else can write
it. The way is walked entry by entry, links included, as the kernel walks it (path_resolution(7)). Looks and never
changes anything. Called by whoever reads handlers, configuration or state for a daemon.
"""

from __future__ import annotations

import os
import shlex
import stat
from typing import TYPE_CHECKING, NamedTuple

from jobwarden.errors import DistrustedError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_MOST_LINKS = 40
"""As in path_resolution(7)."""
_RELAX = "or set strict_modes = false where no stranger has an account"
_ACCESS_LIST = "system.posix_acl_access"


class Step(NamedTuple):
    """One entry on the way to a file, as lstat(2) has it."""

    path: str
    found: os.stat_result


def steps_to(path: str) -> Iterator[Step]:
    """Every folder, link and file that decides what `path` leads to, from the root on; ends where one is missing."""
    here, left, links = "/", os.path.join(os.getcwd(), path).split("/")[::-1], 0  # noqa: PTH109, PTH118 - runs often
    yield Step(here, os.lstat(here))
    while left:
        part = left.pop()
        if part in {"", "."}:
            continue
        if part == "..":
            here = os.path.dirname(here)  # noqa: PTH120 - as above
            continue
        there = os.path.join(here, part)  # noqa: PTH118 - as above
        try:
            found = os.lstat(there)
            target = os.readlink(there) if stat.S_ISLNK(found.st_mode) else None  # noqa: PTH115 - as above
        except OSError:
            return
        yield Step(there, found)
        if target is None:
            here = there
        elif (links := links + 1) > _MOST_LINKS:
            return
        else:
            left.extend(reversed(target.split("/")))
            here = "/" if target.startswith("/") else here


class Guard:
    """One look at who can change what; it remembers entries that were right, so it is good for one moment only."""

    def __init__(self, trusted: Collection[int], *, closed: str | None = None) -> None:
        """`trusted` are user ids, the one that people are told of first.

        Below the absolute path `closed`, all links resolved, nobody else may add anything. Elsewhere a folder with the
        sticky bit is safe: in it nobody can replace what belongs to somebody else (inode(7)).
        """
        self._trusted = trusted
        self._closed = closed
        self._right: set[str] = set()

    def require(self, path: str, found: os.stat_result) -> None:
        """Of an entry that was opened, by fstat(2). Raises DistrustedError."""
        self._require_owner(path, found)
        if not stat.S_ISLNK(found.st_mode):
            self._require_mode(path, found)

    def require_way(self, path: str) -> None:
        """Of everything that decides what `path` leads to, itself included. Raises DistrustedError."""
        for step, found in steps_to(path):
            if step not in self._right:
                self.require(step, found)
                self._right.add(step)

    def _require_owner(self, path: str, found: os.stat_result) -> None:
        if found.st_uid not in self._trusted:
            may = " and ".join(map(user_name, dict.fromkeys(self._trusted)))
            raise DistrustedError(
                path,
                f"it belongs to {user_name(found.st_uid)}, but only {may} may change it",
                f"chown {user_name(next(iter(self._trusted)))} {shlex.quote(path)}, {_RELAX}",
            )

    def _require_mode(self, path: str, found: os.stat_result) -> None:
        mode = found.st_mode
        if stat.S_ISDIR(mode) and mode & stat.S_ISVTX and not self._is_closed(path):
            return
        everybody = bool(mode & stat.S_IWOTH)
        group = bool(mode & stat.S_IWGRP) and not self._is_private(found.st_gid, path)
        if everybody or group:
            who = "every user" if everybody else f"its group {group_name(found.st_gid)}"
            bits = f"{'g' if group else ''}{'o' if everybody else ''}-w"
            told = f"{who} can write it (mode {stat.S_IMODE(mode):04o})"
            raise DistrustedError(path, told, f"chmod {bits} {shlex.quote(path)}, {_RELAX}")

    def _is_closed(self, path: str) -> bool:
        return self._closed is not None and f"{path}/".startswith(f"{self._closed}/")

    def _is_private(self, gid: int, path: str) -> bool:
        """Whether the group is one of trusted users alone, as each user's own is on most systems."""
        try:
            os.getxattr(path, _ACCESS_LIST, follow_symlinks=False)
        except OSError:
            members = members_of(gid)
            return bool(members) and members <= set(self._trusted)
        return False  # with an access list, the group's bits stand for all that it names (acl(5))


def members_of(gid: int) -> set[int]:
    """The user ids in this group, as far as the machine lists its users (getent(1))."""
    import grp  # noqa: PLC0415 - as below
    import pwd  # noqa: PLC0415 - reads the database of users; only for what a group can write

    people = pwd.getpwall()
    try:
        named = set(grp.getgrgid(gid).gr_mem)
    except KeyError:
        named = set()
    return {each.pw_uid for each in people if each.pw_gid == gid or each.pw_name in named}


def user_name(uid: int) -> str:
    """For people, and for chown(1)."""
    import pwd  # noqa: PLC0415 - as above

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """For people."""
    import grp  # noqa: PLC0415 - as above

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
