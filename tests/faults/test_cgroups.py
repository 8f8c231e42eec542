"""P4, P5: where a part of the cgroup tree is delegated, each worker has a leaf, killed in one stroke (decision 025).

The handlers run as another user, as under the drop-in for run-as: the leaves are the daemon's all the same.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobwarden.findings import Severity
from jobwarden.jobs import JobStatus, Outcome
from jobwarden.supervisor.checkup import examine_host
from jobwarden.supervisor.delegation import DAEMON, is_divided
from tests.support.cgroups import delegated, members, within
from tests.support.daemon import clean_environment
from tests.support.processes import children, descendants, lives, subreaper
from tests.support.site import Site
from tests.support.strangers import Stranger, stranger
from tests.support.waiting import eventually

Record = Callable[[str, object], None]

CHAINS = 200
"""Of processes that fork, exit and take a new session each, without a pause."""
HANDLERS = """
import os, subprocess, time
from pathlib import Path
from jobwarden import JobContext, handler, on_worker_start

def own():
    return next(line[3:].rstrip() for line in open("/proc/self/cgroup") if line.startswith("0::"))

HERE = {"import": own()}

@on_worker_start
def start():
    HERE["start"] = own()

@handler("where")
def where(payload):
    return {**HERE, "job": own()}

@handler("leave_to_root")
def leave_to_root(payload):
    command = [payload["setuid"], "--reuid=0", "--regid=0", "--clear-groups", "sleep", "1000"]
    Path(payload["pid"]).write_text(str(subprocess.Popen(command, start_new_session=True).pid))
    time.sleep(1000)

def leaf():
    return Path(ROOT + own())

@handler("move_out")
def move_out(payload):
    (leaf().parent / "cgroup.procs").write_text("0")
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
    time.sleep(1000)

@handler("freeze")
def freeze(payload):
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
    (leaf() / "cgroup.freeze").write_text("1")

@handler("dig")
def dig(payload):
    os.chdir(leaf())
    while True:
        os.mkdir("deeper")
        os.chdir("deeper")

@handler("escape")
def escape(payload):
    said = {}
    for act, folder, pid in payload["acts"]:
        try:
            Path(folder, "cgroup.procs").write_text(str(pid))
            said[act] = "done"
        except OSError as error:
            said[act] = type(error).__name__
    return said
