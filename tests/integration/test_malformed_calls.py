"""Must show 8 of issue 3: malformed calls of the client and the command line get one sentence and change nothing.

Beyond `test_cli_mistakes.py`, which has the calls of the daemon's first version: filters, edits, limits, pauses,
dependencies, pages, cursors, upkeep; against a database in which jobs are in every state.
"""

from __future__ import annotations

import os
import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jobwarden.cli.entry import enter
from jobwarden.client import Client
from jobwarden.errors import InvalidJobError, InvalidSettingsError, JobStateError, JobwardenError, UnknownJobError
from jobwarden.jobs import DependsOn, JobChanges, JobFilter, JobOptions, Outcome
from jobwarden.store import StoreOptions, open_store
from tests.store.scene import Scene

Call = Callable[[Any], object]
"""Takes a Client; Any, because these calls are none that a type checker would let pass."""

NAIVE = datetime(2030, 1, 1)  # noqa: DTZ001
LATER = datetime(2100, 1, 1, tzinfo=UTC)
SECRET = {"password": "s3cret", "list": ["s3cret"]}
PENDING, RUNNING, COMPLETED, FAILED, RETRYING, CANCELLED, UNKNOWN = 1, 2, 3, 4, 5, 6, 99
JARGON = re.compile(
    r"Input should|pydantic|validation error|constrained|Field required|function-|msgspec|sqlalchemy|sqlite3?\.|"
    r"Traceback|<class|object at 0x|NoneType|ValueError|TypeError|type=|literal\[|Extra inputs",
    re.IGNORECASE,
)

DEEP: Any = "s3cret"
for _ in range(300):
    DEEP = {"a": DEEP}
LOOP: list[Any] = ["s3cret"]
LOOP.append(LOOP)


def batch(*depends: object) -> list[JobOptions]:
    """Jobs of one call, each with what it depends on."""
    return [JobOptions(job_type="digest", depends_on=DependsOn.model_validate({"jobIds": each})) for each in depends]


