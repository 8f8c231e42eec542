"""What `jobwarden doctor` finds out about this host: what the kernel gives, how far a kill reaches, the state folder.

Reads only; asks for no lock, since a daemon that is just starting may want it. Called by `cli.doctor`.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from jobwarden.errors import UnsupportedKernelError
from jobwarden.findings import notice, ok, problem, warning
from jobwarden.kernel import can_adopt_orphans
from jobwarden.supervisor.cgroup import CGROUP, TREE
from jobwarden.supervisor.delegation import Delegation, is_divided, look
from jobwarden.supervisor.killer import require_listing_of_children
from jobwarden.supervisor.locks import holder_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jobwarden.findings import Finding

_LEAST_BYTES = 64 * 1024 * 1024


def examine_host(state_dir: Path) -> Iterator[Finding]:
    """All findings about this host, for a daemon with this state folder."""
    yield from _kernel()
    yield _kill_level(holder_of(state_dir))
    try:
        yield from _state(state_dir)
    except OSError as error:
        why = "a daemon with this state folder cannot start"
        yield problem("state-folder", f"{error.filename}: {error.strerror}", why=why, do="check owners and modes")


def _kernel() -> Iterator[Finding]:
    why = "a job's processes could not be killed and seen dead for sure, so `jobwarden run` refuses to start"
    release = os.uname().release
    lacking = [
        name for name, there in (("pidfd", _has_pidfd()), ("child subreapers", can_adopt_orphans())) if not there
    ]
    if lacking:
        yield problem("kernel", f"kernel {release} lacks {' and '.join(lacking)}", why=why, do="use Linux 5.4 or newer")
    try:
        require_listing_of_children()
    except UnsupportedKernelError as error:
        told, _, do = str(error).rpartition("; ")
        yield problem("kernel", told, why=why, do=do)
    else:
        if not lacking:
            yield ok("kernel", f"Linux {release} has pidfd, child subreapers and the listing of children")


def _has_pidfd() -> bool:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (OSError, AttributeError):
        return False
    return True


def _kill_level(daemon: int | None) -> Finding:
    """Of the daemon that runs; else of one that is started from here."""
    found = Delegation() if daemon is not None else look()
    if found.folder is not None or (daemon is not None and is_divided(daemon)):
        return ok("kill-level", f"the kill level is `{CGROUP}`: each worker has a cgroup, killed in one stroke")
    because = "" if daemon is not None else f" for a daemon that is started from here ({found.why_not})"
    return notice(
        "kill-level",
        f"the kill level is `{TREE}`{because}: a job's worker is killed first, then all that it leaves behind",
        why="a fork bomb that never pauses can outrun that, and what was started by sudo(8) may be out of reach",
        do="run it by the shipped unit, which has `Delegate=yes`; or bound it: TasksMax= and MemoryMax= in a unit, "
        "pids.max of the container, or `ulimit -u`",
    )


def _state(folder: Path) -> Iterator[Finding]:
    if not folder.exists():
        yield ok("state-folder", f"{folder} is not there yet; `jobwarden run` makes it")
        return
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        why = "a daemon with this state folder cannot start"
        yield problem("state-folder", f"{folder} cannot be written", why=why, do="check its owner and mode")
        return
    if (free := shutil.disk_usage(folder).free) < _LEAST_BYTES:
        why = "generations of handlers are kept there; new ones cannot be loaded"
        yield warning("state-folder", f"{free / 2**20:,.0f} MiB are free at {folder}", why=why, do="make room")
    holder = holder_of(folder)
    if holder is None:
        yield ok("state-folder", f"no daemon that can be seen from here holds {folder}")
    else:
        yield ok("state-folder", f"{folder} is held by a daemon (process {holder})")
