"""What `jobwarden run` does before it becomes the keeper: locks, the shared page, the handover to the supervisor.

Runs in the process that the user started. It must say what is wrong in a sentence here, where there is no log yet,
and it must leave nothing behind that is not handed over.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import msgspec

from jobwarden.errors import StoreUnavailableError
from jobwarden.settings.unit import require_time_to_stop
from jobwarden.store import StoreOptions, open_store
from jobwarden.store.life import hold_node, lock_path
from jobwarden.supervisor import delegation, keeper
from jobwarden.supervisor.guard import make_state_dir, require_safe
from jobwarden.supervisor.handover import Handover, inheritable_memfd
from jobwarden.supervisor.identity import require_run_as
from jobwarden.supervisor.killer import require_listing_of_children
from jobwarden.supervisor.locks import hold_state_directory
from jobwarden.supervisor.own_unit import ask_own_unit
from jobwarden.supervisor.systemd import open_line, watchdog_usec
from jobwarden.wire.page import PAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobwarden.settings import Settings
    from jobwarden.store import Store
    from jobwarden.supervisor.terms import Errand

_STANDARD_ERROR = 2


def start(
    settings: Settings, *, config: Path | None, flags: Mapping[str, object], errand: Errand | None = None
) -> NoReturn:
    """Take the locks, make the shared page and become the keeper.

    Raises the errors of locks and store, and InvalidSettingsError for users that handlers cannot run as.

    A reload that is asked for now would end us, the keeper or the supervisor, whichever is just starting; ignoring is
    inherited over exec until the supervisor's loop takes the signal. An errand for which no state directory was named
    gets one of its own, which the keeper removes.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    _fill_standard_descriptors()
    require_listing_of_children()
    require_run_as(settings.pools)
    if errand is None or "state_dir" in settings.model_fields_set:
        _become_keeper(settings, config=config, flags=flags, errand=errand, passing=None)
    passing = Path(tempfile.mkdtemp(prefix="jobwarden-errand-"))
    try:
        moved = settings.model_copy(update={"state_dir": passing})
        flags = {**flags, "state_dir": passing}
        _become_keeper(moved, config=config, flags=flags, errand=errand, passing=passing)
    except BaseException:
        shutil.rmtree(passing, ignore_errors=True)
        raise


def _become_keeper(
    settings: Settings,
    *,
    config: Path | None,
    flags: Mapping[str, object],
    errand: Errand | None,
    passing: Path | None,
) -> NoReturn:
    make_state_dir(settings.state_dir)
    require_safe(settings, config=config, flags=flags)
    unit = None if errand is not None else ask_own_unit(os.environ)
    require_time_to_stop(settings, unit)
    locks = [hold_state_directory(settings.state_dir, wait_seconds=settings.lock_wait_seconds)]
    node_id = secrets.token_hex(8)
    folder = _folder_of_nodes(settings, waits=errand is None)
    node_lock = None if folder is None else lock_path(folder, node_id)
    if node_lock is not None:
        locks.append(hold_node(node_lock, inheritable=True))
    line = open_line(os.environ)
    page = inheritable_memfd("jobwarden-page", bytes(PAGE_BYTES))
    found = delegation.claim()
    handover = Handover(
        config=None if config is None else str(config),
        flags={name: str(value) if isinstance(value, Path) else value for name, value in flags.items()},
        node_id=node_id,
        page=page,
        locks=locks,
        node_lock=None if node_lock is None else str(node_lock),
        keeper_pid=os.getpid(),
        notify=None if line is None else line.supervisor,
        watchdog_usec=watchdog_usec(os.environ),
        unit=unit,
        errand=errand,
        cgroup=None if found.folder is None else str(found.folder),
        no_cgroup=found.why_not if found.meant else None,
    )
    descriptor = inheritable_memfd("jobwarden-handover", msgspec.json.encode(handover))
    options = [str(page), str(settings.hung_seconds), *((f"{keeper.REMOVE}{passing}",) if passing else ())]
    options += [] if line is None else [f"{keeper.NOTIFY}{line.keeper},{line.outside},{line.supervisor}"]
    options += [] if found.folder is None else [f"{keeper.LEAVES}{found.folder}"]
    command = [sys.executable, "-P", "-m", "jobwarden.supervisor", str(descriptor)]
    signal.pthread_sigmask(signal.SIG_BLOCK, keeper.CAUGHT)  # inherited: what comes now, it takes
    os.execv(sys.executable, [sys.executable, "-I", "-S", "-E", keeper.__file__, *options, *command])  # noqa: S606 - no shell is wanted


def _folder_of_nodes(settings: Settings, *, waits: bool) -> Path | None:
    """Where nodes that share a kernel hold their locks; None on a server, for which the supervisor can wait."""
    try:
        store = open_for_daemon(settings)
    except StoreUnavailableError as error:
        if not (waits and error.passes) or settings.database_url.startswith("sqlite"):
            raise
        return None
    folder = store.side_dir("nodes")
    store.close()
    return folder


def open_for_daemon(settings: Settings) -> Store:
    """The store as daemons use it."""
    return open_store(
        settings.connection_url,
        StoreOptions(
            synchronous=settings.synchronous,
            file_mode=settings.file_mode,
            lock_timeout_seconds=settings.lock_timeout_seconds,
            statement_timeout_seconds=settings.lock_timeout_seconds,
            application="jobwarden",
        ),
    )


def _fill_standard_descriptors() -> None:
    """Started with a closed 0, 1 or 2, the next open file would take that number and get what people print."""
    while (lowest := os.open(os.devnull, os.O_RDWR)) <= _STANDARD_ERROR:
        os.set_inheritable(lowest, True)  # noqa: FBT003 - the signature of os
    os.close(lowest)
