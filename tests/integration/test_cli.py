"""The commands about jobs, called in this process: what they print and with which code they end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest

from jobwarden import __version__
from jobwarden.cli.entry import enter
from jobwarden.client import Client
from jobwarden.clock import SECOND_US, SYSTEM_CLOCK
from jobwarden.jobs import AttemptFacts, JobStatus
from tests.support.played_node import NAME, PlayedNode
from tests.support.shell import Shell

LIMIT_SECONDS = 30


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


def test_add_prints_the_id(shell: Shell) -> None:
    """The id alone for people and shells, an object with `--json`."""
    assert shell.call("add", "digest", '{"path": "a"}') == "1\n"
    assert shell.json("add", "digest") == {"id": 2}


def test_add_takes_every_option_of_a_job(shell: Shell) -> None:
    """Each flag arrives in the record."""
    shell.call("add", "digest", "--tag", "early")
    words = (
        "--priority=-3 --run-at 2030-01-31T08:00:00Z --timeout-ms 5000 --force-kill-on-timeout --max-attempts 7 "
        "--retry-delay 1.5 --no-retry-backoff --retry-delay-max 9 --tag a --tag b --idempotency-key k "
        "--idempotency-ttl forever --group g --expires-in 5m --heartbeat-timeout-ms 900 --dead-letter failed_digest "
        '--depends-on 1:run --depends-on-tag early --metadata {"team":1}'
    )
    job_id = shell.json("add", "digest", "[1, 2]", *words.split())["id"]
    job = shell.json("show", str(job_id))["job"]
    assert {name: job[name] for name in ("payload", "priority", "runAt", "timeoutMs", "forceKillOnTimeout")} == {
        "payload": [1, 2],
        "priority": -3,
        "runAt": "2030-01-31T08:00:00Z",
        "timeoutMs": 5000,
        "forceKillOnTimeout": True,
    }
    assert (job["maxAttempts"], job["retryDelay"], job["retryBackoff"], job["retryDelayMax"]) == (7, 1.5, False, 9)
    assert (job["tags"], job["idempotencyKey"], job["metadata"]) == (["a", "b"], "k", {"team": 1})
    assert (job["groupId"], job["deadLetterJobType"], job["heartbeatTimeoutMs"]) == ("g", "failed_digest", 900)
    assert (job["dependsOnJobIds"], job["dependsOnTags"]) == ([1], ["early"])
    assert _seconds_between(job["createdAt"], job["expiresAt"]) == 300
    assert shell.call("add", "digest", "--idempotency-key", "k") == f"{job_id}\n"


def _seconds_between(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


@pytest.mark.parametrize("words", ["90", "90s", "1.5m"])
def test_a_length_of_time_has_a_unit_or_is_in_seconds(shell: Shell, words: str) -> None:
    """As for `--expires-in` and `--idempotency-ttl`."""
    shell.call("add", "digest", "--expires-in", words, "--idempotency-key", "k", "--idempotency-ttl", words)
    job = shell.json("show", "1")["job"]
    assert _seconds_between(job["createdAt"], job["expiresAt"]) == 90


def test_a_prerequisite_that_fails_has_the_consequence_that_was_asked_for(shell: Shell) -> None:
    """`--depends-on ID` cancels the dependent, `ID:run` runs it, `ID:fail` fails it."""
    shell.call("add", "digest")
    for consequence in ("", ":run", ":fail"):
        shell.call("add", "report", "--depends-on", f"1{consequence}")
    shell.call("cancel", "1")
    assert [shell.json("show", each)["job"]["status"] for each in "234"] == ["cancelled", "pending", "failed"]


@pytest.mark.parametrize(("words", "seconds"), [("+90s", 90), ("+5m", 300), ("+2h", 7_200), ("+1d", 86_400)])
def test_a_job_can_be_put_off_from_now(shell: Shell, client: Client, words: str, seconds: int) -> None:
    """`--run-at +5m` means five minutes after the call."""
    shell.call("add", "digest", "--run-at", words)
    record = client.get_job(1)
    assert record is not None
    assert abs((record.run_at - record.created_at).total_seconds() - seconds) < 30


def test_a_payload_comes_from_a_file(shell: Shell, client: Client, tmp_path: Path) -> None:
    """`@file` reads the JSON of the payload from that file."""
    path = tmp_path / "payload.json"
    path.write_text('{"ü": [true, null]}', encoding="utf-8")
    shell.call("add", "digest", f"@{path}")
    record = client.get_job(1)
    assert record is not None
    assert record.payload == {"ü": [True, None]}


def test_add_can_wait_for_the_output(shell: Shell, client: Client, node: PlayedNode) -> None:
    """`--wait` prints id and output, and the exit code tells whether the job completed."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(_run_next, client, node, output='{"size": 3}')
        assert shell.call("add", "digest", "--wait", "--wait-timeout", str(LIMIT_SECONDS)) == '1\n{"size": 3}\n'
        pool.submit(_run_next, client, node, output='"x"')
        answer = shell.json("add", "digest", "--wait")
    assert (answer["id"], answer["job"]["status"], answer["job"]["output"]) == (2, "completed", "x")


