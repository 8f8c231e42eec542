"""The keeper as a process: `python -I -S -E keeper.py`, above commands that play the supervisor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobwarden.clock import SECOND_NS, SYSTEM_CLOCK
from jobwarden.supervisor import keeper
from jobwarden.supervisor.systemd import Line, open_line
from jobwarden.wire.page import ALIVE, PAGE_BYTES, SWEEP_BEGAN, SWEEP_ENDED, TRUSTED_UNTIL, SharedPage
from tests.support.processes import await_end, children, kill_quietly, lives, state, subreaper
from tests.support.service_manager import Listener
from tests.support.waiting import LIMIT_SECONDS, eventually

INTERPRETER = [sys.executable, "-I", "-S", "-E"]
PARENT = """
import os, signal, sys
def child():
    if os.fork() == 0:
        os.setsid()
        os.write(1, f"{os.getpid()}\\n".encode())
        signal.pause()
for _ in range(3):
    child()
"""
HIDING = (
    *("unshare", "--mount", "sh", "-c", 'mount -t proc -o hidepid=2 proc /proc && exec "$@"', "sh"),
    *("setpriv", "--regid=65534", "--clear-groups", "--inh-caps=-sys_ptrace", "--bounding-set=-sys_ptrace"),
)
"""Before a command: it sees the processes that it might trace, and nothing more than that of /proc."""
Start = Callable[..., "Kept"]


class Kept:
    """A running keeper, the page that it reads, and its supervisor."""

    def __init__(
        self, *command: str, hung_seconds: float = 30.0, address: str | None = None, before: tuple[str, ...] = ()
    ) -> None:
        line = None if address is None else open_line({"NOTIFY_SOCKET": address})
        descriptor = os.memfd_create("page")
        os.truncate(descriptor, PAGE_BYTES)
        self.page = SharedPage(descriptor, writable=True)
        own = [*before, *INTERPRETER, keeper.__file__, str(descriptor), str(hung_seconds), *_option(line)]
        self.process = subprocess.Popen(
            [*own, *_with(line, command)],
            pass_fds=[descriptor, *(line or ())],
            env={**os.environ, "NOTIFY_SOCKET": "/nobody", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for each in (descriptor, *(line or ())):
            os.close(each)
        assert self.process.stdout is not None
        self.out = self.process.stdout

    @property
    def supervisor(self) -> int:
        """The pid of its one child."""
        (pid,) = eventually(lambda: children(self.process.pid), what="the supervisor is started")
        return pid

    def said(self, lines: int) -> list[int]:
        """Numbers that were printed below."""
        return [int(self.out.readline()) for _ in range(lines)]

    def wait(self) -> int:
        """Its exit code."""
        return self.process.wait(LIMIT_SECONDS)

    def close(self) -> None:
        """End everything that a failed test has left."""
        while found := children(self.process.pid) if self.process.poll() is None else set():
            for pid in found:
                kill_quietly(pid)
            if self.process.poll() is None:
                eventually(lambda: not children(self.process.pid) or self.process.poll() is not None, what="all end")
        self.process.kill()
        self.process.wait(LIMIT_SECONDS)
        self.out.close()


def _option(line: Line | None) -> list[str]:
    return [] if line is None else [f"{keeper.NOTIFY}{line.keeper},{line.outside},{line.supervisor}"]


def _with(line: Line | None, command: tuple[str, ...]) -> list[str]:
    """Its last argument is the supervisor's end of the line, if there is one."""
    return [*command, *([] if line is None else [str(line.supervisor)])]


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    made = Listener(tmp_path / "notify")
    yield made
    made.close()


@pytest.fixture
def start() -> Iterator[Start]:
    made: list[Kept] = []

    def begin(
        *command: str, hung_seconds: float = 30.0, address: str | None = None, before: tuple[str, ...] = ()
    ) -> Kept:
        made.append(Kept(*command, hung_seconds=hung_seconds, address=address, before=before))
        return made[-1]

    with subreaper():
        yield begin
        for each in made:
            each.close()


def python(script: str) -> tuple[str, ...]:
    """A supervisor that runs this."""
    return (*INTERPRETER, "-c", script)


