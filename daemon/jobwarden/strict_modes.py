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
RELAX = "or set strict_modes = false where no stranger has an account"
"""The last part of each way out."""
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
        faults = [each for each in (self._fault_of_owner(found), self._fault_of_mode(path, found)) if each is not None]
        if faults:
            commands = " && ".join(f"{command} {shlex.quote(path)}" for _, command in faults)
            asked = ", run jobwarden as its owner" if found.st_uid not in self._trusted else ""
            raise DistrustedError(path, ", and ".join(told for told, _ in faults), f"{commands}{asked}, {RELAX}")

    def require_way(self, path: str) -> None:
        """Of everything that decides what `path` leads to, itself included. Raises DistrustedError for the first."""
        for step, found in steps_to(path):
            if step not in self._right:
                self.require(step, found)
                self._right.add(step)

    def _fault_of_owner(self, found: os.stat_result) -> tuple[str, str] | None:
        """What is wrong, and the command without its path."""
        if found.st_uid in self._trusted:
            return None
        names = list(map(user_name, dict.fromkeys(self._trusted)))
        return (
            f"it belongs to {user_name(found.st_uid)}, but only {' and '.join(names)} may change it",
            f"chown {names[0]}",
        )

    def _fault_of_mode(self, path: str, found: os.stat_result) -> tuple[str, str] | None:
        mode = found.st_mode
        if stat.S_ISLNK(mode) or (stat.S_ISDIR(mode) and mode & stat.S_ISVTX and not self._is_closed(path)):
            return None
        everybody = bool(mode & stat.S_IWOTH)
        group = bool(mode & stat.S_IWGRP) and not self._is_private(found.st_gid, path)
        if not (everybody or group):
            return None
        who = "every user" if everybody else f"its group {group_name(found.st_gid)}"
        bits = f"{'g' if group else ''}{'o' if everybody else ''}-w"
        return f"{who} can write it (mode {stat.S_IMODE(mode):04o})", f"chmod {bits}"

    def _is_closed(self, path: str) -> bool:
        return self._closed is not None and f"{path}/".startswith(f"{self._closed}/")

    def _is_private(self, gid: int, path: str) -> bool:
        """Whether the group is one of trusted users alone, as each user's own is on most systems, or of nobody."""
        try:
            os.getxattr(path, _ACCESS_LIST, follow_symlinks=False)
        except OSError:
            members = members_of(gid)
            return members is not None and members <= set(self._trusted)
        return False  # with an access list, the group's bits stand for all that it names (acl(5))


def may_open(path: str | os.PathLike[str], *, uid: int, groups: Collection[int]) -> bool:
    """Whether the modes let this user get at the file and read or write it; access lists are not looked at.

    False for a file that is not there.
    """
    last = None
    for last in steps_to(os.fspath(path)):
        if stat.S_ISDIR(last.found.st_mode) and not _bits(last.found, uid, groups) & stat.S_IXOTH:
            return False
    there = last is not None and not stat.S_ISDIR(last.found.st_mode) and not stat.S_ISLNK(last.found.st_mode)
    return there and last is not None and bool(_bits(last.found, uid, groups) & (stat.S_IROTH | stat.S_IWOTH))


def _bits(found: os.stat_result, uid: int, groups: Collection[int]) -> int:
    """Which of read, write and execute this user has (inode(7)): only one of the three classes counts."""
    if uid == found.st_uid:
        return found.st_mode >> 6
    return found.st_mode >> 3 if found.st_gid in groups else found.st_mode


def members_of(gid: int) -> set[int] | None:
    """The user ids in this group, as far as the machine lists its users (getent(1)); None: there is no such group."""
    import grp  # noqa: PLC0415 - as below
    import pwd  # noqa: PLC0415 - reads the database of users; only for what a group can write

    try:
        named = set(grp.getgrgid(gid).gr_mem)
    except KeyError:
        return None
    return {each.pw_uid for each in pwd.getpwall() if each.pw_gid == gid or each.pw_name in named}


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
