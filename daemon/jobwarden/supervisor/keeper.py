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
EMPTY_LOOKS, SECOND_LOOK_NS = 3, 1_000_000_000
EXIT_HUNG = 70
REMOVE = "--remove="
"""An option before the command: this folder is removed at the very end."""
NOTIFY = "--notify="
"""An option before the command: three descriptors. What the supervisor writes to its end, the third, is read from the
first and sent to the second, where the service manager listens."""
LEAVES = "--leaves="
"""An option before the command: the cgroup whose `slot-*` are the workers' own (supervisor/cgroup.py)."""
NOT_FOR_CHILDREN = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
LONGEST_MESSAGE = 65_536
LAST_WORDS_SECONDS = 2.0
"""So long the service manager may take to hear what a supervisor said that has ended."""

WATCHDOG = signal.SIGABRT
"""Sent by a service manager that misses the supervisor's signs of life (systemd.service(5), WatchdogSec=)."""
PASSED_ON = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}
CAUGHT = PASSED_ON | {WATCHDOG}
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NAME, PR_SET_CHILD_SUBREAPER = 1, 4, 15, 36


class Supervisor:
    """The one child that the keeper started."""

    def __init__(self, command: list[str]) -> None:
        """Start it in its own process group: Ctrl-C reaches the keeper alone. What comes early waits for its handlers.

        It inherits every inheritable descriptor, the locks among them.
        """
        self.pid = os.posix_spawn(command[0], command, os.environ, setsigmask=PASSED_ON, setpgroup=0)
        self.pidfd = os.pidfd_open(self.pid)
        # Open for good: once it is no longer dumpable, this would be hidden from us (proc(5), hidepid; ProtectProc=).
        self._children = Path(f"/proc/{self.pid}/task/{self.pid}/children").open()  # noqa: SIM115 - see above
        self.status: int | None = None

    def send(self, number: int) -> None:
        """Signal it, if it still lives."""
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            return

    def children(self) -> set[int]:
        """All that its main thread, which alone starts and adopts processes, has below it (proc(5))."""
        self._children.seek(0)
        return set(map(int, self._children.read().split()))

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


class Relay:
    """Passes each message of the supervisor on to the service manager, byte for byte; waits for neither."""

    def __init__(self, inside: int, outside: int, poller: select.poll) -> None:
        """`inside` is our end of the supervisor's line."""
        self._inside, self._outside = inside, outside
        self._poller = poller
        self._unsent = b""
        self._waits_for = inside
        poller.register(inside, select.POLLIN)

    def pass_on(self) -> bool:
        """Whatever can be read and sent now; whether that was all. A service manager's full queue is waited for."""
        try:
            while self._unsent or self._read():
                self._send()
            self._wait_for(-1, 0)  # closed at the other end
        except BlockingIOError:
            self._wait_for(*((self._outside, select.POLLOUT) if self._unsent else (self._inside, select.POLLIN)))
        return not self._unsent

    def _wait_for(self, descriptor: int, event: int) -> None:
        if descriptor != self._waits_for:
            for old in {self._waits_for} - {-1}:
                self._poller.unregister(old)
            for new in {descriptor} - {-1}:
                self._poller.register(new, event)
            self._waits_for = descriptor

    def _read(self) -> bool:
        try:
            self._unsent = os.read(self._inside, LONGEST_MESSAGE)
        except ConnectionError:
            return False
        return bool(self._unsent)

    def _send(self) -> None:
        try:
            os.write(self._outside, self._unsent)
        except BlockingIOError:
            raise
        except OSError:
            pass  # nobody is there to be told
        self._unsent = b""


