"""`jobwarden logs`, `drain` and `backup`, and what an upgrade does to a store that older daemons work on."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config

from jobwarden import __version__
from jobwarden.client import Client
from jobwarden.errors import SchemaInUseError, SchemaMismatchError
from jobwarden.jobs import AttemptFacts, JobOptions
from jobwarden.store import StoreOptions, migrations, open_store
from jobwarden.store.dialects import dialect_for
from jobwarden.store.life import hold_node, lock_path
from jobwarden.store.migrations import older
from tests.support.played_node import NAME, PlayedNode
from tests.support.shell import Shell


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'jobs.db'}"


@pytest.fixture
def shell(url: str, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(url, capsys)


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as opened:
        yield opened


@pytest.fixture
def node(url: str) -> Iterator[PlayedNode]:
    with PlayedNode(url) as played:
        yield played


def two_attempts(client: Client, node: PlayedNode) -> None:
    """Job 1 failed once and then did it, and printed something."""
    client.add_job("digest", {}, retry_delay=0, max_attempts=5)
    node.fail(node.take_one(), error="the disk\x1b[31m is full")
    printed = AttemptFacts(captured="line one\n\x1b]0;title\x07two\n", left_behind=["sleep (7)"])
    node.complete(node.take_one(), facts=printed)


def test_the_logs_of_a_job_are_what_its_attempts_printed_and_why_they_ended(
    shell: Shell, client: Client, node: PlayedNode
) -> None:
    """Errors, stacks and what was left behind too; a terminal obeys nothing of it."""
    two_attempts(client, node)
    first, second = shell.call("logs", "1").split("== attempt ")[1:]
    assert first.startswith("1: failed, ")
    assert first.splitlines()[1:] == ["-- error:", "the disk\\x1b[31m is full"]
    assert second.startswith("2: succeeded, ")
    assert second.splitlines()[1:] == [
        *("-- printed:", "line one", "\\x1b]0;title\\x07two"),
        *("-- left behind:", "sleep (7)"),
    ]


def test_one_attempt_is_chosen_by_its_number_or_as_the_last(shell: Shell, client: Client, node: PlayedNode) -> None:
    """The number is the one that `show` prints; another one is refused with those that there are."""
    two_attempts(client, node)
    (chosen,) = shell.json("logs", "1", "--attempt", "1")["attempts"]
    assert (chosen["fence"], chosen["error"]) == (1, "the disk\x1b[31m is full")
    assert shell.call("logs", "1", "--attempt=-1").startswith("== attempt 2: succeeded")
    shell.call("logs", "1", "--attempt", "3", code=2)
    assert "job 1 has no ended attempt 3; it has 1, 2" in shell.stderr


def test_a_job_that_has_printed_nothing_yet_is_told_of(shell: Shell, client: Client, node: PlayedNode) -> None:
    """Waiting, running, unknown: each has its sentence, on standard error."""
    client.add_job("digest")
    assert shell.call("logs", "1") == ""
    assert "job 1 has no attempt on record" in shell.stderr
    node.take_one()
    assert shell.call("logs", "1") == ""
    assert f"job 1 runs on {NAME}; what it prints now is kept when the attempt ends" in shell.stderr
    shell.call("logs", "9", code=2)
    shell.call("logs", "1", "--follow", "--attempt", "1", code=2)


def test_following_a_job_tells_each_attempt_once_and_ends_with_the_job(shell: Shell, client: Client, url: str) -> None:
    """From the ones that are over already to the last."""
    client.add_job("digest", {}, retry_delay=0, max_attempts=3)

    def play() -> None:
        with PlayedNode(url) as node:
            node.fail(node.take_one(), error="a")
            node.fail(node.take_one(), error="b")
            node.complete(node.take_one())

    playing = threading.Thread(target=play)
    playing.start()
    told = shell.lines("logs", "1", "--follow", "--json")
    playing.join()
    assert [(each["fence"], each["error"]) for each in told] == [(1, "a"), (2, "b"), (3, None)]


def test_a_drain_waits_until_nothing_runs_and_nothing_new_starts(shell: Shell, client: Client, url: str) -> None:
    """The pause stays behind it, and it says how to go on."""
    client.add_jobs([JobOptions(job_type="digest")] * 2)
    taken, go, drained = threading.Event(), threading.Event(), threading.Event()
    later: list[object] = []

    def play() -> None:
        with PlayedNode(url) as node:
            job = node.take_one()
            taken.set()
            go.wait(60)
            node.complete(job)
            drained.wait(60)
            later.extend(node.take())

    playing = threading.Thread(target=play)
    playing.start()
    assert taken.wait(60)
    assert shell.json("drain", "--timeout", "0", code=1) == {"idle": False, "running": [1]}
    told = shell.call("drain", "--timeout", "0", "--reason", "upgrade", code=1)
    assert told.startswith(f"still running: 1 (digest, on {NAME}); nothing new starts until `jobwarden resume`")
    assert "1 job still runs" in shell.stderr
    go.set()
    assert shell.call("drain") == "idle: no job runs; nothing new starts until `jobwarden resume`\n"
    drained.set()
    playing.join()
    assert later == []


@pytest.mark.parametrize("paused", [("pause", "--reason", "mine"), ("pause", "--reason", "mine", "--until", "+1h")])
def test_a_drain_leaves_a_pause_for_good_as_it_is_and_prolongs_one_for_a_time(
    shell: Shell, paused: tuple[str, ...]
) -> None:
    """A reason that somebody wrote is kept; one that ends by itself would end the drain too."""
    shell.call(*paused)
    shell.call("drain")
    (control,) = shell.json("controls")["controls"]
    assert control["pausedUntil"] is None
    assert control["pauseReason"] == ("drain" if "--until" in paused else "mine")


def test_a_backup_is_the_database_of_one_moment(
    shell: Shell, client: Client, node: PlayedNode, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """While others write; it is whole, for its owner only, one file, and opens as a store; what ran is freed there."""
    client.add_jobs([JobOptions(job_type="digest", payload="x" * 5_000) for _ in range(2_000)])
    node.take_one()
    copy = tmp_path / "copies" / "backup.db"
    copy.parent.mkdir()
    over = threading.Event()

    def write_on() -> None:
        with Client(f"sqlite:///{tmp_path / 'jobs.db'}") as other:
            while not over.is_set():
                other.add_job("digest")

    writing = threading.Thread(target=write_on)
    writing.start()
    told = shell.json("backup", str(copy))
    over.set()
    writing.join()
    assert told == {"file": str(copy), "bytes": copy.stat().st_size}
    assert (copy.stat().st_mode & 0o777, [each.name for each in copy.parent.iterdir()]) == (0o600, ["backup.db"])
    with closing(sqlite3.connect(copy)) as opened:
        assert opened.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        (ids,) = opened.execute("SELECT max(id) - count(*) FROM job").fetchone()
        assert ids == 0, "a later job is there without an earlier one"
    counts = Shell(f"sqlite:///{copy}", capsys).json("counts")
    assert counts["counts"]["digest"]["processing"] == 1


def test_a_backup_takes_no_file_s_place_and_makes_no_database(shell: Shell, client: Client, tmp_path: Path) -> None:
    """Not another file's, not the database's own, not through a link; a wrong URL copies nothing."""
    client.add_job("digest")
    (tmp_path / "taken").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("taken", "link", "jobs.db"):
        shell.call("backup", str(tmp_path / name), code=1)
        assert "is there already" in shell.stderr
    assert (tmp_path / "taken").read_text() == "mine"
    shell.call("backup", str(tmp_path / "no" / "folder.db"), code=1)
    assert "No such file or directory" in shell.stderr
    Shell(f"sqlite:///{tmp_path / 'typo.db'}", shell._capsys).call("backup", str(tmp_path / "new.db"), code=1)  # noqa: SLF001
    assert not (tmp_path / "typo.db").exists()
    assert [each.name for each in tmp_path.iterdir() if ".part" in each.name] == []


@pytest.mark.parametrize(
    ("url", "tool"), [("postgresql://u@h/d", "pg_dump"), ("mariadb://u@h/d", "mariadb-dump")], ids=["pg", "mariadb"]
)
def test_a_server_is_copied_by_its_own_program(
    url: str, tool: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which the refusal names; the server is not asked for it."""
    shell = Shell(url, capsys)
    shell.call("backup", str(tmp_path / "x"), code=1)
    assert f"{tool} --" in shell.stderr


