"""A template's own life, and how its workers are born and orphaned."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from jobwarden.wire.exits import EXIT_ORPHANED
from jobwarden.wire.messages import HOOKS_FENCE, Forked, ForkFailed, Hello
from jobwarden.wire.template_terms import TemplateTerms, write_terms
from tests.support.processes import state
from tests.support.template import LIMIT_SECONDS, PlayedSupervisor, played, subreaper, wait_readable
from tests.support.waiting import eventually

HANDLERS = """
import os, time

OPENED = open(os.devnull)

@handler("nothing", timeout_ms=1500, max_attempts=7, retry_delay=0.5)
def nothing(payload):
    return None

@handler("opened")
def opened(payload):
    return OPENED.read()

@handler("sleep")
def sleep(payload, ctx):
    ctx.set_progress(1)
    time.sleep(60)
"""
BIRTHS = 40

SUPERVISOR_THAT_DIES = """
import sys
from pathlib import Path
from tests.support.template import PlayedSupervisor, subreaper
with subreaper(), PlayedSupervisor(Path(sys.argv[1])) as supervisor:
    busy, idle = supervisor.spawn(), supervisor.spawn()
    busy.send_run("sleep")
    busy.next_message()
    print(supervisor.process.pid, busy.pid, idle.pid, flush=True)
    sys.stdin.read()
"""


def test_loaded_tells_what_the_generation_serves(tmp_path: Path) -> None:
    """Each job type comes with its file and the terms that the decorator declared."""
    with played(tmp_path, HANDLERS) as supervisor:
        (first, *_) = supervisor.loaded.handlers
        assert (first.job_type, first.file) == ("nothing", "played.py")
        assert (first.timeout_ms, first.max_attempts, first.retry_delay) == (1500, 7, 0.5)
        assert (supervisor.loaded.problems, supervisor.loaded.threads) == ([], [])


def test_nothing_of_a_handler_file_runs_in_a_worker_before_its_latch_is_open(tmp_path: Path) -> None:
    """It is put into its cgroup meanwhile, which it leads from its first hook on."""
    with played(tmp_path, f"{HANDLERS}\n@on_worker_start\ndef start():\n    print('started')\n") as supervisor:
        worker = supervisor.ask_for_worker(admit=False)
        assert isinstance(supervisor.read_answer(), Forked)
        eventually(lambda: state(worker.pid) == "S", what="the worker waits")
        assert not wait_readable(worker.control.fileno(), seconds=0)
        assert not wait_readable(worker.capture, seconds=0)
        worker.admit()
        assert isinstance(worker.next_message(), Hello)
        assert worker.captured(fence=HOOKS_FENCE) == "started\n"


def test_a_worker_is_a_child_of_the_supervisor(tmp_path: Path) -> None:
    """The double fork makes the supervisor its parent, so exit status and usage are the supervisor's to read."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        status = Path(f"/proc/{worker.pid}/status").read_text()
        assert f"PPid:\t{os.getpid()}\n" in status
        worker.signal(signal.SIGKILL)
        assert worker.wait_exit() == (0, signal.SIGKILL)


def test_a_module_that_ignores_its_children_does_not_keep_workers_from_being_born(tmp_path: Path) -> None:
    """SIGCHLD ignored, or handled by code that reaps everything, would take the intermediate process from us."""
    with played(tmp_path, f"import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\n{HANDLERS}") as supervisor:
        assert supervisor.spawn().pid > 0


def test_a_worker_that_dies_at_once_is_announced_and_can_be_waited_for(tmp_path: Path) -> None:
    """The pid is announced only when the intermediate was reaped, so our wait never says that it is no child."""
    with played(tmp_path, HANDLERS) as supervisor:
        for _ in range(BIRTHS):
            worker = supervisor.ask_for_worker()
            assert isinstance(supervisor.read_answer(), Forked)
            worker.signal(signal.SIGKILL)
            assert worker.wait_exit() == (0, signal.SIGKILL)


def test_several_forks_may_be_asked_for_at_once(tmp_path: Path) -> None:
    """Descriptors are matched to requests in their order."""
    with played(tmp_path, HANDLERS) as supervisor:
        workers = [supervisor.ask_for_worker() for _ in range(5)]
        for _ in workers:
            assert isinstance(supervisor.read_answer(), Forked)
        for worker in workers:
            worker.next_message()
            assert worker.run("nothing").failure is None