@pytest.mark.parametrize(
    ("script", "code"),
    [("", 0), ("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 137)],
    ids=["well", "seven", "killed"],
)
def test_the_supervisors_exit_code_is_passed_on(start: Start, script: str, code: int) -> None:
    """Whoever started `jobwarden run` sees how it ended; 128 + n for a signal."""
    assert start(*python(script)).wait() == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_signals_go_to_the_supervisor(start: Start, number: signal.Signals) -> None:
    """The pid that was started is the keeper's; it passes on what a service manager sends."""
    wait = "import signal, sys\nsigs = {1, 2, 3, 15}\nsignal.pthread_sigmask(signal.SIG_BLOCK, sigs)\n"
    kept = start(*python(f"{wait}print(1, flush=True)\nsys.exit(signal.sigwait(sigs))"))
    kept.said(1)
    kept.process.send_signal(number)
    assert kept.wait() == number


def test_what_a_dead_supervisor_leaves_is_gone_before_the_keeper_is(start: Start) -> None:
    """R3: its exit frees the node's locks, so nothing may live then, in whatever session it hides."""
    kept = start(*python(PARENT + "signal.pause()"))
    below = kept.said(3)
    os.kill(kept.supervisor, signal.SIGKILL)
    assert kept.wait() == 137
    assert [state(pid) for pid in below] == ["X"] * 3


def test_past_the_trust_window_everything_below_a_stopped_supervisor_is_killed(start: Start) -> None:
    """R2: SIGSTOP, a debugger, a swap storm. The supervisor itself stays, and learns from the page what happened."""
    kept = start(*python(PARENT + "signal.pause()"))
    below = kept.said(3)
    kept.page[TRUSTED_UNTIL] = SYSTEM_CLOCK.boottime_ns() + 3_600 * SECOND_NS
    supervisor = kept.supervisor
    os.kill(supervisor, signal.SIGSTOP)
    assert all(lives(pid) for pid in below)
    kept.page[TRUSTED_UNTIL] = SYSTEM_CLOCK.boottime_ns() - 1
    for pid in below:
        eventually(lambda pid=pid: not lives(pid), what=f"{pid} is killed")  # type: ignore[misc]
    assert state(supervisor) == "T"
    eventually(lambda: kept.page[SWEEP_ENDED] >= kept.page[SWEEP_BEGAN] > 0, what="the sweep is noted")


def test_a_supervisor_whose_processes_are_hidden_is_cleared_as_well(start: Start) -> None:
    """`ProtectProc=invisible` hides who is not dumpable, as the supervisor is and a handler can be, from the keeper."""
    if subprocess.run([*HIDING, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("no /proc of one's own can be mounted here")
    hide = "import ctypes; ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)\n"
    kept = start(*python(f"{hide}{PARENT}signal.pause()"), before=HIDING)
    below = kept.said(3)
    os.kill(kept.supervisor, signal.SIGSTOP)
    kept.page[TRUSTED_UNTIL] = SYSTEM_CLOCK.boottime_ns() - 1
    for pid in below:
        await_end(pid)
    assert state(kept.supervisor) == "T"


def test_before_the_first_renewal_nobody_is_killed(start: Start) -> None:
    """An empty page means that the window has not begun."""
    kept = start(*python(PARENT + "print(1, flush=True)\nsignal.pause()"))
    below = sorted(kept.said(4))[1:]
    polls = Path(f"/proc/{kept.process.pid}/stat")
    before = polls.read_text()
    eventually(lambda: polls.read_text() != before, what="the keeper has looked again")
    assert all(lives(pid) for pid in below)


def test_a_supervisor_that_is_silent_for_too_long_is_killed(start: Start) -> None:
    """So that a service manager starts a new one; its children go with it, the exit code says why."""
    kept = start(*python(PARENT + "signal.pause()"), hung_seconds=0.2)
    below = kept.said(3)
    kept.page[ALIVE] = SYSTEM_CLOCK.monotonic_ns()
    assert kept.wait() == keeper.EXIT_HUNG
    assert [state(pid) for pid in below] == ["X"] * 3


def test_a_supervisor_that_has_not_begun_is_not_hung(start: Start) -> None:
    """A long start (a migration, a wait for the store) is no silence: this one takes longer than two looks."""
    kept = start(*python("import select\nselect.select([], [], [], 1.5)"), hung_seconds=0.0)
    assert kept.wait() == 0


def test_each_message_of_the_supervisor_is_passed_on_as_it_is(start: Start, listener: Listener) -> None:
    """Byte for byte and one by one, in the keeper's name, also what was said just before the supervisor died."""
    script = "import os, sys\nline = int(sys.argv[1])\n"
    script += "os.write(line, b'READY=1\\nSTATUS=a b')\nfor n in range(50):\n    os.write(line, b'STATUS=%d' % n)\n"
    kept = start(*python(script + "os.kill(os.getpid(), 9)"), address=listener.address)
    assert listener.receive() == ["READY=1", "STATUS=a b"]
    assert [listener.receive() for _ in range(50)] == [[f"STATUS={number}"] for number in range(50)]
    assert kept.wait() == 137


def test_a_service_manager_that_reads_slowly_gets_everything(start: Start, listener: Listener) -> None:
    """Its queue is full (unix(7)): the keeper waits for it, but not instead of its other duties."""
    script = "import os, sys\nline = int(sys.argv[1])\nos.set_blocking(line, True)\n"
    script += "for n in range(500):\n    os.write(line, b'STATUS=%d' % n)\nprint(1, flush=True)\nsignal.pause()"
    kept = start(*python("import signal\n" + script), address=listener.address)
    supervisor = kept.supervisor
    eventually(lambda: state(supervisor) == "S", what="the line is full")
    found = [listener.receive() for _ in range(500)]
    assert found == [[f"STATUS={number}"] for number in range(500)]
    kept.said(1)
    os.kill(supervisor, signal.SIGKILL)
    assert kept.wait() == 137


def test_last_words_wait_for_a_service_manager_that_is_busy(start: Start, listener: Listener) -> None:
    """Its queue is full when the supervisor dies (max_dgram_qlen in unix(7)): the rest goes when there is room."""
    script = "import os, sys\nprint(os.getpid(), flush=True)\n"
    script += "for n in range(100):\n    os.write(int(sys.argv[1]), b'STATUS=%d' % n)"
    kept = start(*python(script), address=listener.address)
    await_end(*kept.said(1))
    assert [listener.receive() for _ in range(100)] == [[f"STATUS={number}"] for number in range(100)]
    assert kept.wait() == 0


def test_a_service_manager_that_is_gone_disturbs_nobody(start: Start, tmp_path: Path) -> None:
    """What is said to it is lost; signals and exit code go their way."""
    listener = Listener(tmp_path / "gone")
    script = "import os, signal, sys\nsignal.pthread_sigmask(signal.SIG_BLOCK, {15})\nprint(1, flush=True)\n"
    script += "signal.sigwait({15})\nfor n in range(50):\n    os.write(int(sys.argv[1]), b'STATUS=x')\nsys.exit(7)"
    kept = start(*python(script), address=listener.address)
    kept.said(1)
    listener.close()
    kept.process.send_signal(signal.SIGTERM)
    assert kept.wait() == 7


def test_the_supervisor_gets_its_own_end_of_the_line_only(start: Start, listener: Listener) -> None:
    """No variable that names the socket, and no descriptor that leads to it: only the main process is heard."""
    script = "import os, sys\nnames = {'NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID'}\n"
    script += "print(len(names & set(os.environ)), flush=True)\nprint(len(os.listdir('/proc/self/fd')) - 1, flush=True)"
    kept = start(*python(script), address=listener.address)
    assert kept.said(2) == [0, len({"stdin", "stdout", "stderr", "page", "line"})]
    assert kept.wait() == 0


def test_the_watchdogs_signal_ends_the_supervisor_with_all_below_it(start: Start) -> None:
    """SIGABRT of a service manager that misses signs of life, also if the supervisor is stopped."""
    kept = start(*python(PARENT + "signal.pause()"))
    below = kept.said(3)
    os.kill(kept.supervisor, signal.SIGSTOP)
    kept.process.send_signal(signal.SIGABRT)
    assert kept.wait() == keeper.EXIT_HUNG
    assert [state(pid) for pid in below] == ["X"] * 3


def test_the_keeper_imports_nothing_but_the_standard_library(tmp_path: Path) -> None:
    """No package, not even ours, can take it down. Run as it is run, in an empty directory."""
    script = f"import runpy, sys\nrunpy.run_path({keeper.__file__!r}, run_name='keeper')\n"
    script += "print(*sorted(name for name in sys.modules if name.partition('.')[0] not in sys.stdlib_module_names))"
    done = subprocess.run([*INTERPRETER, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["__main__"]


def test_the_keeper_is_small(start: Start, record_property: Callable[[str, object], None]) -> None:
    """Its share of the daemon's memory (PSS): one more process must not cost what it saves."""
    kept = start(*python("import signal\nprint(1, flush=True)\nsignal.pause()"))
    kept.said(1)
    rollup = Path(f"/proc/{kept.process.pid}/smaps_rollup").read_text()
    pss_kb = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    record_property("keeper PSS kB", pss_kb)
    assert pss_kb < 12_000
    os.kill(kept.supervisor, signal.SIGKILL)
    await_end(kept.process.pid)
