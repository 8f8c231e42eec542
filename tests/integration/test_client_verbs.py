"""The verbs of `Client` over many jobs and for operators, on a real SQLite file: what is given reaches the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobwarden.client import AsyncClient, Client
from jobwarden.clock import SYSTEM_CLOCK, to_datetime
from jobwarden.errors import InvalidJobError, InvalidSettingsError, JobStateError, UnknownJobError
from jobwarden.jobs import JobChanges, JobFilter, JobOptions, JobStatus
from tests.support.played_node import PlayedNode


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'jobs.db'}"


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as opened:
        yield opened


@pytest.fixture
def node(client: Client, url: str) -> Iterator[PlayedNode]:
    client.get_job(1)
    with PlayedNode(url) as played:
        yield played


def test_filters_are_keyword_arguments_or_a_ready_filter(client: Client) -> None:
    """All fields of JobFilter, plain values standing for lists and for equality; both ways find the same."""
    old = client.add_job("report", priority=1, tags=["a"], group_id="g")
    new = client.add_job("report", priority=5, tags=["a", "b"], run_at=datetime(2030, 1, 1, tzinfo=UTC))
    client.add_job("mail")
    assert ids(client.get_jobs(job_type="report")) == [new, old]
    assert ids(client.get_jobs(JobFilter(job_type=["report"]), order="id")) == [old, new]
    assert ids(client.get_jobs(priority={"gte": 5})) == [new]
    assert ids(client.get_jobs(run_at={"gt": datetime(2029, 1, 1, tzinfo=UTC)})) == [new]
    assert ids(client.get_jobs(tags=["a"], tag_mode="exact")) == [old]
    assert ids(client.get_jobs(group_id="g")) == ids(client.get_jobs(ids=old)) == [old]
    assert ids(client.get_jobs(order="-priority", limit=2)) == [new, old]
    assert client.count_jobs(job_type=["report", "mail"], status="pending") == 3
    assert client.counts() == {"report": {"pending": 2}, "mail": {"pending": 1}}


def test_pages_follow_each_other_while_jobs_come(client: Client) -> None:
    """The cursor of a page leads to the next one; the last page has none."""
    first = client.add_jobs([JobOptions(job_type="t")] * 5)
    page = client.get_page(limit=3)
    client.add_job("t")
    rest = client.get_page(limit=3, cursor=page.cursor)
    assert ids(page.jobs) + ids(rest.jobs) == first[::-1]
    assert (page.cursor is None, rest.cursor) == (False, None)


def test_one_job_is_edited(client: Client, node: PlayedNode) -> None:
    """What is named changes, None clears; a running job refuses."""
    job_id = client.add_job("digest", timeout_ms=5_000)
    record = client.edit_job(job_id, payload={"n": 2}, priority=7, timeout_ms=None, tags=["x"])
    assert (record.payload, record.priority, record.timeout_ms, record.tags) == ({"n": 2}, 7, None, ["x"])
    node.take_one()
    with pytest.raises(JobStateError):
        client.edit_job(job_id, priority=1)


def test_many_jobs_are_edited_by_filter(client: Client, node: PlayedNode) -> None:
    """A mapping or the models; running ones are counted and left alone."""
    client.add_jobs([JobOptions(job_type="digest")] * 3)
    running = node.take_one().id
    changed = client.edit_jobs({"job_type": "digest"}, {"priority": 4})
    assert (running in changed.ids, len(changed.ids), changed.running) == (False, 2, 1)
    assert client.edit_jobs(JobFilter.parse(priority=4), JobChanges(priority=6)).ids == changed.ids
    assert client.count_jobs(priority=6) == 2


def test_many_jobs_are_cancelled_by_filter(client: Client, node: PlayedNode) -> None:
    """What waits ends at once; what runs is only asked when that is wanted."""
    client.add_jobs([JobOptions(job_type="digest")] * 2)
    running = node.take_one().id
    assert client.cancel_jobs(JobFilter(), reason="enough").running == 1
    assert node.obey_wishes() == 0
    client.cancel_jobs(ids=running, running=True)
    assert node.obey_wishes() == 1
    assert client.count_jobs(status="cancelled") == 2


def test_many_jobs_are_retried_after_a_dry_run(client: Client, node: PlayedNode) -> None:
    """The dry run lists the same jobs and changes nothing."""
    lost = client.add_job("digest")
    node.fail(node.take_one(), error="no", permanent=True)
    assert client.retry_jobs(status="failed", dry_run=True) == [lost]
    assert client.count_jobs(status="failed") == 1
    assert client.retry_jobs(status="failed") == [lost]
    assert client.count_jobs(status="pending") == 1


def test_a_job_is_retried_with_those_that_ended_because_of_it(client: Client, node: PlayedNode) -> None:
    """Only when that is wanted; without, the dependents stay cancelled."""
    first = client.add_job("digest")
    second = client.add_job("digest", depends_on={"job_ids": [first]})
    node.fail(node.take_one(), error="no", permanent=True)
    assert client.get_jobs(status="cancelled")[0].id == second
    client.retry_job(first)
    assert client.count_jobs(status="cancelled") == 1
    node.fail(node.take_one(), error="no", permanent=True)
    client.retry_job(first, with_dependents=True)
    assert client.count_jobs(status="pending") == 2


def test_dead_letters_are_replayed(client: Client, node: PlayedNode) -> None:
    """The job that left one runs again."""
    job_id = client.add_job("digest", dead_letter_job_type="buried", max_attempts=1)
    node.fail(node.take_one(), error="no")
    assert client.replay_dead_letters(job_type="digest", dry_run=True) == [job_id]
    assert client.replay_dead_letters(job_type="digest") == [job_id]
    assert client.get_jobs(status="pending", job_type="digest")[0].id == job_id


def test_jobs_are_removed_one_and_all(client: Client, node: PlayedNode) -> None:
    """With their history; a running one is refused, or counted."""
    gone = client.add_job("digest")
    client.remove_job(gone)
    assert client.get_job_events(gone) == []
    with pytest.raises(UnknownJobError):
        client.remove_job(gone)
    client.add_jobs([JobOptions(job_type="digest")] * 3)
    running = node.take_one().id
    with pytest.raises(JobStateError):
        client.remove_job(running)
    cleared = client.clear_jobs(JobFilter())
    assert (len(cleared.ids), cleared.running) == (2, 1)
    assert ids(client.get_jobs()) == [running]


@pytest.mark.parametrize(
    "fields",
    [{}, {"ids": None}, {"tags": []}, {"tag_mode": "exact"}, {"created_at": {"lt": None}}, {"priority": {}}],
    ids=str,
)
def test_a_verb_for_many_jobs_wants_a_filter_that_says_something(client: Client, fields: dict[str, Any]) -> None:
    """A cutoff that happens to be None must not mean all jobs; `JobFilter()` does."""
    job_id = client.add_job("digest")
    calls: list[Callable[[], object]] = [
        lambda: client.clear_jobs(**fields),
        lambda: client.cancel_jobs(**fields),
        lambda: client.retry_jobs(**fields),
        lambda: client.replay_dead_letters(**fields),
        lambda: client.edit_jobs(fields, {"priority": 1}),
    ]
    for call in calls:
        with pytest.raises(InvalidJobError, match=r"^jobs: no filter says which are meant"):
            call()
    assert ids(client.get_jobs(status="pending", priority=0)) == [job_id]
    assert client.edit_jobs(JobFilter(), {"priority": 1}).ids == [job_id]


def test_limits_and_pauses_are_set_read_and_taken_away(client: Client) -> None:
    """They hold for all nodes and stay until they are changed."""
    client.set_limit(job_type="report", max_running=2, max_per_node=1)
    client.set_limit(group_id="*", rate=10, rate_seconds=60)
    client.set_limit(job_type="report", max_per_node=None)
    until = to_datetime(SYSTEM_CLOCK.now_us()) + timedelta(hours=1)
    assert client.pause("report", reason="repairs", until=until).pause_reason == "repairs"
    client.pause()
    shown = {(str(each.scope), each.name): each for each in client.get_controls()}
    assert shown["type", "report"].max_running == 2
    assert (shown["type", "report"].max_per_node, shown["type", "report"].paused_until) == (None, until)
    assert shown["group", "*"].rate == 10
    assert shown["all", "*"].paused_at is not None
    assert client.resume("report")
    assert client.resume()
    assert not client.resume()
    assert client.clear_limits(job_type="report")
    assert client.clear_limits(group_id="*")
    assert client.get_controls() == []


def test_old_jobs_and_events_are_removed_by_hand(client: Client, node: PlayedNode) -> None:
    """Only what has ended and is old enough; the numbers tell how many."""
    client.add_jobs([JobOptions(job_type="digest")] * 2)
    node.complete(node.take_one())
    assert client.cleanup_old_jobs(1) == 0
    assert client.cleanup_old_job_events(0) >= 1
    assert client.cleanup_old_jobs(0) == 1
    assert client.count_jobs() == 1


def test_stuck_jobs_are_asked_back_from_a_living_node(client: Client, node: PlayedNode) -> None:
    """Nothing is freed by its age; who holds it is asked, once it is old enough."""
    job_id = client.add_job("digest")
    node.take_one()
    assert client.reclaim_stuck_jobs(60).asked == []
    reclaimed = client.reclaim_stuck_jobs(0)
    assert (reclaimed.asked, reclaimed.freed) == ([job_id], [])
    assert client.get_jobs(status="processing")[0].id == job_id


def test_a_job_that_does_not_run_is_explained(client: Client) -> None:
    """For a known id an explanation, for another an error."""
    assert client.explain(client.add_job("digest")).status is JobStatus.PENDING
    with pytest.raises(UnknownJobError):
        client.explain(99)


def test_the_asynchronous_verbs_reach_the_store(url: str) -> None:
    """Those that are made from the verbs of `Client` take the same arguments and give the same answers."""

    async def use() -> None:
        async with AsyncClient(url) as client:
            job_id = await client.add_job("digest", tags=["x"])
            assert ids(await client.get_jobs(tags=["x"], order="id")) == [job_id]
            assert (await client.get_page(limit=1)).cursor is None
            assert (await client.edit_job(job_id, priority=3)).priority == 3
            assert (await client.edit_jobs({"ids": job_id}, {"priority": 4})).ids == [job_id]
            assert await client.count_jobs(priority=4) == 1
            await client.pause("digest", reason="r")
            assert [each.pause_reason for each in await client.get_controls()] == ["r"]
            assert (await client.cancel_jobs(ids=job_id)).ids == [job_id]
            assert await client.retry_jobs(JobFilter()) == [job_id]
            await client.remove_job(job_id)
            assert await client.counts() == {}
            with pytest.raises(InvalidJobError, match="limit: 0 is not possible"):
                await client.get_jobs(limit=0)

    asyncio.run(use())


MISTAKES: list[tuple[str, Callable[[Any], object]]] = [
    ("id: 0 is not possible", lambda client: client.get_job(0)),
    ("id: '7' is not possible", lambda client: client.get_job("7")),
    ("id: True is not possible", lambda client: client.wait(job_id=True)),
    ("limit: 10001 is not possible", lambda client: client.get_jobs(limit=10_001)),
    ("offset: -1 is not possible", lambda client: client.get_jobs(offset=-1)),
    ("order: 'age' is no order", lambda client: client.get_jobs(order="age")),
    ("order: 5 is no text", lambda client: client.get_jobs(order=5)),
    ("cursor: is no cursor", lambda client: client.get_page(cursor=7)),
    ("cursor: ", lambda client: client.get_page(cursor="nonsense")),
    ("status: 'x' is no status", lambda client: client.get_jobs(status="x")),
    ("limt: is not known here", lambda client: client.get_jobs(limt=5)),
    ("jobs: is a list", lambda client: client.get_jobs([1])),
    ("status: is given beside a ready filter", lambda client: client.get_jobs(JobFilter(), status="failed")),
    ("changes: name nothing", lambda client: client.edit_job(1)),
    ("changes: name nothing", lambda client: client.edit_jobs({}, {})),
    ("changes: is a int", lambda client: client.edit_jobs({}, 5)),
    ("priority: is no integer", lambda client: client.edit_job(1, priority="x")),
    ("running: is a str; give True or False", lambda client: client.cancel_jobs(running="no")),
    ("dry_run: is a int", lambda client: client.retry_jobs(dry_run=1)),
    ("with_dependents: is a NoneType", lambda client: client.retry_job(1, with_dependents=None)),
    ("reason: ", lambda client: client.cancel_job(1, reason="")),
    ("reason: is longer", lambda client: client.cancel_jobs(reason="x" * 1_001)),
    ("wait_seconds: -1 is no time", lambda client: client.cancel_job(1, wait_seconds=-1)),
    ("timeout: nan is no time", lambda client: client.wait(1, float("nan"))),
    ("job_type: give either job_type or group_id", lambda client: client.set_limit(max_running=1)),
    ("job_type: give either", lambda client: client.clear_limits(job_type="a", group_id="b")),
    ("limit: nothing to set", lambda client: client.set_limit(job_type="a")),
    ("max_running: ", lambda client: client.set_limit(job_type="a", max_running="x")),
    ("rate_seconds: ", lambda client: client.set_limit(job_type="a", rate=5)),
    ("max_per_node: ", lambda client: client.set_limit(group_id="a", max_per_node=5)),
    ("until: is a str", lambda client: client.pause(until="tomorrow")),
    ("until: is a moment without a time zone", lambda client: client.pause(until=datetime(2030, 1, 1))),  # noqa: DTZ001 - that is the mistake
    ("until: is in the past", lambda client: client.pause(until=datetime(2020, 1, 1, tzinfo=UTC))),
    ("job_type: ", lambda client: client.pause("")),
    ("days: ", lambda client: client.cleanup_old_jobs(-1)),
    ("days: ", lambda client: client.cleanup_old_job_events("x")),
    ("minutes: ", lambda client: client.reclaim_stuck_jobs(None)),
    ("jobs: is no list of JobOptions", lambda client: client.add_jobs("x")),
    ("jobs[0]: is a dict", lambda client: client.add_jobs([{"job_type": "a"}])),
    ("connection: is a int; give an SQLAlchemy Connection", lambda client: client.add_job("a", connection=5)),
    ("connection: is a str", lambda client: client.add_jobs([], connection="sqlite://")),
    ("stop: is a bool", lambda client: client.events(stop=True)),
    ("after: is no cursor", lambda client: client.events(5)),
    ("follow: is a str", lambda client: client.events(follow="yes")),
    ("idle_seconds: ", lambda client: client.events(idle_seconds=-1)),
    ("name: is no event to listen to; use job:added", lambda client: client.on("completed", print)),
    ("callback: is a str", lambda client: client.on("job:added", "x")),
]


@pytest.mark.parametrize(("sentence", "call"), MISTAKES, ids=[f"{n} {text}" for n, (text, _) in enumerate(MISTAKES)])
def test_a_wrong_argument_is_one_sentence_and_changes_nothing(
    client: Client, sentence: str, call: Callable[[Any], object]
) -> None:
    """It names the argument as the caller wrote it, and nothing was stored."""
    kept = client.add_job("digest")
    before = client.get_job(kept)
    with pytest.raises(InvalidJobError) as caught:
        call(client)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)
    assert client.get_job(kept) == before
    assert client.count_jobs() == 1
    assert client.get_controls() == []


def test_a_url_that_is_no_text_is_refused() -> None:
    """One sentence, not an error of some library much later."""
    with pytest.raises(InvalidSettingsError, match="url: is a int"):
        Client(5)  # type: ignore[arg-type]


def ids(jobs: list[Any]) -> list[int]:
    """Their ids, in order."""
    return [job.id for job in jobs]
