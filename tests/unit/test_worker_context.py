"""What a `JobContext` says and asks, and what it does where nobody listens."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from jobwarden import JobContext
from jobwarden.errors import InvalidJobError, JobwardenError
from jobwarden.worker.line import Line
from jobwarden.worker.watch import call_at_ns


class Recorder(Line):
    """A line that keeps what goes over it and answers what it was told to."""

    def __init__(self, *, answer: object = None, stopped: bool = False) -> None:
        self.percents: list[float] = []
        self.beats = 0
        self.prolongs: list[int | None] = []
        self.asked: list[tuple[str, dict[str, object]]] = []
        self._answer = answer
        self._stopped = stopped

    @property
    def answers(self) -> bool:
        return True

    def progress(self, percent: float) -> None:
        self.percents.append(percent)

    def heartbeat(self) -> None:
        self.beats += 1

    def prolong(self, ms: int | None) -> bool:
        self.prolongs.append(ms)
        return False

    def is_stopped(self) -> bool:
        return self._stopped

    def ask(self, verb: str, arguments: str) -> str | None:
        self.asked.append((verb, msgspec.json.decode(arguments)))
        return msgspec.json.encode(self._answer).decode()


def test_progress_is_sent_at_most_every_fifty_milliseconds_and_the_last_one_always() -> None:
    """A tight loop costs few messages, and none of it hides where the job stopped."""
    line = Recorder()
    context = JobContext(line=line)
    for percent in range(101):
        context.set_progress(percent)
    assert line.percents[0] == 0
    assert len(line.percents) < 50
    context.flush_progress()
    context.flush_progress()
    assert line.percents[-1] == 100
    assert line.percents == sorted(set(line.percents))


def test_heartbeats_in_a_tight_loop_cost_few_messages() -> None:
    """The first is sent at once; progress that was just sent is a sign of life as well."""
    line = Recorder()
    context = JobContext(line=line, heartbeat_timeout_ms=60_000)
    for _ in range(1_000):
        context.heartbeat()
    assert 1 <= line.beats < 50
    other = Recorder()
    context = JobContext(line=other, heartbeat_timeout_ms=60_000)
    context.set_progress(1)
    context.heartbeat()
    assert (other.percents, other.beats) == ([1.0], 0)


def test_a_short_heartbeat_timeout_is_heard_in_time() -> None:
    """With a timeout of 4 ms, a sign of life may follow another after 1 ms."""
    line = Recorder()
    context = JobContext(line=line, heartbeat_timeout_ms=4)
    while line.beats < 3:
        context.heartbeat()
    while len(line.percents) < 3:
        context.set_progress(50)


@pytest.mark.parametrize(("ms", "lead_ms"), [(1_000, 100), (10_000, 1_000), (600_000, 1_000), (1, 0.1)])
def test_before_a_hard_kill_callbacks_come_a_tenth_of_the_limit_early(ms: int, lead_ms: float) -> None:
    """A second at most: afterwards there is nobody to call."""
    assert call_at_ns(7, ms) == 7 + int((ms - lead_ms) * 1_000_000)


@pytest.mark.parametrize("ms", [0, -1, 1.5, True, 2**41, "5"])
def test_prolong_takes_milliseconds(ms: object) -> None:
    """A positive whole number, or nothing."""
    line = Recorder()
    with pytest.raises(ValueError, match="prolong takes milliseconds"):
        JobContext(line=line).prolong(ms)  # type: ignore[arg-type]
    assert line.prolongs == []


def test_a_context_without_a_daemon_prolongs_beats_and_is_never_aborted() -> None:
    """Handlers are unit-tested with a context of their own."""
    context = JobContext()
    context.heartbeat()
    assert context.prolong()
    assert context.prolong(500)
    assert not context.aborted


def test_callbacks_are_kept_for_a_unit_test_to_call() -> None:
    """Without a daemon nobody calls them."""
    context = JobContext()
    context.on_timeout(lambda: 500)
    (callback,) = context.timeout_callbacks
    assert callback() == 500


def test_jobs_that_were_added_without_a_daemon_are_remembered() -> None:
    """Their ids count from 1, in the order of adding."""
    context = JobContext()
    assert context.add_job("mail", {"to": "a"}, priority=3) == 1
    assert context.add_jobs([{"job_type": "mail"}, {"job_type": "print", "payload": 1}]) == [2, 3]
    assert context.added[0] == {"job_type": "mail", "payload": {"to": "a"}, "priority": 3}
    assert [job["job_type"] for job in context.added] == ["mail", "mail", "print"]


def test_without_a_daemon_a_wrong_job_is_refused_all_the_same() -> None:
    """A unit test finds the slip, and nothing of the call is remembered."""
    context = JobContext()
    with pytest.raises(InvalidJobError, match="priority"):
        context.add_jobs([{"job_type": "mail"}, {"job_type": "mail", "priority": "high"}])
    assert context.added == []


def test_without_a_daemon_nothing_can_be_asked() -> None:
    """The sentence says why."""
    with pytest.raises(JobwardenError, match="get_job needs a running daemon"):
        JobContext().get_job(1)


def test_what_is_asked_goes_out_as_plain_json() -> None:
    """Dates, models and paths become what JSON has for them, as in an output."""
    line = Recorder(answer=[7])
    moment = datetime(2030, 1, 2, 3, 4, tzinfo=UTC)
    assert JobContext(line=line).add_job("mail", {"file": Path("a/b")}, run_at=moment, tags=("x",)) == 7
    assert line.asked == [
        (
            "add_jobs",
            {
                "jobs": [
                    {
                        "job_type": "mail",
                        "payload": {"file": "a/b"},
                        "run_at": "2030-01-02T03:04:00Z",
                        "tags": ["x"],
                    }
                ]
            },
        )
    ]


def test_filters_and_changes_travel_by_their_names() -> None:
    """Each verb's keyword arguments are one object."""
    line = Recorder(answer=[])
    context = JobContext(line=line)
    context.get_jobs(status="failed", limit=3)
    context.edit_job(4, priority=1, tags=None)
    context.cancel_job(5, reason="no more")
    context.retry_job(6)
    assert line.asked == [
        ("get_jobs", {"limit": 3, "offset": 0, "order": "-id", "filters": {"status": "failed"}}),
        ("edit_job", {"job_id": 4, "changes": {"priority": 1, "tags": None}}),
        ("cancel_job", {"job_id": 5, "reason": "no more"}),
        ("retry_job", {"job_id": 6}),
    ]


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (float("nan"), "payload: contains NaN"),
        (object(), "payload: cannot be written as JSON"),
        ("x" * 1_048_577, "payload: is more than 1048576 bytes"),
        ("\0", "payload: contains a NUL"),
    ],
)
def test_a_payload_that_cannot_travel_is_refused_on_the_spot(payload: object, problem: str) -> None:
    """The same error as a client would get; nothing is asked."""
    line = Recorder()
    with pytest.raises(InvalidJobError, match=problem):
        JobContext(line=line).add_job("mail", payload)
    assert line.asked == []


@pytest.mark.parametrize("job", [5, "mail", [("job_type", "mail")], {1: 2}])
def test_a_job_that_is_no_dict_is_refused(job: object) -> None:
    """The sentence names its place in the list."""
    with pytest.raises(InvalidJobError, match=r"jobs\[1\]: is a .*; give a dict of job_type"):
        JobContext(line=Recorder()).add_jobs([{"job_type": "mail"}, job])  # type: ignore[list-item]