INVALID_CALLS: dict[str, Call] = {
    # adding
    "payload with a secret and NaN": lambda c: c.add_job("digest", {**SECRET, "x": float("nan")}),
    "payload with a secret and an object": lambda c: c.add_job("digest", {**SECRET, "x": object()}),
    "payload with a secret and bytes": lambda c: c.add_job("digest", {"x": b"s3cret\xff"}),
    "payload with a secret and a key that is a number": lambda c: c.add_job("digest", {1: "s3cret", (2, 3): 4}),
    "deep payload with a secret": lambda c: c.add_job("digest", DEEP),
    "payload that contains itself": lambda c: c.add_job("digest", LOOP),
    "large payload with a secret": lambda c: c.add_job("digest", ["s3cret"] * 200_000),
    "large metadata": lambda c: c.add_job("digest", metadata={"x": "s3cret" * 200_000}),
    "deep metadata": lambda c: c.add_job("digest", metadata=DEEP),
    "metadata with NUL": lambda c: c.add_job("digest", metadata={"x": "s3cret\0"}),
    "unknown option": lambda c: c.add_job("digest", colour="s3cret"),
    "option in another spelling": lambda c: c.add_job("digest", maxattempts=3),
    "attempts in words": lambda c: c.add_job("digest", max_attempts="three"),
    "attempts and a half": lambda c: c.add_job("digest", max_attempts=1.5),
    "true as attempts": lambda c: c.add_job("digest", max_attempts=True),
    "too many attempts": lambda c: c.add_job("digest", max_attempts=10_001),
    "true as priority": lambda c: c.add_job("digest", priority=True),
    "true as limit of time": lambda c: c.add_job("digest", timeout_ms=True),
    "text as limit of time": lambda c: c.add_job("digest", timeout_ms="5s"),
    "endless limit of time": lambda c: c.add_job("digest", timeout_ms=2**41),
    "no heartbeat": lambda c: c.add_job("digest", heartbeat_timeout_ms=0),
    "maybe as force": lambda c: c.add_job("digest", force_kill_on_timeout="maybe"),
    "backoff in words": lambda c: c.add_job("digest", retry_backoff="exponential"),
    "delay without a number": lambda c: c.add_job("digest", retry_delay=float("nan")),
    "longest delay below zero": lambda c: c.add_job("digest", retry_delay_max=-1),
    "delay of years": lambda c: c.add_job("digest", retry_delay=10**12),
    "expired before it came": lambda c: c.add_job("digest", expires_in=0),
    "expiry below zero": lambda c: c.add_job("digest", expires_in=-5),
    "expiry in words": lambda c: c.add_job("digest", expires_in="soon"),
    "key that holds for no time": lambda c: c.add_job("digest", idempotency_key="k", idempotency_ttl=0),
    "key that holds for another word": lambda c: c.add_job("digest", idempotency_key="k", idempotency_ttl="always"),
    "key that is a number": lambda c: c.add_job("digest", idempotency_key=7),
    "key with a surrogate": lambda c: c.add_job("digest", idempotency_key="\ud800"),
    "dead letter without a type": lambda c: c.add_job("digest", dead_letter_job_type=""),
    "group with NUL": lambda c: c.add_job("digest", group_id="a\0b"),
    "endless group": lambda c: c.add_job("digest", group_id="g" * 256),
    "naive moment": lambda c: c.add_job("digest", run_at=NAIVE),
    "moment before time": lambda c: c.add_job("digest", run_at=datetime(1969, 1, 1, tzinfo=UTC)),
    "moment after time": lambda c: c.add_job("digest", run_at=datetime(9999, 12, 31, tzinfo=UTC)),
    "tags in a dict": lambda c: c.add_job("digest", tags={"a": 1}),
    "number among tags": lambda c: c.add_job("digest", tags=["a", 1]),
    # dependencies
    "depends on a text": lambda c: c.add_job("digest", depends_on="1"),
    "depends on a number": lambda c: c.add_job("digest", depends_on=1),
    "depends on a field that is not known": lambda c: c.add_job("digest", depends_on={"jobs": [1]}),
    "depends on job zero": lambda c: c.add_job("digest", depends_on={"jobIds": [0]}),
    "depends on a half": lambda c: c.add_job("digest", depends_on={"jobIds": [1.5]}),
    "depends on true": lambda c: c.add_job("digest", depends_on={"jobIds": [True]}),
    "depends on an unknown job": lambda c: c.add_job("digest", depends_on={"jobIds": [UNKNOWN]}),
    "depends on a removed number": lambda c: c.add_job("digest", depends_on={"jobIds": [2**62]}),
    "depends on itself": lambda c: c.add_job("digest", depends_on={"jobIds": [-1]}),
    "depends on a job beyond the batch": lambda c: c.add_jobs(batch([-2])),
    "circle of two": lambda c: c.add_jobs(batch([-2], [-1])),
    "circle of three behind a good one": lambda c: c.add_jobs(batch([], [-3], [-4], [-2])),
    "unknown rule for failures": lambda c: c.add_job(
        "digest", depends_on={"jobIds": [{"id": 1, "onParentFailure": "ignore"}]}
    ),
    "dependency without an id": lambda c: c.add_job("digest", depends_on={"jobIds": [{"onParentFailure": "run"}]}),
    "too many prerequisites": lambda c: c.add_job("digest", depends_on={"jobIds": list(range(1, 1_002))}),
    "barrier of a text": lambda c: c.add_job("digest", depends_on={"tags": "urgent"}),
    "barrier with an empty tag": lambda c: c.add_job("digest", depends_on={"tags": [""]}),
    "one bad job among good ones": lambda c: c.add_jobs([*batch([], []), *batch([UNKNOWN])]),
    "jobs in a dict": lambda c: c.add_jobs({"job_type": "digest"}),
    "jobs that are texts": lambda c: c.add_jobs(["digest"]),
    # reading
    "half an id": lambda c: c.get_job(1.0),
    "list as id": lambda c: c.get_job([1]),
    "nothing as id": lambda c: c.get_job_events(None),
    "negative id": lambda c: c.get_job_attempts(-1),
    "unknown filter": lambda c: c.get_jobs(colour="red"),
    "status that is none": lambda c: c.get_jobs(status="done"),
    "statuses of which one is none": lambda c: c.get_jobs(status=["failed", "done"]),
    "status that is a number": lambda c: c.get_jobs(status=3),
    "types in a dict": lambda c: c.get_jobs(job_type={"a": 1}),
    "priority above a word": lambda c: c.get_jobs(priority={"gt": "high"}),
    "priority beyond the database": lambda c: c.get_jobs(priority={"gt": 2**70}),
    "priority with a sign that is none": lambda c: c.get_jobs(priority={">": 5}),
    "true as priority to find": lambda c: c.get_jobs(priority=True),
    "moment without a zone to find": lambda c: c.get_jobs(run_at={"lt": NAIVE}),
    "moment in words to find": lambda c: c.get_jobs(created_at={"gte": "yesterday"}),
    "tags as a text to find": lambda c: c.get_jobs(tags="urgent"),
    "way of tags that is none": lambda c: c.get_jobs(tags=["a"], tag_mode="some"),
    "group that is a number": lambda c: c.get_jobs(group_id=5),
    "ids of which one is zero": lambda c: c.get_jobs(ids=[1, 0]),
    "too many ids": lambda c: c.get_jobs(ids=list(range(1, 1_002))),
    "order that is none": lambda c: c.get_jobs(order="colour"),
    "order that is a number": lambda c: c.get_jobs(order=1),
    "limit and a half": lambda c: c.get_jobs(limit=1.5),
    "true as limit": lambda c: c.get_jobs(limit=True),
    "offset in words": lambda c: c.get_jobs(offset="0"),
    "filter that is a text": lambda c: c.get_jobs("digest"),
    "filter given twice": lambda c: c.get_jobs(JobFilter(), status="failed"),
    "cursor that is none": lambda c: c.get_page(cursor="s3cret"),
    "cursor that is a number": lambda c: c.get_page(cursor=5),
    "endless cursor": lambda c: c.get_page(cursor="x" * 5_000),
    "cursor of another order": lambda c: c.get_page(order="priority", cursor=c.get_page(limit=1).cursor),
    "cursor of events for jobs": lambda c: c.get_page(cursor=c.store.feed.now()),
    "cursor of jobs for events": lambda c: list(c.events(after=c.get_page(limit=1).cursor)),
    "count with an unknown filter": lambda c: c.count_jobs(colour="red"),
    # changing
    "edit of nothing": lambda c: c.edit_job(PENDING),
    "edit of an unknown field": lambda c: c.edit_job(PENDING, status="completed"),
    "edit of the id": lambda c: c.edit_job(PENDING, id=7),
    "edit with a naive moment": lambda c: c.edit_job(PENDING, run_at=NAIVE),
    "edit with a bad payload": lambda c: c.edit_job(PENDING, payload={**SECRET, "x": float("inf")}),
    "edit with a large payload": lambda c: c.edit_job(PENDING, payload="s3cret" * 200_000),
    "edit to no attempts": lambda c: c.edit_job(PENDING, max_attempts=0),
    "edit to a priority in words": lambda c: c.edit_job(PENDING, priority="s3cret"),
    "edit to tags as a text": lambda c: c.edit_job(PENDING, tags="urgent"),
    "edit of many to nothing": lambda c: c.edit_jobs({}, {}),
    "edit of many with a bad filter": lambda c: c.edit_jobs({"status": "done"}, {"priority": 1}),
    "edit of many with a bad change": lambda c: c.edit_jobs({"status": "pending"}, {"priority": 2**40}),
    "edit of many that is a list": lambda c: c.edit_jobs([1, 2], {"priority": 1}),
    "cancel with a reason that is a list": lambda c: c.cancel_job(PENDING, reason=["x"]),
    "cancel of many with a bad filter": lambda c: c.cancel_jobs(tag_mode="some"),
    "cancel of many with a word for a flag": lambda c: c.cancel_jobs(running="no"),
    "cancel and wait for a negative time": lambda c: c.cancel_job(PENDING, wait_seconds=-1),
    "retry of many with a bad filter": lambda c: c.retry_jobs(priority="high"),
    "retry of many with a word for a flag": lambda c: c.retry_jobs(dry_run="yes"),
    "replay with a bad filter": lambda c: c.replay_dead_letters(job_type=5),
    "clear with a bad filter": lambda c: c.clear_jobs(status="everything"),
    "removal of half an id": lambda c: c.remove_job(0.5),
    # operating
    "limit of nothing": lambda c: c.set_limit(max_running=1),
    "limit of both": lambda c: c.set_limit(job_type="digest", group_id="g", max_running=1),
    "limit that says nothing": lambda c: c.set_limit(job_type="digest"),
    "negative limit": lambda c: c.set_limit(job_type="digest", max_running=-1),
    "limit in words": lambda c: c.set_limit(job_type="digest", max_running="two"),
    "true as a limit": lambda c: c.set_limit(job_type="digest", max_running=True),
    "limit and a half of a group": lambda c: c.set_limit(group_id="g", max_running=1.5),
    "limit per node of a group": lambda c: c.set_limit(group_id="g", max_per_node=1),
    "rate without a window": lambda c: c.set_limit(job_type="digest", rate=5),
    "window without a rate": lambda c: c.set_limit(job_type="digest", rate_seconds=5),
    "rate of nothing": lambda c: c.set_limit(job_type="digest", rate=0, rate_seconds=1),
    "window of no time": lambda c: c.set_limit(job_type="digest", rate=5, rate_seconds=0),
    "window that is NaN": lambda c: c.set_limit(job_type="digest", rate=5, rate_seconds=float("nan")),
    "limit of all types": lambda c: c.set_limit(job_type="*", max_running=1),
    "limit of an empty type": lambda c: c.set_limit(job_type="", max_running=1),
    "pause of a number": lambda c: c.pause(7),
    "pause of an empty type": lambda c: c.pause(""),
    "pause until a naive moment": lambda c: c.pause("digest", until=NAIVE),
    "pause until yesterday": lambda c: c.pause("digest", until=datetime(2020, 1, 1, tzinfo=UTC)),
    "pause until a word": lambda c: c.pause("digest", until="tomorrow"),
    "pause for an endless reason": lambda c: c.pause("digest", reason="x" * 1_001),
    "resume of a list": lambda c: c.resume(["digest"]),
    "cleanup of negative days": lambda c: c.cleanup_old_jobs(-1),
    "cleanup of days in words": lambda c: c.cleanup_old_jobs("7"),
    "cleanup of NaN days": lambda c: c.cleanup_old_job_events(float("nan")),
    "reclaim of true minutes": lambda c: c.reclaim_stuck_jobs(True),  # noqa: FBT003
    "reclaim of endless minutes": lambda c: c.reclaim_stuck_jobs(float("inf")),
    "explanation of a text": lambda c: c.explain("1"),
    "wait for half an id": lambda c: c.wait(0.5),
    "wait for a time in words": lambda c: c.wait(COMPLETED, "long"),
    "events after a number": lambda c: list(c.events(after=7)),
    "listener of an unknown event": lambda c: c.on("job:exploded", print),
    "listener that is none": lambda c: c.on("job:failed", "print"),
}