class Keeper:
    """Watches one supervisor until it has ended and nothing is left below."""

    def __init__(self, page: int, command: list[str], *, hung_ns: int, line: list[int], leaves: str) -> None:
        """Map the page and start the supervisor. `line`: see NOTIFY, `leaves`: see LEAVES; both may be empty."""
        self._leaves = leaves
        self._words = memoryview(mmap.mmap(page, PAGE_BYTES)).cast("q")
        for own in line[:2]:
            os.set_inheritable(own, False)  # noqa: FBT003 - the signature of os
        self._supervisor = Supervisor(command)
        self._poller = select.poll()
        self._poller.register(self._supervisor.pidfd, select.POLLIN)
        self._relays = [Relay(line[0], line[1], self._poller)] if line else []
        for theirs in line[2:]:
            os.close(theirs)
        self._hung_ns = hung_ns
        self._silent_since = 0
        self._hung = False

    def keep(self) -> int:
        """Run until the end; returns the exit code."""
        while not self._supervisor.ended():
            self._take_signals()
            self._pass_on()
            self._guard_trust()
            self._guard_progress()
            self._poller.poll(POLL_SECONDS * 1000)
        clear_adopted(self._leaves)
        self._pass_on_the_rest()
        return EXIT_HUNG if self._hung else self._supervisor.exit_code()

    def _take_signals(self) -> None:
        """Pass on what arrived since the last look; all of CAUGHT is blocked here."""
        while caught := signal.sigtimedwait(CAUGHT, 0):
            if caught.si_signo == WATCHDOG:
                self._kill_hung()
            else:
                self._supervisor.send(caught.si_signo)

    def _pass_on(self) -> bool:
        return all(each.pass_on() for each in self._relays)

    def _pass_on_the_rest(self) -> None:
        self._poller.unregister(self._supervisor.pidfd)
        until = time.monotonic() + LAST_WORDS_SECONDS
        while not self._pass_on() and time.monotonic() < until:
            self._poller.poll(POLL_SECONDS * 1000)

    def _kill_hung(self) -> None:
        """Whatever it started is cleared when it is dead."""
        self._hung = True
        self._supervisor.send(signal.SIGKILL)

    def _guard_trust(self) -> None:
        """Past the trust window nobody may believe that these workers are alone with their jobs."""
        if self._trust_has_passed():
            self._words[SWEEP_BEGAN] = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            clear_below(self._supervisor, as_long_as=self._trust_has_passed, leaves=self._leaves)
            self._words[SWEEP_ENDED] = time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def _trust_has_passed(self) -> bool:
        return 0 < self._words[TRUSTED_UNTIL] < time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def _guard_progress(self) -> None:
        """A supervisor that gave no sign of life for too long is killed, so that a new one can be started."""
        alive, now = self._words[ALIVE], time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        if not alive or self._words[STOPPING] or now - alive < self._hung_ns:
            self._silent_since = 0
        elif not self._silent_since:
            self._silent_since = now  # a second look: after a pause of the whole machine it deserves a chance
        elif now - self._silent_since > SECOND_LOOK_NS:
            self._kill_hung()


def shoot(pid: int, *, supervisor: Supervisor) -> bool:
    """Kill a child of the supervisor; whether it lived. Its number may be somebody else's by the time that we get here.

    So the pidfd is taken before the list is read again, and nothing is asked of /proc/PID, which may be hidden from us.
    """
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if select.select([descriptor], [], [], 0)[0] or pid not in supervisor.children():
            return False  # a stopped supervisor reaps nothing
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        return True
    except OSError:
        return True
    finally:
        os.close(descriptor)


def kill_leaves(folder: str) -> None:
    """End what is in the workers' cgroups, also what is just being forked there (cgroups(7), cgroup.kill)."""
    for file in Path(folder).glob("slot-*/cgroup.kill") if folder else ():
        try:
            file.write_text("1")
        except OSError:  # its last process is gone, and so is it
            continue


def clear_below(supervisor: Supervisor, *, as_long_as: Callable[[], bool], leaves: str) -> None:
    """Kill whatever the (stopped or hung) supervisor has as children, and what it adopts from them.

    Once trust is back what it starts is rightly there.
    """
    until = time.monotonic() + SWEEP_SECONDS
    empty = 0
    while empty < EMPTY_LOOKS and time.monotonic() < until and as_long_as():
        kill_leaves(leaves)
        living = [pid for pid in supervisor.children() if shoot(pid, supervisor=supervisor)]
        empty = 0 if living else empty + 1
        time.sleep(0.001)


def clear_adopted(leaves: str) -> None:
    """Kill and reap everything that came to us when the supervisor died, until nothing is left."""
    own = Path(f"/proc/self/task/{os.getpid()}/children")
    pause = 0.001
    while reap_all():
        kill_leaves(leaves)
        for pid in own.read_text().split():
            strike(os.kill, int(pid))  # unreaped, so nobody else has its number
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
    """Kill a dead child's group (nobody else has its number until it is reaped) in one step, between two forks."""
    if leader != os.getpgrp():
        strike(os.killpg, leader)


def strike(act: Callable[[int, int], None], number: int) -> None:
    """Kill a process or a group; it may be gone, or out of our reach."""
    try:
        act(number, signal.SIGKILL)
    except OSError:
        return


def main(arguments: list[str]) -> int:
    """`keeper.py PAGE HUNG_SECONDS [--remove=FOLDER] [--notify=IN,OUT,THEIRS] [--leaves=FOLDER] COMMAND...`."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(PR_SET_NAME, b"jobwarden:keep", 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, CAUGHT)
    for name in NOT_FOR_CHILDREN:
        os.environ.pop(name, None)
    page, hung_seconds, *command = arguments
    passing, line, leaves = (take_option(name, command) for name in (REMOVE, NOTIFY, LEAVES))
    own, hung_ns = [int(each) for each in line.split(",") if each], int(float(hung_seconds) * 1e9)
    keeper = Keeper(int(page), command, hung_ns=hung_ns, line=own, leaves=leaves)
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)  # not before: the supervisor would begin so, hidden from us (ProtectProc=)
    code = keeper.keep()
    if passing:
        import shutil  # noqa: PLC0415 - half a megabyte that only an errand needs

        shutil.rmtree(passing, ignore_errors=True)
    return code


def take_option(name: str, command: list[str]) -> str:
    """What follows `name`, if that stands at the beginning; it is taken off the command. Else empty."""
    return command.pop(0).removeprefix(name) if command[0].startswith(name) else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
