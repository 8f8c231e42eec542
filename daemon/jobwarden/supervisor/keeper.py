"""The keeper: the supervisor's parent, which cleans up if the supervisor dies, hangs or is stopped.

`jobwarden run` execs into this file (`python -I -S -E keeper.py`), so the pid that was started is the keeper's. It
imports nothing but the standard library, runs no user code and opens no database, so that nothing of theirs can take
it down. It must never exit while a process below it lives: its exit frees the locks of the node (it holds copies of
their descriptors), and a free lock tells other nodes that every worker is dead.

Reads the shared page; see `jobwarden/wire/page.py` for the words, which are repeated here because this file cannot
import the package.
"""

import ctypes
import mmap
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

PAGE_BYTES = 4096
TRUSTED_UNTIL, ALIVE, SWEEP_BEGAN, SWEEP_ENDED, STOPPING = range(5)

POLL_SECONDS = 0.1
SWEEP_SECONDS = 5.0
"""One sweep takes at most this long; the next poll goes on with it."""
EMPTY_LOOKS = 3
SECOND_LOOK_NS = 1_000_000_000
EXIT_HUNG = 70
REMOVE = "--remove="
"""An option before the command: this folder is removed at the very end."""

FORWARDED = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NAME, PR_SET_CHILD_SUBREAPER = 1, 4, 15, 36


class Supervisor:
    """The one child that the keeper started."""

    def __init__(self, command: list[str]) -> None:
        """Start it with a clean signal mask, in a process group of its own: Ctrl-C reaches the keeper alone.

        It inherits every inheritable descriptor, the locks among them.
        """
        self.pid = os.posix_spawn(command[0], command, os.environ, setsigmask=[], setpgroup=0)
        self.pidfd = os.pidfd_open(self.pid)
        self.status: int | None = None

    def send(self, number: int) -> None:
        """Signal it, if it still lives."""
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            return

    def ended(self) -> bool:
        """Reap it if it is dead."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = status
        return self.status is not None

    def exit_code(self) -> int:
        """The code that the keeper passes on: 128 + n for a supervisor killed by signal n."""
        code = os.waitstatus_to_exitcode(self.status or 0)
        return code if code >= 0 else 128 - code


class Keeper:
    """Watches one supervisor until it has ended and nothing is left below."""

    def __init__(self, page_descriptor: int, command: list[str], *, hung_ns: int) -> None:
        """Map the page and start the supervisor."""
        self._words = memoryview(mmap.mmap(page_descriptor, PAGE_BYTES)).cast("q")
        self._supervisor = Supervisor(command)
        self._hung_ns = hung_ns
        self._silent_since = 0
        self._hung = False

    def keep(self) -> int:
        """Run until the end; returns the exit code."""
        poller = select.poll()
        poller.register(self._supervisor.pidfd, select.POLLIN)
        while not self._supervisor.ended():
            forward_signals(self._supervisor)
            self._guard_trust()
            self._guard_progress()
            poller.poll(POLL_SECONDS * 1000)
        clear_adopted()
        return EXIT_HUNG if self._hung else self._supervisor.exit_code()

    def _guard_trust(self) -> None:
        """Past the trust window nobody may believe that these workers are alone with their jobs."""
        if self._trust_has_passed():
            self._words[SWEEP_BEGAN] = now_ns(time.CLOCK_BOOTTIME)
            clear_below(self._supervisor.pid, as_long_as=self._trust_has_passed)
            self._words[SWEEP_ENDED] = now_ns(time.CLOCK_BOOTTIME)

    def _trust_has_passed(self) -> bool:
        until = self._words[TRUSTED_UNTIL]
        return 0 < until < now_ns(time.CLOCK_BOOTTIME)

    def _guard_progress(self) -> None:
        """A supervisor that gave no sign of life for too long is killed, so that a new one can be started."""
        alive, now = self._words[ALIVE], now_ns(time.CLOCK_MONOTONIC)
        if not alive or self._words[STOPPING] or now - alive < self._hung_ns:
            self._silent_since = 0
        elif not self._silent_since:
            self._silent_since = now  # a second look: after a pause of the whole machine it deserves a chance
        elif now - self._silent_since > SECOND_LOOK_NS:
            self._hung = True
            self._supervisor.send(signal.SIGKILL)


def now_ns(clock: int) -> int:
    """Read one clock."""
    return time.clock_gettime_ns(clock)


def forward_signals(supervisor: Supervisor) -> None:
    """Pass on what arrived since the last look (all of FORWARDED is blocked here)."""
    while caught := signal.sigtimedwait(FORWARDED, 0):
        supervisor.send(caught.si_signo)


def children_of(pid: int) -> list[int]:
    """All children of all threads of a process (proc(5))."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    except OSError:
        return found
    return found


def is_zombie(pid: int) -> bool:
    """Whether it is dead but not reaped; a stopped supervisor reaps nothing."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def shoot(pid: int, *, parent: int) -> None:
    """Kill a child of `parent`; the pidfd is taken before its parent is checked, so a recycled pid is safe."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if f"\nPPid:\t{parent}\n" in Path(f"/proc/{pid}/status").read_text():
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def clear_below(supervisor: int, *, as_long_as: Callable[[], bool]) -> None:
    """Kill whatever the (stopped or hung) supervisor has as children, and what it adopts from them.

    Once trust is back what it starts is rightly there.
    """
    until = time.monotonic() + SWEEP_SECONDS
    empty = 0
    while empty < EMPTY_LOOKS and time.monotonic() < until and as_long_as():
        living = [pid for pid in children_of(supervisor) if not is_zombie(pid)]
        empty = 0 if living else empty + 1
        for pid in living:
            shoot(pid, parent=supervisor)
        time.sleep(0.001)


def clear_adopted() -> None:
    """Kill and reap everything that came to us when the supervisor died, until nothing is left."""
    own = os.getpid()
    pause = 0.001
    while reap_all():
        for pid in children_of(own):
            shoot(pid, parent=own)
        time.sleep(pause)
        pause = min(pause * 1.05, POLL_SECONDS)


def reap_all() -> bool:
    """Take the exit status of every dead child, and end what is left of its group; whether there are more children.

    Only wait(2) knows: a listing of children is not exact while some of them end (proc(5)), and what is missed here
    would outlive the locks.
    """
    try:
        while dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            end_group(dead.si_pid)
            os.waitpid(dead.si_pid, 0)
    except ChildProcessError:
        return False
    return True


def end_group(leader: int) -> None:
    """Kill the process group of a dead child, whose number nobody else has until it is reaped.

    In one step between two forks, so that it also ends what forks without a pause (see supervisor/killer.py).
    """
    if leader == os.getpgrp():
        return
    try:
        os.killpg(leader, signal.SIGKILL)
    except OSError:
        return


def main(arguments: list[str]) -> int:
    """`keeper.py PAGE_DESCRIPTOR HUNG_SECONDS [--remove=FOLDER] COMMAND...`."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    libc.prctl(PR_SET_NAME, b"jobwarden:keep", 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    hung_ns = int(float(arguments[1]) * 1e9)
    passing = arguments[2].removeprefix(REMOVE) if arguments[2].startswith(REMOVE) else None
    code = Keeper(int(arguments[0]), arguments[2 if passing is None else 3 :], hung_ns=hung_ns).keep()
    if passing is not None:
        remove_folder(Path(passing))
    return code


def remove_folder(folder: Path) -> None:
    """Remove a folder, whose locks we hold, with all below it; no link is followed, what cannot be removed stays."""
    try:
        for entry in folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                remove_folder(entry)
            else:
                entry.unlink()
        folder.rmdir()
    except OSError:
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