REFUSED_CALLS: dict[str, tuple[type[JobwardenError], Call]] = {
    "cancel of an unknown job": (UnknownJobError, lambda c: c.cancel_job(UNKNOWN)),
    "retry of an unknown job": (UnknownJobError, lambda c: c.retry_job(UNKNOWN)),
    "edit of an unknown job": (UnknownJobError, lambda c: c.edit_job(UNKNOWN, priority=1)),
    "removal of an unknown job": (UnknownJobError, lambda c: c.remove_job(UNKNOWN)),
    "explanation of an unknown job": (UnknownJobError, lambda c: c.explain(UNKNOWN)),
    "wait for an unknown job": (UnknownJobError, lambda c: c.wait(UNKNOWN, 0)),
    "cancel of a completed job": (JobStateError, lambda c: c.cancel_job(COMPLETED)),
    "cancel of a cancelled job": (JobStateError, lambda c: c.cancel_job(CANCELLED)),
    "cancel of a job that has failed for good": (JobStateError, lambda c: c.cancel_job(FAILED)),
    "retry of a pending job": (JobStateError, lambda c: c.retry_job(PENDING)),
    "retry of a running job": (JobStateError, lambda c: c.retry_job(RUNNING)),
    "retry of a completed job": (JobStateError, lambda c: c.retry_job(COMPLETED)),
    "edit of a running job": (JobStateError, lambda c: c.edit_job(RUNNING, priority=1)),
    "edit of a completed job": (JobStateError, lambda c: c.edit_job(COMPLETED, payload=1)),
    "edit of a cancelled job": (JobStateError, lambda c: c.edit_job(CANCELLED, priority=1)),
    "edit of a job that has failed for good": (JobStateError, lambda c: c.edit_job(FAILED, priority=1)),
    "removal of a running job": (JobStateError, lambda c: c.remove_job(RUNNING)),
    "URL that is a number": (InvalidSettingsError, lambda _: Client(7)),  # type: ignore[arg-type]
    "URL of another kind": (InvalidSettingsError, lambda _: Client("postgers://me:s3cret@host/db").get_jobs()),
    "options without a type": (InvalidJobError, lambda _: JobOptions.parse(payload=SECRET)),
    "changes with an unknown field": (InvalidJobError, lambda _: JobChanges.parse(colour="s3cret")),
}