def test_workers_live_on_without_their_template(tmp_path: Path) -> None:
    """The template's death ends nothing but the template."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        supervisor.process.kill()
        supervisor.process.wait()
        assert worker.run("nothing").failure is None


def test_what_a_handler_file_opened_at_import_stays_open(tmp_path: Path) -> None:
    """Only the template's own descriptors are closed in a worker."""
    with played(tmp_path, HANDLERS) as supervisor:
        assert supervisor.spawn().run("opened").output == '""'


def test_a_template_ends_with_its_control_socket(tmp_path: Path) -> None:
    """End of file means that the generation was retired."""
    with played(tmp_path, HANDLERS) as supervisor:
        supervisor.control.shutdown(1)
        assert supervisor.process.wait(LIMIT_SECONDS) == 0


def test_a_template_ignores_signals_meant_for_the_service(tmp_path: Path) -> None:
    """TERM and INT are for the supervisor, which then ends its template itself."""
    with played(tmp_path, HANDLERS) as supervisor:
        for number in (signal.SIGTERM, signal.SIGINT):
            supervisor.process.send_signal(number)
        assert supervisor.spawn().run("nothing").failure is None


def test_a_generation_with_threads_is_named_and_not_forked(tmp_path: Path) -> None:
    """A fork copies one thread only, so a module that started one makes its generation unforkable."""
    code = """
    import threading
    threading.Thread(target=threading.Event().wait, name="poller", daemon=True).start()

    @handler("nothing")
    def nothing(payload):
        return None
    """
    with played(tmp_path, code) as supervisor:
        assert supervisor.loaded.threads == ["poller"]
        supervisor.ask_for_worker()
        answer = supervisor.read_answer()
        assert isinstance(answer, ForkFailed)
        assert "poller" in answer.error


def test_a_broken_file_is_a_problem_and_the_others_are_served(tmp_path: Path) -> None:
    """One file that cannot be imported costs its own job types only."""
    (tmp_path / "broken.py").write_text("def (:\n")
    with played(tmp_path, HANDLERS) as supervisor:
        assert [problem.file for problem in supervisor.loaded.problems] == ["broken.py"]
        assert supervisor.spawn().run("nothing").failure is None


def test_a_template_whose_supervisor_is_gone_does_not_start(tmp_path: Path) -> None:
    """It looks at its parent after it has asked to die with it."""
    command = [sys.executable, "-P", "-m", "jobwarden.worker.template"]
    terms = TemplateTerms(
        control_fd=0,
        page_fd=0,
        snapshot_fd=0,
        generation=1,
        supervisor_pid=1,
        handlers=str(tmp_path),
        max_output_bytes=1,
    )
    command.append(write_terms(terms))
    daemon = Path(__file__).parents[2] / "daemon"
    ended = subprocess.run(command, env={"PYTHONPATH": str(daemon)}, check=False, timeout=LIMIT_SECONDS)
    assert ended.returncode == EXIT_ORPHANED


def test_all_die_with_the_supervisor(tmp_path: Path) -> None:
    """SIGKILL of the supervisor takes its template and its workers, busy or idle."""
    (tmp_path / "played.py").write_text(f"from jobwarden import *\n{HANDLERS}")
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'daemon'}"}
    command = [sys.executable, "-c", SUPERVISOR_THAT_DIES, str(tmp_path)]
    with (
        subreaper(),
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process,
    ):
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        pidfds = [os.pidfd_open(pid) for pid in pids]
        process.kill()
        for pid, pidfd in zip(pids, pidfds, strict=True):
            assert wait_readable(pidfd)
            os.close(pidfd)
            os.waitpid(pid, 0)


def test_an_empty_folder_serves_nothing_and_is_not_an_error(tmp_path: Path) -> None:
    """A generation without handlers is useless but not broken."""
    with subreaper(), PlayedSupervisor(tmp_path) as supervisor:
        assert (supervisor.loaded.handlers, supervisor.loaded.problems) == ([], [])
