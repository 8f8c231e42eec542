"""The hooks of handler files in real workers: before the first job, and after the last one."""

from __future__ import annotations

import os
from pathlib import Path

from jobwarden.wire.exits import EXIT_UNREADY
from jobwarden.wire.frames import frame
from jobwarden.wire.messages import HOOKS_FENCE, Hello, Retire, Unready, encode
from tests.support.daemon import Daemon
from tests.support.site import Site
from tests.support.template import PlayedSupervisor, PlayedWorker, played
from tests.support.waiting import eventually

HOOKS = """
import asyncio, os
from pathlib import Path

PLACE = Path(__file__).parent
SEEN, LOOP = [], None

def note(word):
    with (PLACE / "notes").open("a") as file:
        print(word, os.getpid(), file=file)

@on_worker_start
def connect():
    print("connecting")
    SEEN.append(os.getpid())

@on_worker_start
async def make_loop():
    global LOOP
    await asyncio.sleep(0)
    LOOP = asyncio.get_running_loop()

@on_worker_stop
def last():
    note("last")

@on_worker_stop
async def broken():
    assert asyncio.get_running_loop() is LOOP
    note("broken")
    raise ValueError("no")

@on_worker_stop
def first():
    print("leaving")
    note("first")

@handler("seen")
def seen(payload):
    print("seen")
    return [SEEN, os.getpid()]

@handler("same_loop")
async def same_loop(payload):
    return asyncio.get_running_loop() is LOOP
"""

HELPER = """
import subprocess, sys

@on_worker_start
def start_helper():
    global HELPER
    HELPER = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)

@handler("helped")
def helped(payload):
    return HELPER.poll()

@handler("forgetful")
def forgetful(payload):
    global OTHER
    OTHER = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
"""


def begun(supervisor: PlayedSupervisor) -> tuple[PlayedWorker, Hello | Unready]:
    """A new worker, and the first thing that it says."""
    worker = supervisor.ask_for_worker()
    supervisor.read_answer()
    said = worker.next_message()
    assert isinstance(said, Hello | Unready)
    return worker, said


def test_each_worker_calls_them_once_before_its_first_job(tmp_path: Path) -> None:
    """In the worker itself, in order; what they print belongs to no attempt; async ones share the handlers' loop."""
    with played(tmp_path, HOOKS) as supervisor:
        for _ in range(2):
            worker, hello = begun(supervisor)
            assert hello == Hello(worker.slot, worker.pid, marked=True, takes_leave=True)
            assert worker.captured(fence=HOOKS_FENCE) == "connecting\n"
            assert worker.run("seen").output == f"[[{worker.pid}],{worker.pid}]"
            assert worker.captured() == "seen\n"
            assert worker.run("same_loop").output == "true"


def test_a_worker_that_is_not_needed_calls_the_others_and_ends(tmp_path: Path) -> None:
    """The last declared first; one that fails is printed and does not keep the next from being called."""
    with played(tmp_path, HOOKS) as supervisor:
        worker, _ = begun(supervisor)
        worker.run("seen")
        worker.captured()
        pid = worker.pid
        worker.control.sendall(frame(encode(Retire())))
        assert worker.wait_exit() == (0, 0)
        assert (tmp_path / "notes").read_text().split() == ["first", str(pid), "broken", str(pid), "last", str(pid)]
        printed = os.read(worker.capture, 65_536).decode()
        assert printed.startswith("leaving\nTraceback")
        assert "played.py" in printed
        assert "readiness.py" not in printed


def test_a_worker_that_is_killed_calls_nothing(tmp_path: Path) -> None:
    """A hook of the end is a courtesy: no kill waits for it."""
    with played(tmp_path, HOOKS) as supervisor:
        worker, _ = begun(supervisor)
        worker.signal(9)
        worker.wait_exit()
    assert not (tmp_path / "notes").exists()


def test_a_start_that_fails_is_told_with_its_line(tmp_path: Path) -> None:
    """SystemExit is a failure too; the process ends by itself and says why by its code."""
    code = "@on_worker_start\ndef connect():\n    print('trying')\n    raise SystemExit('no database')\n"
    with played(tmp_path, code) as supervisor:
        worker, said = begun(supervisor)
        assert isinstance(said, Unready)
        assert (said.problem.file, said.problem.line) == ("played.py", 5)
        assert said.problem.error == "@on_worker_start connect failed: SystemExit: no database"
        assert "trying\nTraceback" in worker.captured(fence=HOOKS_FENCE)
        assert worker.wait_exit() == (EXIT_UNREADY, 0)


def test_a_process_that_the_start_began_is_not_left_behind(tmp_path: Path) -> None:
    """It is the worker's own; what a job starts and forgets is not."""
    with played(tmp_path, HELPER) as supervisor:
        worker, _ = begun(supervisor)
        first = worker.run("helped")
        assert (first.output, first.left_behind, first.retire) == (None, [], False)
        second = worker.run("forgetful")
        assert (len(second.left_behind), second.retire) == (1, True)


SERVED = """
import os
from pathlib import Path
from jobwarden import handler, on_worker_start, on_worker_stop

PLACE = Path(__file__).parent.parent

@on_worker_start
def connect():
    print("looking for the database")
    (PLACE / "database").read_text()

@on_worker_stop
def disconnect():
    print("VERSION says good-bye")

@handler("version")
def version(payload):
    return "VERSION"
"""


def test_a_daemon_serves_once_its_workers_are_ready_and_lets_them_say_good_bye(site: Site) -> None:
    """The alert and `status` name the line as long as it fails; a reload and a drain call the hooks of the end."""
    code = site.folder / "code"
    code.mkdir()
    (code / "hooks.py").write_text(SERVED.replace("VERSION", "one"))
    daemon = site.start(handlers=code, settled=False, workers=1, kill_grace_seconds=10)
    alert = daemon.wait_for("alerted")["text"]
    assert "no worker can begin: hooks.py:11: @on_worker_start connect failed: FileNotFoundError" in alert
    job_id = site.client.add_job("version", {})

    (site.folder / "database").touch()

    assert site.await_end(job_id).output == "one"
    assert len([each for each in daemon.events("alerted") if "no worker can begin" in each["text"]]) == 1
    assert "looking for the database" in daemon.wait_for("hooks_said")["text"]
    (code / "hooks.py").write_text(SERVED.replace("VERSION", "two"))
    daemon.wait_for("hooks_said", text="one says good-bye\n")
    assert site.await_end(site.client.add_job("version", {})).output == "two"
    refuse_a_start(site, daemon, code)
    assert daemon.stop() == 0
    daemon.wait_for("hooks_said", text="two says good-bye\n")


def refuse_a_start(site: Site, daemon: Daemon, code: Path) -> None:
    """Code whose hook fails does not replace the worker that serves."""
    workers = daemon.workers
    (code / "hooks.py").write_text(SERVED.replace("VERSION", "three").replace('"database"', '"elsewhere"'))
    alert = eventually(lambda: refusals(daemon), what="the refusal of the third version")[0]
    assert "hooks.py:11: @on_worker_start connect failed: FileNotFoundError" in alert
    assert site.await_end(site.client.add_job("version", {})).output == "two"
    assert daemon.workers == workers


def refusals(daemon: Daemon) -> list[str]:
    return [each["text"] for each in daemon.events("alerted") if "is not served" in each["text"]]