COMMANDS = [
    # adding
    "add digest --depends-on one",
    "add digest --depends-on 99",
    "add digest --depends-on 0",
    "add digest --depends-on 1:ignore",
    "add digest --depends-on 1:run --depends-on 1:fail",
    "add digest --depends-on-tag ''",
    "add digest --expires-in soon",
    "add digest --expires-in 0",
    "add digest --expires-in -5",
    "add digest --idempotency-key k --idempotency-ttl never",
    "add digest --idempotency-ttl 5m",
    "add digest --heartbeat-timeout-ms 0",
    "add digest --retry-delay-max -1",
    "add digest --dead-letter ''",
    "add digest --group ''",
    "add digest --metadata '{\"s3cret\": NaN}'",
    'add digest \'{"password": "s3cret", "x": Infinity}\'',
    'add digest \'{"password": "s3cret\'',
    "add digest @missing.json",
    # finding
    "list --status done",
    "list --tag-mode some --tag a",
    "list --priority high",
    "list --priority '>'",
    "list --priority '=>5'",
    "list --priority '>99999999999999999999999'",
    "list --run-at yesterday",
    "list --run-at '>2030-01-01T00:00:00'",
    "list --created-at '<never'",
    "list --order colour",
    "list --cursor s3cret",
    "list --id zero",
    "list --id 0",
    "list --limit 0",
    "list --limit 10001",
    "list --limit 1.5",
    "list --group ''",
    "list --where-type digest",
    "counts now",
    "explain",
    "explain one",
    "explain 99",
    "logs",
    "logs one",
    "logs 99",
    "logs 1 --attempt 7",
    "logs 1 --attempt last",
    "logs 1 --attempt 1 --follow",
    "drain --timeout soon",
    "drain --timeout nan",
    "drain --timeout -1",
    "drain digest",
    "backup",
    "backup a b",
    "explain 1 2",
    "events --after s3cret",
    "events --limit 0",
    "events --event exploded",
    # changing
    "edit 1",
    "edit",
    "edit 99 --priority 1",
    "edit one --priority 1",
    "edit 2 --priority 1",
    "edit 3 --priority 1",
    "edit 1 --priority high",
    'edit 1 --payload \'{"password": "s3cret\'',
    "edit 1 --payload '[\"s3cret\", NaN]'",
    "edit 1 --run-at 2030-01-01T00:00:00",
    "edit 1 --max-attempts 0",
    "edit 5 --max-attempts 1",
    "edit 1 --clear colour",
    "edit 1 --clear tags --tag a",
    "edit 1 --type digest --priority 1",
    "edit --priority 1",
    "edit --type later",
    "edit --status done --set 1",
    "edit --all --where-priority high --priority 1",
    "cancel",
    "cancel 99",
    "cancel 3",
    "cancel 1 --type later",
    "cancel 1 --all",
    "cancel --all --status done",
    "cancel 1 --reason ''",
    "retry",
    "retry 1",
    "retry 2",
    "retry 99",
    "retry 4 --dry-run",
    "retry --all --tag-mode most",
    "replay",
    "replay 99",
    "remove",
    "remove 2",
    "remove 99",
    "remove --all",
    "clear",
    "clear --all --status done",
    "clear 1",
    # operating
    "limit",
    "limit type",
    "limit colour red --max-running 1",
    "limit type digest",
    "limit type digest --max-running -1",
    "limit type digest --max-running two",
    "limit type digest --max-running 1.5",
    "limit type digest --rate 5",
    "limit type digest --per 5",
    "limit type digest --rate 5 --per 0",
    "limit type digest --rate 5 --per often",
    "limit type digest --rate 0 --per 1m",
    "limit type digest --clear --max-running 1",
    "limit group g --max-per-node 1",
    "limit type '*' --max-running 1",
    "limit type '' --max-running 1",
    "pause ''",
    "pause digest --until yesterday",
    "pause digest --until 2020-01-01T00:00:00Z",
    "pause digest --until 2030-01-01T00:00:00",
    "pause digest more",
    "resume digest more",
    "cleanup",
    "cleanup --older-than -1",
    "cleanup --older-than nan",
    "cleanup --older-than week",
    "reclaim",
    "reclaim --older-than -1",
    "reclaim --older-than inf",
    "run --once --burst",
    "run --limit 5",
    "run --once --limit 0",
    "run --once --type ''",
]
"""Lines of a shell."""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Jobs in every state; their ids stand at the top of this page."""
    path = tmp_path / "jobs.db"
    store = open_store(f"sqlite:///{path}", StoreOptions(synchronous="normal"))
    scene = Scene(store)
    scene.add("later", run_at=LATER, idempotency_key="held", tags=["urgent"], payload=SECRET)
    for job_type in ("running", "completed", "failed", "retrying"):
        scene.add(job_type, max_attempts=2)
    jobs = {job.job_type: job for job in scene.claim(types=("running", "completed", "failed", "retrying"))}
    scene.complete(jobs["completed"])
    scene.end(jobs["failed"], Outcome.FAILED, permanent=True)
    scene.end(jobs["retrying"], Outcome.FAILED, retry_after=10**6)
    scene.store.cancel(scene.add("cancelled"), now_us=scene.now_us)
    scene.writer.close()
    store.close()
    return path


@pytest.fixture
def client(database: Path) -> Iterator[Client]:
    with Client(f"sqlite:///{database}") as opened:
        assert [job.status for job in reversed(opened.get_jobs())] == [
            "pending",
            "processing",
            "completed",
            "failed",
            "failed",
            "cancelled",
        ]
        yield opened


def everything(database: Path) -> list[str]:
    """All that the database holds, as SQL."""
    with closing(sqlite3.connect(database)) as connection:
        return list(connection.iterdump())


def seen(folder: Path) -> set[str]:
    """Files; whoever listens makes the folder of the doorbell."""
    return {path.name for path in folder.iterdir() if path.suffix != ".doorbell"}


@pytest.mark.parametrize("call", INVALID_CALLS.values(), ids=INVALID_CALLS)
def test_a_malformed_call_is_one_sentence_and_changes_nothing(client: Client, database: Path, call: Call) -> None:
    """InvalidJobError, whatever is wrong with an argument; nobody's secrets, nobody else's words."""
    before = everything(database)
    with pytest.raises(InvalidJobError) as caught:
        call(client)
    assert_sentence(str(caught.value))
    assert everything(database) == before


@pytest.mark.parametrize(("kind", "call"), REFUSED_CALLS.values(), ids=REFUSED_CALLS)
def test_a_call_that_the_state_forbids_is_one_sentence_and_changes_nothing(
    client: Client, database: Path, kind: type[JobwardenError], call: Call
) -> None:
    """The error's class says what to do about it."""
    before = everything(database)
    with pytest.raises(kind) as caught:
        call(client)
    assert_sentence(str(caught.value))
    assert everything(database) == before


