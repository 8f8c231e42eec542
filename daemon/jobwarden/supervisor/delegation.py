"""Whether a part of the cgroup v2 tree is ours to divide, and the first step: into a leaf of our own.

Whoever manages the tree says so: systemd marks the cgroup of a unit with `Delegate=yes` by an extended attribute
(systemd.io/CGROUP_DELEGATION; `user.delegate` since systemd 251), or hands it to the unit's user. Every other cgroup,
however writable, belongs to somebody else and is left alone. `claim` runs in the process that becomes the keeper, so
that keeper, supervisor and templates are in the leaf from their first moment; `look` is for `doctor` as well.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

import msgspec

DAEMON = "daemon"
"""The leaf of keeper, supervisor and templates."""
SLOT = "slot-"
"""The leaf of one worker, with the number of its slot."""
CONTROL = ".control"
"""Where systemd starts what ExecReload= and the like name, in a unit with delegation."""
_MARKS = ("user.delegate", "trusted.delegate")
_MOST_FOLDERS = 500
"""In one leaf; a handler may make some, as containers do. Thousands within each other take seconds to remove."""
_UNIFIED = "0::"
"""How the line of cgroup v2 begins in /proc/PID/cgroup (cgroups(7))."""


class Delegation(msgspec.Struct, frozen=True, kw_only=True):
    """What was found: a folder, or why there is none."""

    folder: Path | None = None
    """The cgroup that is ours to divide."""
    why_not: str = ""
    """One sentence without a full stop."""
    meant: bool = False
    """It was delegated, and cannot be used all the same: somebody wants to know."""


def look() -> Delegation:
    """Whether the cgroup that this process is in was delegated to its user, and can be used."""
    own = _own(Path("/proc/self/cgroup"))
    if own is None:
        return Delegation(why_not="cgroup v2 is not there, or not mounted where this process could see it")
    folder = own.parent if own.name == DAEMON and _is_delegated(own.parent) else own
    if not _is_delegated(folder):
        return Delegation(why_not=f"its cgroup {folder} is not delegated to it, as `Delegate=yes` in a unit would")
    try:
        why_not = _hindrance(folder)
    except OSError as error:
        why_not = f"{error.filename} could not be read: {error.strerror}"
    return Delegation(folder=folder) if why_not is None else Delegation(why_not=why_not, meant=True)


def claim() -> Delegation:
    """Go into the leaf of the daemon, if there is something to divide. Before the keeper: nothing of ours runs yet."""
    found = look()
    if found.folder is None:
        return found
    leaf = found.folder / DAEMON
    try:
        for left in found.folder.glob(f"{SLOT}*"):
            with contextlib.suppress(OSError):  # the worker that needs this name will do without
                remove(left)
        leaf.mkdir(exist_ok=True)
        (leaf / "cgroup.procs").write_text("0")
    except OSError as error:
        return Delegation(why_not=f"{leaf} could not be made and entered: {error.strerror}", meant=True)
    return found


def is_divided(process: int) -> bool:
    """Whether this process is in the leaf of a daemon to which its cgroup was delegated."""
    own = _own(Path(f"/proc/{process}/cgroup"))
    return own is not None and own.name == DAEMON and _is_delegated(own.parent)


def populated(folder: Path) -> bool:
    """Whether there is a living process in this cgroup or below it (cgroups(7), cgroup.events)."""
    return "populated 1" in (folder / "cgroup.events").read_text()


def remove(folder: Path) -> None:
    """Remove an empty cgroup with what is below it, without recursion: how deep that goes is a handler's choice.

    Raises OSError. More than can be removed in a moment stays there; a service manager removes it with the unit's.
    """
    found = [folder]
    for each in found:
        with os.scandir(each) as entries:  # which asks the kernel nothing more about each file
            found += [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
        if len(found) > _MOST_FOLDERS:
            break
    for each in reversed(found):
        each.rmdir()


def _own(listing: Path) -> Path | None:
    """The folder of the cgroup that a process is in."""
    try:
        lines = os.fsdecode(listing.read_bytes()).splitlines()
        own = next((line.removeprefix(_UNIFIED) for line in lines if line.startswith(_UNIFIED)), None)
        mounts = os.fsdecode(Path("/proc/self/mountinfo").read_bytes()).splitlines()
    except OSError:
        return None
    places = [] if own is None else [_place(line, Path(own)) for line in mounts if " - cgroup2 " in line]
    return next((each for each in places if each is not None and each.is_dir()), None)


def _place(mount: str, own: Path) -> Path | None:
    """Where this mount (proc(5), mountinfo) shows the cgroup, if it does."""
    root, point = (Path(_unescaped(each)) for each in mount.split()[3:5])
    return point / own.relative_to(root) if own.is_relative_to(root) else None


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _is_delegated(folder: Path) -> bool:
    """Marked as such, or handed to our user at this very place: not to root, to whom everything belongs."""
    for mark in _MARKS:
        try:
            if os.getxattr(folder, mark) == b"1":
                return True
        except OSError:
            continue
    user = os.geteuid()
    return user != 0 and folder.stat().st_uid == user and folder.parent.stat().st_uid != user


def _hindrance(folder: Path) -> str | None:
    if not all(os.access(each, os.W_OK) for each in (folder, folder / "cgroup.procs")):
        return (
            f"its cgroup {folder} is delegated but cannot be written; beside `ProtectControlGroups=yes` a unit needs "
            "`ReadWritePaths=-/sys/fs/cgroup/SLICE/%n`"
        )
    if not (folder / "cgroup.kill").exists():
        return f"{folder} has no cgroup.kill, which Linux has since 5.14"
    others = [pid for pid in (folder / "cgroup.procs").read_text().split() if int(pid) != os.getpid()]
    others += [each.name for each in folder.iterdir() if each.is_dir() and each.name != CONTROL and _is_taken(each)]
    if others:
        return f"other processes are in its cgroup {folder} ({', '.join(others)}); a daemon wants one of its own"
    return None


def _is_taken(folder: Path) -> bool:
    """Whether somebody else lives there; an empty leaf of an earlier daemon is in nobody's way."""
    own = {str(os.getpid())} if folder.name == DAEMON else set[str]()
    return populated(folder) and set((folder / "cgroup.procs").read_text().split()) != own
