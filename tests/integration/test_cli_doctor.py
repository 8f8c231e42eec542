"""`jobwarden doctor` on this host and on SQLite files: each finding is provoked for real."""

from __future__ import annotations

import fcntl
import grp  # noqa: F401 - without root's rights it may be out of reach later
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from jobwarden.client import Client
from jobwarden.clock import SECOND_US, SYSTEM_CLOCK
from jobwarden.jobs import JobOptions
from jobwarden.store.dialects.sqlite import place
from jobwarden.store.dialects.sqlite.checkup import version
from tests.support.played_node import NAME, PlayedNode
from tests.support.rights import without_roots_rights
from tests.support.shell import Shell

Finding = dict[str, Any]
HOUR_US = 3_600 * SECOND_US

READER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN")
connection.execute("SELECT count(*) FROM job").fetchone()
print("reading", flush=True)
sys.stdin.read()
"""
"""A program of somebody else that leaves a read transaction open until its standard input ends."""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty current folder, and no options in the environment."""
    for variable in [name for name in os.environ if name.startswith("JOBWARDEN_")]:
        monkeypatch.delenv(variable)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A file with one job in it, which nobody has open: doctor is to be the only one in its process."""
    path = tmp_path / "jobs.db"
    with Client(f"sqlite:///{path}") as client:
        client.add_job("digest")
    return path


@pytest.fixture
def shell(database: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(f"sqlite:///{database}", capsys)


@pytest.fixture
def played(database: Path) -> None:
    """A node that is registered and has taken the job; it holds no lock file, so its beat speaks for it."""
    with PlayedNode(f"sqlite:///{database}") as node:
        node.take_one()


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A database in a folder that everybody may enter: pytest shuts its own ones, again with each session."""
    with tempfile.TemporaryDirectory(prefix="jw-shared-") as folder:
        Path(folder).chmod(0o755)
        monkeypatch.chdir(folder)
        with Client(f"sqlite:///{folder}/jobs.db") as client:
            client.add_job("digest")
        yield Path(folder) / "jobs.db"


def examined(shell: Shell, *words: str, code: int = 0) -> list[Finding]:
    """All findings."""
    answer = shell.json("doctor", *words, code=code)
    assert answer["ok"] is (code == 0)
    found: list[Finding] = answer["findings"]
    return found


def one(found: list[Finding], subject: str) -> Finding:
    """The only finding about this subject."""
    (finding,) = (each for each in found if each["subject"] == subject)
    return finding


def change(database: Path, statement: str, *values: object) -> None:
    """What nobody but a test does: write into the tables from outside."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(statement, values)


def dump(database: Path) -> list[str]:
    """All that the database holds."""
    with closing(sqlite3.connect(database)) as connection:
        return list(connection.iterdump())


def test_a_healthy_store_has_no_problem_and_is_left_as_it_is(shell: Shell, database: Path) -> None:
    """Exit code 0; whatever is not ok says why and what to do; nothing in the database has changed."""
    before = dump(database)
    found = examined(shell, "--thorough")
    assert {each["severity"] for each in found} <= {"ok", "notice"}
    assert all(each["why"] and each["do"] for each in found if each["severity"] != "ok")
    assert {"kernel", "kill-level", "sqlite-version", "file-system", "disk", "rights", "log"} <= subjects(found)
    assert {"schema", "integrity", "indexes", "nodes", "running", "clock"} <= subjects(found)
    assert dump(database) == before


def test_people_read_what_why_and_what_to_do(shell: Shell) -> None:
    """Lines are wrapped beside the severity; the last one counts."""
    lines = shell.call("doctor").splitlines()
    (number,) = (number for number, line in enumerate(lines) if line.startswith("notice   no daemon runs"))
    assert lines[number + 1].startswith("         why: ")
    assert lines[number + 2].startswith("         do: ")
    assert lines[-1].startswith("0 problems, 0 warnings, ")
    assert max(map(len, lines)) <= 120


def test_a_missing_database_is_told_and_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Looking for a store does not make one."""
    found = examined(Shell(f"sqlite:///{tmp_path}/none.db", capsys))
    assert one(found, "database")["severity"] == "notice"
    assert {"kernel", "file-system"} <= subjects(found)
    assert not (tmp_path / "none.db").exists()


def test_a_missing_folder_is_a_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing can ever be added there."""
    told = one(examined(Shell(f"sqlite:///{tmp_path}/no/jobs.db", capsys), code=1), "database")
    assert told["what"] == f"the folder {tmp_path}/no does not exist"


def test_a_file_that_may_not_be_written_is_a_problem(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is named; what else there is to see still appears."""
    shared.chmod(0o400)
    with without_roots_rights(str(shared.parent)):
        found = examined(Shell(f"sqlite:///{shared}", capsys), code=1)
    told = one(found, "rights")
    assert told["severity"] == "problem"
    assert str(shared) in told["what"]
    assert {"kernel", "file-system", "sqlite-version"} <= subjects(found)