"""


@pytest.fixture(scope="module")
def somebody() -> Iterator[Stranger]:
    """As whom the handlers run."""
    with stranger() as found:
        (found.handlers / "places.py").write_text(HANDLERS)
        yield found


@pytest.fixture(scope="module")
def given() -> Iterator[Path]:
    """The cgroup that is delegated to the daemon."""
    with delegated() as folder:
        yield folder


@pytest.fixture(scope="module")
def shared_site(somebody: Stranger, given: Path) -> Iterator[Site]:
    """A daemon in that cgroup."""
    with subreaper():
        made = Site(somebody.folder)
        try:
            made.start(before=within(given), **somebody.flags)
            yield made
        finally:
            made.close()


def report_of(site: Site) -> dict[str, Any]:
    """What the node says of itself, once it says that all is well with each slot."""

    def settled() -> dict[str, Any] | None:
        (node,) = site.client.store.nodes()
        slots: Any = (node.report or {}).get("slots") or [{}]
        return node.report if all(slot.get("state") == "idle" for slot in slots) else None

    return eventually(settled, what="a report with idle slots")


def test_each_worker_is_in_a_leaf_of_its_own_and_the_daemon_in_another(served: Site, given: Path) -> None:
    """Before a line of a handler file runs in it; what a template imports runs where the daemon is."""
    daemon = served.daemons[-1]
    workers = daemon.await_workers(2)

    assert {frozenset(members(leaf)) for leaf in given.glob("slot-*")} == {frozenset({pid}) for pid in workers}
    assert {daemon.keeper.pid, daemon.supervisor, daemon.template} <= members(given / DAEMON)
    assert members(given) == set()
    assert is_divided(daemon.keeper.pid)
    said: Any = served.await_end(served.add("where", max_attempts=1)).output
    assert (said["import"], said["start"]) == (f"/{given.name}/{DAEMON}", said["job"])
    assert said["job"].startswith(f"/{given.name}/slot-")


def test_a_fork_bomb_in_sessions_of_its_own_that_never_pauses_is_gone_at_its_limit(
    served: Site, given: Path, record_property: Record
) -> None:
    """All of it dies with its cgroup, and only then is the outcome recorded; the cgroup goes too."""
    daemon = served.daemons[-1]
    daemon.await_workers(2)
    position = daemon.position

    options: dict[str, Any] = {"max_attempts": 1, "timeout_ms": 500, "force_kill_on_timeout": True}
    job_id = served.add("fork_bomb", extra={"hopping": CHAINS, "new_session": True}, **options)
    served.await_end(job_id)

    assert [each.outcome for each in served.attempts(job_id)] == [Outcome.TIMED_OUT]
    assert not served.is_held(job_id)
    cleared = daemon.wait_for("tree_cleared", after=position, job_id=job_id)
    assert not (given / f"slot-{cleared['slot']}").exists()
    record_property("lateness ms", cleared["lateness_ms"])
    assert served.await_end(served.client.add_job("echo", {})).status is JobStatus.COMPLETED


def test_handlers_of_another_user_reach_no_cgroup(served: Site, given: Path) -> None:
    """They cannot leave their leaf, nor put the daemon into it, where the next kill would end it."""
    daemon = served.daemons[-1]
    leaf = min(given.glob("slot-*"))
    acts = [
        ["itself to the daemon", str(given / DAEMON), 0],
        ["itself to the root", str(given), 0],
        ["itself to a leaf", str(leaf), 0],
        ["the keeper to a leaf", str(leaf), daemon.keeper.pid],
        ["the supervisor to a leaf", str(leaf), daemon.supervisor],
    ]

    record = served.await_end(served.client.add_job("escape", {"acts": json.loads(json.dumps(acts))}))

    assert record.output == {act: "PermissionError" for act, *_ in acts}, record.error_history


def test_the_kill_level_is_told_for_the_node_and_for_each_slot(served: Site) -> None:
    """In the log at the start, by `doctor`, and in `status`."""
    assert served.daemons[-1].wait_for("started")["kill_level"] == "cgroup"
    (told,) = [each for each in examine_host(served.folder / "state") if each.subject == "kill-level"]
    assert (told.severity, "`cgroup`" in told.what) == (Severity.OK, True)
    report = report_of(served)
    assert (report["kill_level"], [slot["kill_level"] for slot in report["slots"]]) == ("cgroup", ["cgroup"] * 2)


def test_when_the_supervisor_is_killed_the_keeper_ends_such_a_bomb_as_well(
    served: Site, somebody: Stranger, given: Path
) -> None:
    """It must not end before the last process has: through the cgroups it gets there. The next daemon starts there."""
    daemon = served.daemons[-1]
    job_id = served.add("fork_bomb", extra={"hopping": CHAINS, "new_session": True}, max_attempts=1)
    eventually(lambda: len(descendants(daemon.supervisor)) > CHAINS // 2, what="its chains")

    os.kill(daemon.supervisor, signal.SIGKILL)

    assert daemon.wait() == 128 + signal.SIGKILL
    assert "populated 0" in (given / "cgroup.events").read_text()
    assert not served.is_held(job_id)
    served.daemons.remove(daemon)
    served.client.cancel_job(job_id)
    served.start(before=within(given), **somebody.flags)
    workers = served.daemons[-1].await_workers(2)
    assert {frozenset(members(leaf)) for leaf in given.glob("slot-*")} == {frozenset({pid}) for pid in workers}


def test_what_a_job_started_through_a_setuid_program_dies_with_it(somebody: Stranger) -> None:
    """An ordinary user's daemon may not signal root's process; its cgroup, handed to that user, it may kill."""
    person, home = pwd.getpwnam(somebody.user), somebody.folder / "home"
    program = shutil.which("setpriv")
    assert program is not None
    setuid = Path(shutil.copy(program, somebody.folder / "setuid"))
    setuid.chmod(0o4755)
    home.mkdir()
    os.chown(home, person.pw_uid, person.pw_gid)
    become = [program, f"--reuid={person.pw_uid}", f"--regid={person.pw_gid}", "--clear-groups"]
    command = [*become, str(somebody.python), "-m", "jobwarden"]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        variables = clean_environment() | {"HOME": str(home)}
        return subprocess.run(arguments, cwd=home, env=variables, capture_output=True, text=True, check=False)

    payload = json.dumps({"setuid": str(setuid), "pid": str(home / "pid")})
    added = run(*command, "add", "leave_to_root", payload, "--max-attempts=1", "--timeout-ms=1000")
    assert added.returncode == 0, added.stderr
    with subreaper(), delegated(to=person.pw_uid) as folder:
        handlers = f"--handlers={somebody.handlers}"
        errand = run(*within(folder), *command, "run", "--burst", handlers, "--kill-grace-seconds=0", "--workers=1")
        assert (home / "pid").exists(), errand.stderr
        assert not lives(int((home / "pid").read_text()))
    assert errand.returncode == 0, errand.stderr


@pytest.mark.nightly
def test_a_handler_of_the_daemons_own_user_may_do_with_its_leaf_what_it_likes(site: Site) -> None:
    """It can leave it, freeze it or dig in it: what it started is gone at its limit, and the next job is served."""
    with delegated() as folder:
        handlers = site.folder / "handlers"
        handlers.mkdir()
        (handlers / "places.py").write_text(HANDLERS.replace("ROOT", repr(str(folder.parent))))
        daemon = site.start(before=within(folder), handlers=handlers)
        for act in ("move_out", "freeze", "dig"):
            job_id = site.client.add_job(act, {}, max_attempts=1, timeout_ms=600)
            site.await_end(job_id)
            assert [each.outcome for each in site.attempts(job_id)] == [Outcome.TIMED_OUT]
            expected = daemon.await_workers(2) | {daemon.template}
            eventually(lambda: children(daemon.supervisor) == expected, what="no other child")  # noqa: B023 - at once
        assert site.await_end(site.client.add_job("where", {})).status is JobStatus.COMPLETED
        daemon.stop()