@pytest.mark.parametrize("line", COMMANDS)
def test_a_malformed_command_is_one_sentence_and_changes_nothing(
    client: Client, database: Path, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2, nothing on standard output, one line that begins with our name on standard error."""
    monkeypatch.setenv("JOBWARDEN_DATABASE_URL", client.store.url_shown)
    monkeypatch.chdir(database.parent)
    before, files = everything(database), seen(database.parent)
    assert enter(shlex.split(line)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("jobwarden: ")
    assert_sentence(err.removeprefix("jobwarden: ").removesuffix("\n"))
    assert everything(database) == before
    assert seen(database.parent) == files


@pytest.mark.parametrize("line", ["edit 1 --payload '[\"s3cret\", NaN]'", "list --cursor s3cret", "retry 2"])
def test_a_process_that_was_called_wrongly_says_so_too(database: Path, line: str) -> None:
    """As above, from the outside."""
    before = everything(database)
    run = subprocess.run(
        [sys.executable, "-m", "jobwarden", *shlex.split(line)],
        env={**os.environ, "JOBWARDEN_DATABASE_URL": f"sqlite:///{database}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout) == (2, "")
    assert_sentence(run.stderr.removeprefix("jobwarden: ").removesuffix("\n"))
    assert everything(database) == before


def assert_sentence(line: str) -> None:
    """One line for people, without what was in the payload."""
    assert 10 < len(line) < 400, line
    assert line.isprintable(), line
    assert "s3cret" not in line, line
    assert not JARGON.search(line), line
