"""Which kind of file system a directory is on, and whether that kind tells of every change.

inotify(7) hears what this kernel did to a file, not what another host, the hypervisor or a user-space program did
behind it. Called by the watcher.
"""

from __future__ import annotations

import re
from pathlib import Path

_SILENT = frozenset({
    "9p", "afs", "ceph", "cifs", "coda", "drvfs", "fuse", "fuseblk", "gfs2", "glusterfs", "lustre", "ncpfs", "nfs",
    "nfs4", "ocfs2", "prl_fs", "smb3", "smbfs", "vboxsf", "virtiofs", "vmhgfs",
})  # fmt: skip
_MOUNTS = Path("/proc/self/mountinfo")
_OCTAL = re.compile(r"\\([0-7]{3})")


def tells_of_changes(kind: str) -> bool:
    """Whether events alone are enough for a file system of this kind, as in `kind_of`."""
    return kind.partition(".")[0] not in _SILENT


def kind_of(directory: str, *, mounts: str | None = None) -> str:
    """The kind of the file system that `directory` is on, as mount(8) names it; empty if that cannot be found out.

    `mounts` is the text of /proc/self/mountinfo, see proc_pid_mountinfo(5).
    """
    try:
        place = Path(directory).resolve()
        text = _MOUNTS.read_text() if mounts is None else mounts
    except OSError:
        return ""
    found = dict(filter(None, map(_mount, text.splitlines())))  # of mounts at one point, the last one is on top
    return next((found[str(each)] for each in (place, *place.parents) if str(each) in found), "")


def _mount(line: str) -> tuple[str, str] | None:
    """Mount point and kind."""
    before, bar, after = line.partition(" - ")
    fields, kinds = before.split(" "), after.split(" ")
    if not bar or len(fields) < 5:  # noqa: PLR2004 - the fifth field is the mount point
        return None
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), fields[4]), kinds[0]