def test_a_folder_that_may_not_be_entered_is_a_problem(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """There is no traceback where not even a look is allowed."""
    inner = shared.parent / "inner"
    inner.mkdir(mode=0o700)
    shared.rename(inner / "jobs.db")
    with without_roots_rights(str(shared.parent)):
        found = examined(Shell(f"sqlite:///{inner}/jobs.db", capsys), code=1)
    assert one(found, "place")["what"] == f"{inner}/jobs.db: Permission denied"
    assert {"kernel", "database"} <= subjects(found)


def test_a_file_that_everybody_may_read_is_a_notice(shell: Shell, database: Path) -> None:
    """Payloads are nobody else's business."""
    database.chmod(0o644)
    assert one(examined(shell), "rights")["do"] == f"chmod o-rwx '{database}'"


def test_folders_that_may_not_be_used_are_a_notice(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file may be written, but no daemon can be rung."""
    shared.chmod(0o666)
    bell = shared.with_name(f"{shared.name}.doorbell")
    bell.mkdir(mode=0o700, exist_ok=True)
    with without_roots_rights(str(shared.parent)):
        found = examined(Shell(f"sqlite:///{shared}", capsys), code=1)  # for its folder is everybody's
    assert any(each["what"].startswith(f"{bell} cannot be used by ") for each in found)


def test_an_old_schema_is_a_problem_and_stays(shell: Shell, database: Path) -> None:
    """The sentence of the daemon, with its way out; doctor does not migrate."""
    change(database, "UPDATE alembic_version SET version_num = '0001'")
    found = examined(shell, code=1)
    told = one(found, "schema")
    assert "schema is 0001, this version needs" in told["what"]
    assert told["do"] == "run `jobwarden migrate`"
    assert "kernel" in subjects(found)
    assert one(examined(shell, code=1), "schema") == told


def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The problem is named, and what needs no database is still told."""
    path = tmp_path / "letter.db"
    path.write_text("Dear reader, " * 500)
    found = examined(Shell(f"sqlite:///{path}", capsys), code=1)
    assert "not an SQLite database" in one(found, "database")["what"]
    assert "kernel" in subjects(found)


def test_a_missing_index_is_named_with_the_statement_that_makes_it(shell: Shell, database: Path) -> None:
    """What doctor says to do is what makes the finding go away."""
    change(database, "DROP INDEX job_claim")
    told = one(examined(shell), "indexes")
    assert (told["severity"], told["what"]) == ("warning", "missing: job_claim")
    change(database, told["do"].removeprefix("run in the database: "))
    assert one(examined(shell), "indexes")["severity"] == "ok"


def test_damage_is_found_when_asked_to_look_thoroughly(shell: Shell, database: Path) -> None:
    """A page that was overwritten is a problem with --thorough, and not looked for without."""
    with Client(f"sqlite:///{database}") as client:
        client.add_jobs([JobOptions(job_type="digest", payload={"text": "x" * 200}) for _ in range(500)])
    with closing(sqlite3.connect(database)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'job_claim'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with database.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xa5" * size)
    told = one(examined(shell, "--thorough", code=1), "integrity")
    assert told["severity"] == "problem"
    assert "integrity" not in subjects(examined(shell, code=0))


def test_a_stamp_from_the_future_is_a_stepped_clock(shell: Shell, database: Path) -> None:
    """The newest event is an hour ahead of this host."""
    change(database, "UPDATE event SET at = ?", SYSTEM_CLOCK.now_us() + HOUR_US)
    told = one(examined(shell), "clock")
    assert told["severity"] == "warning"
    assert "s ahead of this host's clock" in told["what"]


@pytest.mark.usefixtures("played")
def test_a_node_whose_clock_is_ahead_is_named(shell: Shell, database: Path) -> None:
    """Its beat bears a moment that has not come yet."""
    change(database, "UPDATE node SET beat_at = ?", SYSTEM_CLOCK.now_us() + HOUR_US)
    told = one(examined(shell), "clock")
    assert told["what"].startswith(f"{NAME} beat 3,")


@pytest.mark.usefixtures("played")
def test_a_dead_node_that_nobody_freed_is_named_with_what_it_holds(shell: Shell, database: Path) -> None:
    """It has been silent for longer than its lease, and there is no other daemon."""
    change(database, "UPDATE node SET beat_at = ?", SYSTEM_CLOCK.now_us() - HOUR_US)
    told = [each for each in examined(shell) if each["subject"] == "nodes"]
    assert [each["severity"] for each in told] == ["warning", "notice"]
    assert told[0]["what"].startswith(f"{NAME} on testhost has not beaten for 3,6")
    assert told[0]["what"].endswith("still holds 1 running job")


@pytest.mark.usefixtures("played")
def test_a_free_lock_is_a_dead_node_however_young_its_beat(shell: Shell, database: Path) -> None:
    """Where all nodes share a kernel, the flock is the life."""
    folder = database.with_name(f"{database.name}.nodes")
    folder.mkdir(exist_ok=True)
    (folder / "played.lock").touch()
    told = [each["what"] for each in examined(shell) if each["subject"] == "nodes"]
    assert any(text.startswith(f"{NAME} on testhost has not beaten") for text in told)


@pytest.mark.usefixtures("played")
def test_running_jobs_without_a_node_are_told(shell: Shell, database: Path) -> None:
    """Somebody has deleted the row; `reclaim` is the way out, and works."""
    change(database, "DELETE FROM node")
    assert one(examined(shell), "orphans")["what"] == "1 running job of nodes that are not in the store"
    shell.call("reclaim", "--older-than", "0")
    assert "orphans" not in subjects(examined(shell))


@pytest.mark.usefixtures("played")
def test_ready_jobs_of_a_type_that_nobody_serves_are_told(shell: Shell, database: Path) -> None:
    """By type, with their number; types that are served are not."""
    with Client(f"sqlite:///{database}") as client:
        client.add_jobs([JobOptions(job_type=name) for name in ("digest", "lonely", "lonely")])
    change(database, """UPDATE node SET types = '[{"jobType":"digest"}]'""")
    told = one(examined(shell), "handlers")
    assert told["what"] == "ready jobs of types that no daemon serves: lonely (2)"


@pytest.mark.usefixtures("played")
def test_a_job_beyond_its_timeout_is_told(shell: Shell, database: Path) -> None:
    """Its node should have killed it an hour ago."""
    began = SYSTEM_CLOCK.now_us() - HOUR_US
    change(database, "UPDATE job SET timeout_ms = 1000, locked_at = ?", began)
    assert one(examined(shell), "running")["what"] == "1 running job beyond the timeout: 1"
    change(database, "UPDATE job SET timeout_ms = 7200000")
    assert one(examined(shell), "running")["severity"] == "ok"


@pytest.mark.usefixtures("played")
def test_a_wish_that_nobody_obeys_is_told(shell: Shell, database: Path) -> None:
    """A cancel that was asked for an hour ago."""
    shell.call("cancel", "1")
    assert one(examined(shell), "running")["severity"] == "ok"
    change(database, "UPDATE job SET wish_at = ?", SYSTEM_CLOCK.now_us() - HOUR_US)
    assert one(examined(shell), "running")["what"] == "1 running job asked to stop minutes ago: 1"


@pytest.mark.usefixtures("played")
def test_maintenance_that_does_not_run_is_told(shell: Shell, database: Path) -> None:
    """A daemon lives, and the last round was due an hour ago."""
    change(database, "INSERT INTO maintenance VALUES ('round', ?)", SYSTEM_CLOCK.now_us() - HOUR_US)
    assert one(examined(shell), "maintenance")["what"].startswith("no round of maintenance for 60 minutes")


@pytest.mark.usefixtures("played")
def test_a_node_of_another_version_is_told(shell: Shell, database: Path) -> None:
    """Both versions are named."""
    change(database, "UPDATE node SET version = '0.0.9'")
    assert one(examined(shell), "versions")["what"].startswith(f"{NAME} is version 0.0.9, this is ")


@contextmanager
def reading(database: Path) -> Iterator[int]:
    """Another process that has just begun to read; its pid."""
    with subprocess.Popen(
        [sys.executable, "-c", READER, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdin is not None
        reader.stdout.readline()
        yield reader.pid
        reader.stdin.close()


@pytest.mark.parametrize("jobs_before", [0, 1])
def test_a_long_log_names_the_process_that_holds_it_up(shell: Shell, database: Path, jobs_before: int) -> None:
    """Whoever began to read before 36 MB of commits, with an empty log or with one in use; not who reads the newest."""
    with ExitStack() as stack:
        client = stack.enter_context(Client(f"sqlite:///{database}"))
        client.add_jobs([JobOptions(job_type="digest") for _ in range(jobs_before)])
        old = stack.enter_context(reading(database))
        for _ in range(36):
            client.add_job("digest", {"text": "x" * 1_000_000})
        client.close()  # doctor looks at the log's index, which must not be done beside a connection
        young = stack.enter_context(reading(database))
        told = one(examined(shell), "log")
    assert told["severity"] == "warning"
    assert f"process {old} (" in told["what"]
    assert f"process {young} (" not in told["what"]


@pytest.fixture
def mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Path], None]:
    """Plays the kernel's table of mounts: `kind` is mounted over `point`, everything else is ext4."""

    def write(kind: str, point: Path) -> None:
        table = tmp_path / "mountinfo"
        escaped = str(point).replace(" ", "\\040")
        table.write_text(
            f"1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:9 / {escaped} rw shared:5 - ext4 /dev/sdb rw\n"
            f"3 2 0:50 / {escaped} rw,relatime shared:9 - {kind} server:/jobs rw\n"
        )
        monkeypatch.setattr(place, "MOUNTS", table)

    return write


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "smb3", "ceph"])
def test_a_network_file_system_is_a_problem_and_refused(
    shell: Shell, database: Path, mount: Callable[[str, Path], None], kind: str
) -> None:
    """It is a finding, and every other command refuses the file with a sentence and the way out."""
    mount(kind, database.parent)
    assert one(examined(shell, code=1), "file-system")["severity"] == "problem"
    shell.call("add", "digest", code=1)
    assert f"lies on a network file system ({kind})" in shell.stderr
    assert "for many hosts use PostgreSQL" in shell.stderr


@pytest.mark.parametrize(("kind", "severity"), [("fuse.sshfs", "warning"), ("9p", "warning"), ("xfs", "ok")])
def test_other_file_systems_are_judged_by_their_kind(
    shell: Shell, database: Path, mount: Callable[[str, Path], None], kind: str, severity: str
) -> None:
    """Doubtful ones are a warning, and work."""
    mount(kind, database.parent)
    assert one(examined(shell), "file-system")["severity"] == severity
    shell.call("add", "digest")


def test_the_mount_of_a_path_is_the_last_over_its_longest_part(mount: Callable[[str, Path], None]) -> None:
    """A folder whose name begins like a mounted one is not below it; blanks in names are escaped by the kernel."""
    mount("nfs", Path("/srv/my jobs"))
    found = {name: place.mount_of(Path(name)) for name in ("/srv/my jobs/a.db", "/srv/my jobs2/a.db", "/srv/a.db")}
    assert {name: each and each.kind for name, each in found.items()} == {
        "/srv/my jobs/a.db": "nfs",
        "/srv/my jobs2/a.db": "ext4",
        "/srv/a.db": "ext4",
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_disk_that_is_nearly_full_is_a_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A real small file system."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(small)], check=False)
    if mounted.returncode:
        pytest.skip("this container may not mount")
    try:
        with Client(f"sqlite:///{small}/jobs.db") as client:
            client.add_job("digest")
        told = one(examined(Shell(f"sqlite:///{small}/jobs.db", capsys), code=1), "disk")
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert told["severity"] == "problem"
    assert told["what"].startswith(("7 MiB are free", "8 MiB are free"))


@pytest.mark.parametrize(
    ("found", "severity"),
    [
        ((3, 40, 1), "notice"),
        ((3, 44, 6), "ok"),
        ((3, 50, 6), "notice"),
        ((3, 50, 7), "ok"),
        ((3, 51, 2), "notice"),
        ((3, 51, 3), "ok"),
        ((3, 53, 0), "ok"),
    ],
)
def test_the_race_is_told_for_the_releases_that_have_it(found: tuple[int, int, int], severity: str) -> None:
    """Fixed in 3.51.3, and in two patches of older releases (sqlite.org/wal.html#walresetbug)."""
    assert version(found).severity == severity


def test_a_wrong_configuration_is_a_problem_beside_the_others(shell: Shell) -> None:
    """What is wrong with it is told as `check` tells it; the store is examined all the same."""
    Path("my.toml").write_text("worker = 3\n")
    found = examined(shell, "--config", "my.toml", code=1)
    assert one(found, "settings")["what"].startswith("my.toml, key worker: there is no such option")
    assert "schema" in subjects(found)


def test_an_unknown_database_is_one_problem(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing to connect to, and the host is examined all the same."""
    found = examined(Shell("oracle://host/jobs", capsys), code=1)
    assert [each["subject"] for each in found if each["severity"] == "problem"] == ["settings"]
    assert "kernel" in subjects(found)


def test_the_folder_of_a_daemon_that_runs_is_seen_as_held(tmp_path: Path, shell: Shell) -> None:
    """By the process that holds its lock; doctor itself takes no lock."""
    state = tmp_path / "state"
    state.mkdir()
    Path("my.toml").write_text(f'state_dir = "{state}"\n')
    with (state / "lock").open("w") as lock:
        assert one(examined(shell, "--config", "my.toml"), "state-folder")["what"].startswith("no daemon that can be")
        fcntl.flock(lock, fcntl.LOCK_EX)
        told = one(examined(shell, "--config", "my.toml"), "state-folder")["what"]
    assert told == f"{state} is held by a daemon (process {os.getpid()})"


def subjects(found: list[Finding]) -> set[str]:
    """What was looked at."""
    return {str(each["subject"]) for each in found}