def test_waiting_for_a_job_that_fails_is_a_failure(shell: Shell, client: Client, node: PlayedNode) -> None:
    """The exit code is 1 and standard error says why in one sentence."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(_run_next, client, node, error="no such file")
        shell.call("add", "digest", "--wait", code=1)
    assert shell.stderr == "jobwarden: job 1 is failed: no such file\n"


def test_waiting_can_be_limited(shell: Shell, client: Client) -> None:
    """After `--wait-timeout` the exit code is 1, and the job goes on."""
    shell.call("add", "digest", "--wait", "--wait-timeout", "0.01", code=1)
    assert shell.stderr == "jobwarden: job 1 has not ended within 0.01 s; it goes on\n"
    record = client.get_job(1)
    assert record is not None
    assert not record.ended


def test_list_shows_what_is_asked_for(shell: Shell, client: Client, node: PlayedNode) -> None:
    """Filters by status, type and tags; `--limit` and `--offset` cut pages; the newest comes first."""
    client.add_job("digest", tags=["a"])
    client.add_job("digest", tags=["a", "b"])
    client.add_job("report")
    node.complete(node.take_one())

    def ids(*words: str) -> list[int]:
        return [job["id"] for job in shell.json("list", *words)["jobs"]]

    assert ids() == [3, 2, 1]
    assert ids("--status", "completed") == [1]
    assert ids("--type", "digest", "--tag", "a", "--tag", "b") == [2]
    assert ids("--limit", "1", "--offset", "1") == [2]
    assert ids("--status", "cancelled") == []
    lines = shell.call("list").splitlines()
    assert [line.split()[0] for line in lines] == ["id", "3", "2", "1"]


def test_show_tells_everything_to_people(shell: Shell, client: Client, node: PlayedNode) -> None:
    """Record, attempts, errors, events and captured output have their chapters."""
    client.add_job("digest", {"path": "a"}, tags=["urgent"])
    node.fail(node.take_one(), error="first try failed")
    client.retry_job(1)
    node.complete(node.take_one(), output="[1]", facts=AttemptFacts(worker_pid=77, captured="hello\n"))
    text = shell.call("show", "1")
    for words in ("completed", "urgent", '{"path": "a"}', "first try failed", "retried", "77", "hello", "[1]"):
        assert words in text


def test_a_terminal_does_not_obey_what_a_job_prints(shell: Shell, client: Client, node: PlayedNode) -> None:
    """Control characters, and what looks like markup, are shown and not interpreted."""
    client.add_job("digest", metadata={"x": "[red]"})
    job = node.take_one()
    node.complete(job, facts=AttemptFacts(captured="\x1b]0;owned\x07 [bold]loud[/bold] \x9b2J"))
    text = shell.call("show", "1")
    assert "\\x1b]0;owned\\x07 [bold]loud[/bold] \\x9b2J" in text
    assert not {"\x1b", "\x07", "\x9b"} & set(text)


def test_cancel_and_retry_say_what_became_of_the_job(shell: Shell) -> None:
    """Both answer with the job's new state."""
    shell.call("add", "digest")
    assert shell.call("cancel", "1", "--reason", "not needed") == "job 1 is cancelled\n"
    assert shell.call("retry", "1") == "job 1 runs again\n"
    assert shell.json("cancel", "1")["job"]["status"] == "cancelled"
    shell.call("cancel", "1", code=2)
    assert shell.stderr == "jobwarden: job 1 is cancelled, so it cannot be cancelled\n"


def test_cancelling_a_running_job_says_that_it_was_asked(shell: Shell, client: Client, node: PlayedNode) -> None:
    """It is not dead yet; `--wait` waits until it is."""
    client.add_job("digest")
    node.take_one()
    assert shell.call("cancel", "1") == "job 1 was asked to stop\n"
    shell.call("cancel", "1", "--wait", "--wait-timeout", "0.01", code=1)
    node.obey_wishes()
    assert shell.json("show", "1")["job"]["status"] == JobStatus.CANCELLED


