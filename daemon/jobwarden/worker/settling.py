"""How a newborn worker settles: whose child it is, what it owns, which signals it hears. The order is law (R10).

PR_SET_PDEATHSIG set while the intermediate still lives would kill the worker with it, so the worker first waits until
its parent is the supervisor, and looks again afterwards. Runs in the worker, once.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import random
import resource
import signal
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobwarden.kernel import adopt_orphans, die_with_parent
from jobwarden.wire.exits import EXIT_ORPHANED
from jobwarden.wire.template_terms import NO_BOUNDS, WorkerBounds
from jobwarden.worker.descriptors import close_all_but, move_up

if TYPE_CHECKING:
    from types import FrameType

DUMP_SIGNAL = signal.SIGUSR2
_forking = threading.local()
_NOT_FOR_WORKERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
OOM_SCORE_ADJUSTMENT = 500
"""See proc(5), oom_score_adj: half of all memory is added to what the process has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Birth:
    """What a worker is born with. `descriptors` has the names of `FORK_DESCRIPTORS`."""

    slot: int
    nonce: str
    generation: int
    intermediate_pid: int
    supervisor_pid: int
    descriptors: dict[str, int]
    opened_by_handlers: frozenset[int]
    max_output_bytes: int
    bounds: WorkerBounds = NO_BOUNDS


def settle(birth: Birth) -> dict[str, int]:
    """Become a worker; gives the descriptors by name at their private places. Exits if there is no supervisor."""
    _await_supervisor(birth)
    _await_admission(birth.descriptors.pop("latch"))
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    offer_to_oom_killer()
    own = {name: move_up(descriptor) for name, descriptor in birth.descriptors.items()}
    _open_nothing_as_stdin()
    close_all_but(set(own.values()) | birth.opened_by_handlers)
    _listen_to_signals()
    faulthandler.register(DUMP_SIGNAL, file=own["dump"], all_threads=True, chain=False)
    faulthandler.enable(file=own["capture"])
    random.seed()
    gc.enable()
    return own


def _await_supervisor(birth: Birth) -> None:
    while os.getppid() == birth.intermediate_pid:
        os.sched_yield()
    if os.getppid() == birth.supervisor_pid:
        die_with_parent()
        adopt_orphans()
    if os.getppid() != birth.supervisor_pid:
        os._exit(EXIT_ORPHANED)


def _await_admission(latch: int) -> None:
    """Whatever of a handler file runs in this process is to run in its own cgroup, where there is one."""
    os.read(latch, 1)


def offer_to_oom_killer() -> None:
    """Under memory pressure this process is to die before the supervisor. Called by templates as well."""
    with contextlib.suppress(OSError):  # a wish, not a need
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE_ADJUSTMENT))


def _open_nothing_as_stdin() -> None:
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(nothing, 0)
    os.close(nothing)


def _listen_to_signals() -> None:
    # Not SIG_IGN: programs that handlers start would inherit that.
    for number in _NOT_FOR_WORKERS:
        signal.signal(number, _ignore)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.register_at_fork(before=_hold_back, after_in_parent=_go_on, after_in_child=_hear_again)


def _ignore(number: int, frame: FrameType | None) -> None:
    """Only the supervisor ends a worker."""


def _hold_back() -> None:
    """A signal that reaches a child before it has its own handlers again would be lost in ours."""
    _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_FOR_WORKERS)


def _go_on() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


def _hear_again() -> None:
    """What a handler forks can be ended by it: `multiprocessing` does so with the workers of a pool, by SIGTERM."""
    with contextlib.suppress(ValueError):  # a subinterpreter may not
        for number in _NOT_FOR_WORKERS:
            if signal.getsignal(number) is _ignore:
                signal.signal(number, signal.SIG_DFL)
    _go_on()