# upgrades


def database_of(revision: str, url: str) -> None:
    """A database as that revision left it."""
    dialect = dialect_for(url, StoreOptions())
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    with dialect.engine.begin() as connection:
        config.attributes.update(connection=connection, applied=[])
        command.upgrade(config, revision)
    dialect.close()


def add_node(url: str, *, age_seconds: int = 0) -> None:
    """A row of version 0.0.9, with the columns that there always were."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as opened, opened:
        opened.execute(
            "INSERT INTO node (id, name, host, boot_id, pid, state_dir, started_at, beat, beat_at, lease_seconds,"
            " version) VALUES ('old', 'host:1', 'host', 'b', 1, 's', 0, 1,"
            " (unixepoch() - ?) * 1000000, 15.0, '0.0.9')",
            (age_seconds,),
        )


def test_each_revision_is_known_as_adding_or_changing() -> None:
    """Whoever writes one has to decide whether older daemons may go on under it."""
    known = sorted([*older.ADDING, *older.CHANGING])
    files = sorted(path.name[:4] for path in (Path(migrations.__file__).parent / "versions").glob("0*.py"))
    assert files == known


def test_a_migration_waits_for_older_daemons_that_could_not_go_on(url: str, shell: Shell, tmp_path: Path) -> None:
    """Both versions and the way out are named, nothing is changed; when they are gone it is done."""
    database_of("0001", url)
    add_node(url, age_seconds=3_600)
    folder = tmp_path / "jobs.db.nodes"
    folder.mkdir()
    life = hold_node(lock_path(folder, "old"))
    with pytest.raises(SchemaInUseError, match=r"jobwarden 0\.0\.9 on host:1 works with schema 0001"):
        open_store(url)
    shell.call("migrate", code=1)
    assert "0001 and cannot with 0" in shell.stderr
    assert "jobwarden drain" in shell.stderr
    os.close(life)
    assert shell.call("migrate").startswith(f"schema {migrations.HEAD}: applied 0002")


def test_a_node_without_a_lock_may_live_as_long_as_its_beat_is_young(url: str) -> None:
    """On a server there is nothing else to go by."""
    database_of("0001", url)
    add_node(url)
    with pytest.raises(SchemaInUseError):
        open_store(url)
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as opened, opened:
        opened.execute("UPDATE node SET beat_at = beat_at - 60000000")
    open_store(url).close()


def test_a_migration_that_only_adds_is_done_under_older_daemons(url: str) -> None:
    """They go on: what was added is nothing to them."""
    database_of("0002", url)
    add_node(url)
    store = open_store(url)
    assert store.schema_revision() == migrations.HEAD
    store.close()


def test_a_newer_schema_is_refused_with_the_versions_of_both_sides(url: str) -> None:
    """The one that made it is noted in the database itself; what was asked is this version."""
    open_store(url).close()
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as opened, opened:
        (made_by,) = opened.execute("PRAGMA user_version").fetchone()
        assert made_by == sum(int(n) * 1_000**i for i, n in enumerate(reversed(__version__.split("."))))
        opened.execute("PRAGMA user_version = 7010000")
        opened.execute("UPDATE alembic_version SET version_num = '7777'")
    both = rf"schema is 7777, of jobwarden 7\.10\.0, this version, {__version__}, needs {migrations.HEAD}"
    with pytest.raises(SchemaMismatchError, match=both):
        open_store(url)
    with pytest.raises(SchemaMismatchError, match=both):
        open_store(url, migrate=False)