def test_status_shows_daemons_slots_and_queues(shell: Shell, client: Client, node: PlayedNode) -> None:
    """What a supervisor reports of itself, what runs since when, and how much waits."""
    client.add_job("digest")
    client.add_job("digest")
    client.add_job("report")
    job = node.take_one()
    slot = {"slot": 1, "pid": 99, "state": "busy", "generation": 3, "stuck": True, "job_id": job.id}
    node.tell({"generation": 3, "kill_level": "tree", "problem": "bad.py: no", "slots": [slot]})
    answer = shell.json("status")
    assert answer["queue"] == {"digest": {"pending": 1, "processing": 1}, "report": {"pending": 1}}
    assert [(run["id"], run["jobType"], run["locked_by"]) for run in answer["running"]] == [(1, "digest", NAME)]
    (daemon,) = answer["nodes"]
    assert (daemon["name"], daemon["report"]["slots"]) == (NAME, [slot])
    assert answer["problems"] == [f"{NAME}: bad.py: no", f"{NAME}: worker 99 was killed but does not die"]
    assert answer["controls"] == []
    text = shell.call("status")
    for words in (NAME, "tree", "busy", "report", "processing", "bad.py: no"):
        assert words in text


def test_status_has_a_line_for_each_of_several_pools(shell: Shell, node: PlayedNode) -> None:
    """Whose code is which, and how busy it is; of one pool alone the daemon's own line says it all."""
    quick = {"name": "quick", "generation": 2, "workers": 4, "backlog": 0, "types": ["digest", "mail"], "problems": []}
    heavy = {"name": "heavy", "generation": 7, "workers": 1, "backlog": 3, "types": [], "problems": ["v.py:3: no"]}
    slots = [{"slot": 1, "pool": "heavy", "pid": 7, "state": "busy", "generation": 7, "job_id": 5}]
    node.tell({"slots": slots, "pools": [quick, heavy]})
    lines = [line.split() for line in shell.call("status").splitlines()]
    assert [NAME, "quick", "2", "0", "of", "4", "0", "digest,", "mail"] in lines
    assert [NAME, "heavy", "7", "1", "of", "1", "3", "none"] in lines
    node.tell({"slots": slots, "pools": [quick]})
    assert "waiting for a worker" not in shell.call("status")


def test_status_says_when_maintenance_was_done_and_what_it_did(shell: Shell, node: PlayedNode) -> None:
    """The last round, and the last one that found anything to do: one line."""
    now_us = SYSTEM_CLOCK.now_us()
    done = {"removed": 1234, "expired": 2}
    node.tell({"maintenance": {"at_us": now_us, "done": done, "done_at_us": now_us - 600 * SECOND_US}})
    (line,) = [line for line in shell.call("status").splitlines() if line.startswith("maintenance")]
    assert f"by {NAME}" in line
    assert line.endswith("; 10 m 0 s ago: removed 1,234, expired 2")


def test_status_of_an_idle_store_says_that_nobody_works(shell: Shell) -> None:
    """Without a daemon that is the first thing to know."""
    assert shell.call("status") == "no daemon runs on this store; start one with `jobwarden run`\n"


def test_migrate_makes_the_tables_once(shell: Shell) -> None:
    """The first call applies the revisions, the second finds nothing to do."""
    first = shell.json("migrate")
    assert first["applied"][-1] == first["revision"]
    assert shell.call("migrate") == f"schema {first['revision']}: nothing to do\n"


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """As a command, as an option and as JSON."""
    assert [enter(["version"]), enter(["--version"]), enter(["version", "--json"])] == [0, 0, 0]
    out = capsys.readouterr().out.splitlines()
    assert out == [f"jobwarden {__version__}", f"jobwarden {__version__}", json.dumps({"version": __version__})]


def test_the_database_is_named_by_flag_variable_file_or_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The flag wins over JOBWARDEN_DATABASE_URL, that over the config file, that over the default."""
    monkeypatch.chdir(tmp_path)
    Path("my.toml").write_text('database_url = "sqlite:///file.db"\n', encoding="utf-8")

    def database_of(*words: str) -> str:
        before = set(tmp_path.glob("*.db"))
        assert enter(["add", "digest", *words]) == 0
        (made,) = set(tmp_path.glob("*.db")) - before
        return made.name

    monkeypatch.delenv("JOBWARDEN_DATABASE_URL", raising=False)
    assert database_of() == "jobwarden.db"
    assert database_of("--config", "my.toml") == "file.db"
    monkeypatch.setenv("JOBWARDEN_DATABASE_URL", "sqlite:///variable.db")
    assert database_of("--config", "my.toml") == "variable.db"
    assert database_of("--config", "my.toml", "--database-url", "sqlite:///flag.db") == "flag.db"
    capsys.readouterr()


def _run_next(client: Client, node: PlayedNode, *, output: str | None = None, error: str | None = None) -> None:
    """Play a daemon for the next job that is added."""
    bell = client.store.bell
    assert bell is not None
    ear = bell.listen("node")
    ear.settimeout(LIMIT_SECONDS)
    claimed = node.take()
    while not claimed:
        ear.recv(64)
        claimed = node.take()
    bell.leave(ear)
    if error:
        node.fail(claimed[0], error=error, permanent=True)
    else:
        node.complete(claimed[0], output=output)
