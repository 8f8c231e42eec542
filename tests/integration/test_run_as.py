"""P5, P6: a pool with a `user` runs as that user from its first line of code on, and as nobody else ever after."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from jobwarden.client import Client
from jobwarden.jobs import JobStatus, Outcome
from jobwarden.supervisor import runas
from jobwarden.supervisor.launcher import NODE_MARKER, PLACE_MARKER
from tests.support import processes
from tests.support.daemon import clean_environment
from tests.support.programs import write_program
from tests.support.site import Site
from tests.support.strangers import Stranger, stranger

WHO = """
import ctypes, mmap, os, signal, socket, subprocess, sys
from pathlib import Path
from jobwarden import handler

def rights():
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    capabilities = [status[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")]
    return [list(os.getresuid()), list(os.getresgid()), os.getgroups(), [int(each, 16) for each in capabilities]]

AT_IMPORT = rights()
PARENT = os.getppid()

@handler("who")
def who(payload):
    os.getcwd()
    dumpable, stdin = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), os.readlink("/proc/self/fd/0")
    return {"at import": AT_IMPORT, "now": rights(), "environment": dict(os.environ), "stdin": stdin,
            "python": sys.executable, "dumpable": dumpable}

def become_root():
    os.setuid(0)

def kill_the_supervisor():
    os.kill(os.getppid(), signal.SIGKILL)

def kill_the_keeper():
    for line in Path(f"/proc/{os.getppid()}/status").read_text().splitlines():
        if line.startswith("PPid:"):
            os.kill(int(line.split()[1]), signal.SIGKILL)

def read_its_environment():
    return Path(f"/proc/{os.getppid()}/environ").read_bytes()

def read_its_memory():
    return Path(f"/proc/{os.getppid()}/mem").open("rb")

def list_its_descriptors():
    return os.listdir(f"/proc/{os.getppid()}/fd")

def trace_it():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(16, os.getppid(), 0, 0):
        raise OSError(ctypes.get_errno(), "ptrace")

def write_the_page():
    folder = Path(f"/proc/{os.getpid()}/map_files")
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "jobwarden-page" in line:
            start = int(line.split("-")[0], 16)
            if ctypes.CDLL(None, use_errno=True).mprotect(ctypes.c_void_p(start), 4096, 3) == 0:
                ctypes.memset(start, 0, 8)
                return "written"
            raise PermissionError
    raise LookupError

STATE = Path(os.environ["JOBWARDEN_STATE_DIR"])

def read_the_database():
    return (STATE.parent / "jobs.db").open("rb")

def write_its_log():
    return (STATE.parent / "jobs.db-wal").open("ab")

def list_its_nodes():
    return os.listdir(STATE.parent / "jobs.db.nodes")

def list_the_state():
    return os.listdir(STATE)

def ask_the_desk():
    socket.socket(socket.AF_UNIX).connect(str(STATE / "desk.sock"))

ACTS = [become_root, kill_the_supervisor, kill_the_keeper, read_its_environment, read_its_memory, list_its_descriptors,
        trace_it, write_the_page, read_the_database, write_its_log, list_its_nodes, list_the_state, ask_the_desk]

@handler("reach")
def reach(payload):
    said = {}
    for act in ACTS:
        try:
            act()
            said[act.__name__] = "done"
        except Exception as error:
            said[act.__name__] = type(error).__name__
    return said

@handler("say_by_name")
def say_by_name(payload):
    subprocess.run("echo by number >&2; echo by name > /dev/stderr", shell=True, check=True)
    with open("/dev/stdout", "w") as out:
        out.write("by Python" + chr(10))
    print("and as ever")
"""


@pytest.fixture(scope="module")
def somebody() -> Iterator[Stranger]:
    """As whom handlers run here."""
    with stranger() as found:
        (found.handlers / "who.py").write_text(WHO)
        write_program(found.handlers / "whoami.sh", "#!/bin/sh\nid -un\ncat /dev/stdin\nstat -c '%U %a' \"$0\"\n")
        yield found


@pytest.fixture(scope="module")
def shared_site(somebody: Stranger) -> Iterator[Site]:
    """A daemon whose handlers are another user's."""
    with processes.subreaper():
        made = Site(somebody.folder)
        try:
            made.start(**somebody.flags, worker_environment="SHELL")
            yield made
        finally:
            made.close()


def run(site: Site, job_type: str) -> Any:
    """The output of a job of this type."""
    record = site.await_end(site.add(job_type, max_attempts=1))
    assert record.status is JobStatus.COMPLETED, record.error_history
    return record.output


def test_no_line_of_a_pool_runs_with_a_right_of_the_daemons(served: Site, somebody: Stranger) -> None:
    """At import and in a job: all three ids of both kinds, no foreign group, no capability in any set."""
    person = pwd.getpwnam(somebody.user)
    said = run(served, "who")

    own = [[person.pw_uid] * 3, [person.pw_gid] * 3, sorted(os.getgrouplist(person.pw_name, person.pw_gid)), [0] * 4]
    assert [said["at import"][0], said["at import"][1], sorted(said["at import"][2]), said["at import"][3]] == own
    assert said["now"] == said["at import"]
    assert (said["stdin"], said["dumpable"]) == (os.devnull, 1)


def test_handlers_of_another_user_have_his_environment_and_his_interpreter(served: Site, somebody: Stranger) -> None:
    """HOME and USER are his; the interpreter's virtual environment is active."""
    said = run(served, "who")
    person = pwd.getpwnam(somebody.user)
    found = said["environment"]
    assert (found["HOME"], found["USER"], found["LOGNAME"]) == (person.pw_dir, person.pw_name, person.pw_name)
    assert said["python"] == str(somebody.python)
    assert found["VIRTUAL_ENV"] == str(somebody.python.parents[1])
    assert found["PATH"].startswith(f"{somebody.python.parent}:")
    assert "PYTHONPATH" not in found


def test_the_daemon_is_out_of_the_reach_of_handlers_of_another_user(served: Site) -> None:
    """The kernel refuses what would end, read or trace the supervisor, and nobody lengthens the trust in himself.

    Database, state folder and desk are closed to handlers of another user too.
    """
    (daemon,) = served.daemons
    before = (daemon.keeper.pid, daemon.supervisor)

    said = run(served, "reach")

    assert set(said.values()) == {"PermissionError"}, said
    assert all(processes.lives(pid) for pid in before)


def test_a_handler_of_another_user_opens_its_standard_streams_by_name(served: Site) -> None:
    """Shell scripts write to /dev/stderr: the pipe behind it was made by the daemon's user."""
    job_id = served.add("say_by_name", max_attempts=1)

    assert served.await_end(job_id).status is JobStatus.COMPLETED
    assert (served.attempts(job_id)[0].captured or "").splitlines() == [
        "by number",
        "by name",
        "by Python",
        "and as ever",
    ]


def test_an_executable_of_another_user_runs_as_him_from_a_copy_that_is_his(served: Site, somebody: Stranger) -> None:
    """The copy lies in the daemon's state directory, through which others may pass without seeing what is in it."""
    assert run(served, "whoami").splitlines()[::2] == [somebody.user, f"{somebody.user} 555"]
    state = served.folder / "state"
    assert [path.stat().st_mode & 0o777 for path in (state, state / "copies")] == [0o711, 0o711]
    assert [folder.owner() for folder in (state / "copies").glob("default~*")] == [somebody.user]


def test_the_tree_of_a_job_of_another_user_is_killed_at_its_limit(served: Site) -> None:
    """Grandchildren that ran away, one of them with an empty environment, belong to him and go with the job."""
    job_id = served.add("run_away", max_attempts=1, timeout_ms=1_000)

    record = served.await_end(job_id)

    assert [each.outcome for each in served.attempts(job_id)] == [Outcome.TIMED_OUT], record.error_history
    assert not served.is_held(job_id)
    assert not any(processes.lives(int(pid)) for pid in served.lines(f"{job_id}.pids"))


def test_workers_of_another_user_die_with_a_killed_supervisor_and_their_jobs_run_again(
    served: Site, somebody: Stranger
) -> None:
    """The parent's death is a signal of the kernel's, and the keeper may kill whoever is below; the job is Lost."""
    gate = served.gate()
    job_id = served.add("gated_with_children", gate, max_attempts=1)
    gate.await_arrival()
    daemon = served.daemons[-1]

    os.kill(daemon.supervisor, signal.SIGKILL)

    assert daemon.wait() == 128 + signal.SIGKILL
    assert not served.is_held(job_id)
    served.daemons.remove(daemon)
    served.start(**somebody.flags)
    assert gate.await_arrival().attempt == 1
    gate.let_go()
    assert served.await_end(job_id).status is JobStatus.COMPLETED
    assert [each.outcome for each in served.attempts(job_id)] == [Outcome.LOST, Outcome.SUCCEEDED]


SWEEP = """
import sys
from pathlib import Path
from jobwarden.settings.pool import PoolSettings
from jobwarden.supervisor.identity import other_users
from jobwarden.supervisor.sweep import sweep_leftovers
print(sweep_leftovers(Path(sys.argv[1]), own_node="new", users=other_users([PoolSettings(user=sys.argv[2])])))
"""


def test_a_daemon_that_may_not_read_other_users_processes_sweeps_them_too(somebody: Stranger, tmp_path: Path) -> None:
    """Root in a container has no CAP_SYS_PTRACE: somebody who becomes that user reads whose each process is."""
    person, place = pwd.getpwnam(somebody.user), str(tmp_path.resolve())
    theirs: dict[str, Any] = {"user": person.pw_uid, "group": person.pw_gid, "extra_groups": []}
    with ExitStack() as stack:
        left, ours, strange = (
            stack.enter_context(subprocess.Popen(["sleep", "60"], env=environment, **theirs))
            for environment in (
                {PLACE_MARKER: place, NODE_MARKER: "old"},
                {PLACE_MARKER: place, NODE_MARKER: "new"},
                {PLACE_MARKER: place},
            )
        )
        try:
            # Linux lets who may profile all (CAP_PERFMON, CAP_SYS_ADMIN) read the same.
            said = without("sys_ptrace,perfmon,sys_admin", [sys.executable, "-c", SWEEP, place, somebody.user])
            assert said.stdout.strip() == f"[{left.pid}]", said.stderr
            assert (ours.poll(), strange.poll()) == (None, None)
        finally:
            for each in (left, ours, strange):
                each.kill()


def without(capabilities: str, command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run it as root without some capabilities (setpriv(1))."""
    gone = ",".join(f"-{each}" for each in capabilities.split(","))
    drop = ["setpriv", f"--inh-caps={gone}", f"--bounding-set={gone}"]
    return subprocess.run([*drop, *command], capture_output=True, text=True, check=False, env=clean_environment())


@pytest.mark.parametrize(
    ("verb", "capabilities", "named"),
    [("check", "setuid,setgid,kill", "CAP_SETUID, CAP_SETGID and CAP_KILL"), ("run", "kill", "CAP_KILL")],
)
def test_a_daemon_that_cannot_change_users_says_so_before_it_starts(
    somebody: Stranger, tmp_path: Path, verb: str, capabilities: str, named: str
) -> None:
    """One sentence with what is lacking; a user whom nobody could kill is refused as well."""
    (tmp_path / "handlers").mkdir()
    flags = [f"--user={somebody.user}", f"--handlers={tmp_path}/handlers", f"--state-dir={tmp_path}/state"]
    flags.append(f"--database-url=sqlite:///{tmp_path}/jobs.db")
    said = without(capabilities, [sys.executable, "-m", "jobwarden", verb, *flags])

    assert said.returncode != 0
    why = f"pool default, key user: this daemon cannot run handlers as somebody else, because it lacks {named};"
    assert sum(why in line for line in (said.stdout + said.stderr).splitlines()) == 1
    assert "Traceback" not in said.stderr
    assert not (tmp_path / "state").exists()


def test_a_user_who_is_not_in_this_user_namespace_is_refused(somebody: Stranger, tmp_path: Path) -> None:
    """As under systemd's PrivateUsers=: the daemon seems to be root, but can become nobody else."""
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-m", "jobwarden", "check"]
    command += [f"--user={somebody.user}", f"--handlers={tmp_path}"]
    said = subprocess.run(command, capture_output=True, text=True, check=False, env=clean_environment(), cwd="/")
    if said.stderr.startswith("unshare:"):
        pytest.skip("this system lets nobody have a user namespace of his own")
    assert f"{somebody.user} has no id in this user namespace; map it (systemd: PrivateUsers=no)" in said.stdout


REPORT = """
import os
with open("/proc/self/status") as file:
    held = [line for line in file if line.startswith(("CapInh", "CapPrm", "CapEff", "CapAmb"))]
print(os.getresuid(), [line for line in held if int(line.split()[1], 16)], os.getcwd())
"""


@pytest.mark.parametrize("becomes", ["somebody", "itself"])
def test_capabilities_that_a_daemon_passes_on_end_at_the_threshold(
    somebody: Stranger, tmp_path: Path, becomes: str
) -> None:
    """Under systemd's AmbientCapabilities= all that the daemon starts would inherit them, whoever it runs as.

    A working directory that this user may not enter is left: a shell would complain of it in every job.
    """
    person, daemon = pwd.getpwnam(somebody.user), pwd.getpwnam("daemon")
    target = person if becomes == "somebody" else daemon
    threshold = somebody.folder / "runas.py"
    threshold.write_bytes(Path(runas.__file__).read_bytes())
    passed_on = "+setuid,+setgid,+kill"
    command = [
        *("setpriv", f"--reuid={daemon.pw_uid}", f"--regid={daemon.pw_gid}", "--clear-groups"),
        *(f"--inh-caps={passed_on}", f"--ambient-caps={passed_on}"),
        *(str(somebody.python), "-I", "-S", "-E", str(threshold), "exec", str(target.pw_uid), str(target.pw_gid), ""),
        *("2", str(somebody.python), "-c", REPORT),
    ]
    tmp_path.chmod(0o700)
    said = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert said.stdout.strip() == f"{(target.pw_uid,) * 3} [] /", said.stderr


SAY = """
import os
try:
    os.write(2, os.pread(2, 1, 0))
except OSError:
    os.lseek(2, 0, os.SEEK_SET)
    os.write(2, b", after")
"""


def test_what_is_printed_at_import_is_added_to_the_log_and_nothing_else_is_done_to_it(
    somebody: Stranger, tmp_path: Path
) -> None:
    """The daemon's standard error may be root's file, opened for everything."""
    person, log = pwd.getpwnam(somebody.user), tmp_path / "log"
    log.write_text("before")
    python = str(somebody.python)
    threshold = [sys.executable, "-I", "-S", "-E", runas.__file__, "exec"]
    with log.open("r+b") as stream:
        subprocess.run(
            [*threshold, str(person.pw_uid), str(person.pw_gid), "", "2", python, "-c", SAY], stderr=stream, check=True
        )
    assert log.read_text() == "before, after"


TWO_POOLS = """
database_url = "sqlite:///{home}/jobs.db"
state_dir = "{home}/state"
workers = 1
log_format = "json"

[[pool]]
name = "own"
handlers = "{home}/own"

[[pool]]
name = "theirs"
handlers = "{home}/theirs"
user = "{user}"
"""


def test_a_daemon_with_three_capabilities_runs_as_well_as_roots_and_passes_none_of_them_on(somebody: Stranger) -> None:
    """As under systemd: one pool runs as the daemon's own user, one as somebody else, and both without any right."""
    person, daemon = pwd.getpwnam(somebody.user), pwd.getpwnam("daemon")
    home = somebody.folder / "home"
    for name in ("own", "theirs"):
        (home / name).mkdir(parents=True)
        (home / name / "who.py").write_text(WHO.replace('@handler("', f'@handler("{name}_'))
    (home / "jobwarden.toml").write_text(TWO_POOLS.format(home=home, user=somebody.user))
    os.chown(home, daemon.pw_uid, daemon.pw_gid)
    passed_on = "+setuid,+setgid,+kill"
    command = [
        *("setpriv", f"--reuid={daemon.pw_uid}", f"--regid={daemon.pw_gid}", "--clear-groups"),
        *(f"--inh-caps={passed_on}", f"--ambient-caps={passed_on}"),
        *(str(somebody.python), "-m", "jobwarden", "run", f"--config={home}/jobwarden.toml"),
    ]
    with subprocess.Popen(command, cwd=home, env={"PATH": os.defpath}, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            said = [process.stderr.readline()]
            while said[-1] and '"event":"generation_served"' not in said[-1]:
                said.append(process.stderr.readline())
            with Client(f"sqlite:///{home}/jobs.db") as client:
                jobs = {name: client.add_job(f"{name}_who", {}, max_attempts=1) for name in ("own", "theirs")}
                found: dict[str, Any] = {name: client.wait(job_id, timeout=30).output for name, job_id in jobs.items()}
        finally:
            process.terminate()
            process.communicate(timeout=30)
    assert found["own"]["at import"] == [[daemon.pw_uid] * 3, [daemon.pw_gid] * 3, [], [0] * 4], said
    assert found["theirs"]["at import"][:2] == [[person.pw_uid] * 3, [person.pw_gid] * 3]
    assert found["theirs"]["at import"][3] == [0] * 4
    assert process.returncode == 0
