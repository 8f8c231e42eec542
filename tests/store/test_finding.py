"""Reading for people: records, filters, pages, what runs."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from sqlalchemy import update

from jobwarden.clock import SECOND_US, to_datetime
from jobwarden.errors import InvalidJobError
from jobwarden.jobs import JobFilter, JobStatus
from jobwarden.store import schema
from jobwarden.store.dialects import StoreOptions, dialect_for
from jobwarden.store.people.paging import ORDERS

from .scene import NAME, NODE, START_US, Scene


def ids(scene: Scene, **wanted: Any) -> list[int]:
    """The jobs that a filter finds, in the order in which they were added."""
    return [job.id for job in scene.store.bulk.find(JobFilter.parse(**wanted), order="id", limit=1000).jobs]


def all_states(scene: Scene) -> dict[str, int]:
    """One job in each state."""
    ended = scene.add_and_claim(max_attempts=1)
    scene.end(ended)
    retrying = scene.add_and_claim()
    scene.end(retrying)
    completed = scene.add_and_claim()
    scene.complete(completed)
    cancelled = scene.add()
    scene.store.cancel(cancelled, now_us=scene.now_us)
    running = scene.add_and_claim()
    return {
        "failed for good": ended.id,
        "retrying": retrying.id,
        "completed": completed.id,
        "cancelled": cancelled,
        "processing": running.id,
        "pending": scene.add(),
        "later": scene.add(run_at=to_datetime(scene.now_us + 3600 * SECOND_US)),
    }


def test_find_takes_all_filters_together(scene: Scene) -> None:
    """Status, type and all of the tags."""
    both = scene.add(tags=["x", "y"])
    scene.add(tags=["x"])
    scene.add("other", tags=["x", "y"])
    scene.add()
    assert [job.id for job in scene.store.find(job_type="work", tags=["y", "x"])] == [both]
    assert [job.id for job in scene.store.find(tags=["X"])] == []
    assert scene.store.find(status=JobStatus.COMPLETED) == []


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ("pending", ["pending", "later"]),
        ("processing", ["processing"]),
        ("completed", ["completed"]),
        ("failed", ["failed for good", "retrying"]),
        ("retrying", ["retrying"]),
        ("cancelled", ["cancelled"]),
        ("waiting", []),
        ("ended", ["failed for good", "completed", "cancelled"]),
        (["pending", "processing"], ["processing", "pending", "later"]),
        (["ended", "retrying", "ended"], ["failed for good", "retrying", "completed", "cancelled"]),
        ([], []),
    ],
)
def test_each_state_finds_its_jobs(scene: Scene, states: Any, expected: list[str]) -> None:
    """`failed` is both kinds, `retrying` and `ended` tell them apart; several states add up; none finds none."""
    made = all_states(scene)
    assert ids(scene, status=states) == [made[name] for name in expected]
    assert scene.store.bulk.count(JobFilter.parse(status=states)) == len(expected)
    # The same through the conditions, not the tallies.
    assert scene.store.bulk.count(JobFilter.parse(status=states, priority=0)) == len(expected)


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        (0, [0]),
        ({"eq": 7}, [7]),
        ({"gt": 0}, [7]),
        ({"gte": 0}, [0, 7]),
        ({"lt": 0}, [-5]),
        ({"lte": 0}, [-5, 0]),
        ({"gt": -5, "lt": 7}, [0]),
        ({"gt": 7, "lt": -5}, []),
        ({}, [-5, 0, 7]),
        ({"gt": -(2**63), "lt": 2**63 - 1}, [-5, 0, 7]),
    ],
)
def test_each_operator_bounds_the_priority(scene: Scene, bounds: Any, expected: list[int]) -> None:
    """A plain number is `eq`; all bounds must hold."""
    made = {priority: scene.add(priority=priority) for priority in (-5, 0, 7)}
    assert ids(scene, priority=bounds) == [made[priority] for priority in expected]


@pytest.mark.parametrize("field", ["run_at", "created_at"])
@pytest.mark.parametrize(
    ("operator", "expected"),
    [("eq", [1]), ("gt", [2]), ("gte", [1, 2]), ("lt", [0]), ("lte", [0, 1])],
)
def test_each_operator_bounds_a_moment(scene: Scene, field: str, operator: str, expected: list[int]) -> None:
    """To the microsecond; a job without `run_at` runs at once, which is when it was added."""
    made = []
    for _ in range(3):
        made.append(scene.add())
        scene.now_us += 1
    middle = to_datetime(START_US + 1)
    assert ids(scene, **{field: {operator: middle}}) == [made[place] for place in expected]
    assert ids(scene, **{field: middle}) == [made[1]]


TAGGED = {"none": [], "a": ["a"], "b": ["b"], "ab": ["a", "b"], "abc": ["c", "b", "a"], "A": ["A"]}


@pytest.mark.parametrize(
    ("mode", "tags", "expected"),
    [
        ("all", ["a"], ["a", "ab", "abc"]),
        ("all", ["a", "b", "a"], ["ab", "abc"]),
        ("all", [], list(TAGGED)),
        ("all", ["a", "unknown"], []),
        ("any", ["a", "c", "a"], ["a", "ab", "abc"]),
        ("any", [], []),
        ("none", ["a", "b", "b"], ["none", "A"]),
        ("none", [], list(TAGGED)),
        ("exact", ["b", "a"], ["ab"]),
        ("exact", ["a", "a"], ["a"]),
        ("exact", [], ["none"]),
    ],
)
def test_each_mode_compares_tags(scene: Scene, mode: str, tags: list[str], expected: list[str]) -> None:
    """All, any, none, exactly these; what is said twice is said once, and letters count bytewise."""
    made = {name: scene.add(tags=given) for name, given in TAGGED.items()}
    assert ids(scene, tags=tags, tag_mode=mode) == [made[name] for name in expected]


@pytest.mark.parametrize("mode", ["all", "any", "none", "exact"])
def test_a_hundred_tags_are_compared_in_each_mode(scene: Scene, mode: str) -> None:
    """The number of tags makes no statement too deep."""
    names = [f"tag-{number}" for number in range(100)]
    full = scene.add(tags=names)
    empty = scene.add()
    assert ids(scene, tags=names, tag_mode=mode) == [empty if mode == "none" else full]


def test_more_tags_than_a_filter_takes_are_refused(scene: Scene) -> None:
    """With a sentence, however many there are."""
    with pytest.raises(InvalidJobError, match="tags"):
        scene.store.find(tags=[f"tag-{number}" for number in range(1_500)])


def test_a_filter_names_ids_types_and_a_group(scene: Scene) -> None:
    """Each alone, and all of them together; up to a thousand names."""
    first = scene.add(group_id="g")
    second = scene.add("other", group_id="g")
    third = scene.add("other", group_id="G")
    assert ids(scene) == [first, second, third]
    assert ids(scene, ids=[third, first, 10**6]) == [first, third]
    assert ids(scene, ids=[]) == []
    assert ids(scene, ids=list(range(first, first + 1_000))) == [first, second, third]
    assert ids(scene, job_type=["other", "unknown"]) == [second, third]
    assert ids(scene, group_id="g") == [first, second]
    assert ids(scene, job_type="other", group_id="g", ids=[first, second]) == [second]


@pytest.mark.parametrize("order", ORDERS)
def test_each_order_is_total_and_its_minus_the_reverse(scene: Scene, order: str) -> None:
    """Equal ones come by id; pages of two show every job once, in that order."""
    keys: dict[int, tuple[int, ...]] = {}
    for priority, created, run in [(1, 0, 9), (1, 0, 9), (0, 1, 8), (5, 1, 8), (0, 2, 9), (1, 2, 8), (5, 2, 9)]:
        scene.now_us = START_US + created
        job_id = scene.add(priority=priority, run_at=to_datetime(START_US + run))
        values = {"id": job_id, "priority": priority, "created_at": created, "run_at": run}
        keys[job_id] = (values[order.removeprefix("-")], job_id)
    expected = sorted(keys, key=lambda job_id: keys[job_id], reverse=order.startswith("-"))
    seen, cursor = [], None
    while True:
        page = scene.store.bulk.find(JobFilter(), order=order, limit=2, cursor=cursor)
        seen += [job.id for job in page.jobs]
        if (cursor := page.cursor) is None:
            break
    assert seen == expected


def test_the_last_page_has_no_cursor(scene: Scene) -> None:
    """Also when it is exactly full; an empty store has none either."""
    bulk = scene.store.bulk
    assert bulk.find(JobFilter(), limit=3) == bulk.find(JobFilter(), limit=1)
    added = [scene.add() for _ in range(4)]
    first = bulk.find(JobFilter(), limit=2)
    assert first.cursor is not None
    assert len(bulk.find(JobFilter(), limit=2, cursor=first.cursor).jobs) == 2
    assert bulk.find(JobFilter(), limit=2, cursor=first.cursor).cursor is None
    assert [job.id for job in bulk.find(JobFilter(), limit=2, offset=1, cursor=first.cursor).jobs] == added[:1]


@pytest.mark.parametrize("order", ["-id", "id", "-priority", "created_at"])
def test_jobs_that_come_and_go_between_pages_neither_repeat_nor_skip_others(scene: Scene, order: str) -> None:
    """A cursor is a place in the order, not a number of rows; the job at that place may itself be gone."""
    made = [scene.add(priority=number % 3) for number in range(12)]
    bulk = scene.store.bulk
    first = bulk.find(JobFilter(), order=order, limit=4)
    scene.add(priority=1)
    for gone in (first.jobs[0], first.jobs[-1]):
        bulk.remove(gone.id, now_us=scene.now_us)
    rest = bulk.find(JobFilter(), order=order, limit=100, cursor=first.cursor)
    seen = [job.id for job in (*first.jobs, *rest.jobs)]
    assert len(seen) == len(set(seen))
    assert set(made) <= set(seen)


def test_an_unknown_order_is_refused_with_the_choices(scene: Scene) -> None:
    """Nothing that is no column of the list reaches SQL."""
    for order in ("payload", "--id", "", "-", "id; DROP TABLE job"):
        with pytest.raises(InvalidJobError, match=r"order: .* use id, -id, priority"):
            scene.store.bulk.find(JobFilter(), order=order, limit=1)


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "ä",
        "\udcff",
        "====",
        "A" * 100_000,
        encoded("no json"),
        encoded("[]"),
        encoded("{}"),
        encoded("[1,2]"),
        encoded('["-id"]'),
        encoded('["-id",1,2]'),
        encoded('["-id","1"]'),
        encoded('["-id",true]'),
        encoded('["-id",1.5]'),
        encoded('["-id",null]'),
        encoded('["-id",99999999999999999999]'),
        encoded('["id",1]'),
        encoded('["events",1]'),
        encoded("[" * 300),
    ],
)
def test_what_is_no_cursor_of_this_order_is_refused(scene: Scene, cursor: str) -> None:
    """It comes from outside: one sentence, whatever it is."""
    with pytest.raises(InvalidJobError, match="cursor: "):
        scene.store.bulk.find(JobFilter(), cursor=cursor, limit=1)


def test_a_cursor_of_another_order_is_refused(scene: Scene) -> None:
    """Its place means nothing there."""
    for _ in range(2):
        scene.add()
    cursor = scene.store.bulk.find(JobFilter(), order="priority", limit=1).cursor
    with pytest.raises(InvalidJobError, match="belongs to 'priority'"):
        scene.store.bulk.find(JobFilter(), order="run_at", limit=1, cursor=cursor)


@pytest.mark.parametrize(
    ("gate", "reason"),
    [("parents", "waits for other jobs"), ("tags", "waits for tagged jobs"), ("lane", "waits for its limit")],
)
def test_a_job_behind_a_gate_says_what_it_waits_for(scene: Scene, url: str, gate: str, reason: str) -> None:
    """Unless its row gives a reason of its own."""
    job_id = scene.add()
    scene.tampered = True
    put(url, job_id, gate=gate, ready=None)
    assert scene.get(job_id).pending_reason == reason
    put(url, job_id, pending_reason="quarantined")
    assert scene.get(job_id).pending_reason == "quarantined"


def put(url: str, job_id: int, **values: Any) -> None:
    """Write into a job's row, past all rules."""
    dialect = dialect_for(url, StoreOptions(synchronous="normal", lock_timeout_seconds=1))
    with dialect.engine.connect() as connection, connection.begin():
        connection.execute(update(schema.job).where(schema.job.c.id == job_id).values(**values))
    dialect.close()


def test_find_pages_through_jobs_in_either_order(scene: Scene) -> None:
    """Newest first unless asked otherwise."""
    ids = [scene.add() for _ in range(5)]
    assert [job.id for job in scene.store.find(limit=2, offset=1)] == [ids[3], ids[2]]
    assert [job.id for job in scene.store.find(limit=2, newest_first=False)] == ids[:2]


def test_running_shows_who_has_what(scene: Scene) -> None:
    """Node, process and since when; the longest-running first."""
    jobs = [scene.add_and_claim() for _ in range(2)]
    scene.add()
    rows = scene.store.running()
    assert [row.id for row in rows] == [job.id for job in jobs]
    assert (rows[0].job_type, rows[0].node_id, rows[0].locked_by) == ("work", NODE, NAME)
    assert rows[0].locked_at == scene.get(jobs[0].id).locked_at


def test_the_record_holds_what_the_design_names(scene: Scene) -> None:
    """Its JSON has the documented names; a private column is none of them."""
    job = scene.add_and_claim()
    scene.end(job)
    shown = scene.get(job.id).model_dump(by_alias=True, mode="json")
    private = {"ready", "dueAt", "due_at", "claimRank", "fence", "nodeId", "claimBatch", "crashes", "wish"}
    assert not private & set(shown)
    assert shown["nextAttemptAt"].endswith("Z")
    assert list(shown)[:4] == ["id", "jobType", "payload", "status"]


def test_nodes_are_shown_as_they_registered(scene: Scene) -> None:
    """Beat 0 and no report until the first one."""
    (node,) = scene.store.nodes()
    assert (node.node_id, node.name, node.beat, node.report) == (NODE, NAME, 0, None)
    assert node.lease_seconds == 15.0
    scene.writer.remove_node(NODE)
    assert scene.store.nodes() == []


def test_times_are_kept_to_the_microsecond(scene: Scene) -> None:
    """No float comes between."""
    scene.now_us += 123_457
    job_id = scene.add()
    assert scene.get(job_id).created_at == to_datetime(scene.now_us)


def test_bytes_that_are_no_text_are_refused_not_crashed_on(scene: Scene) -> None:
    """A shell hands over any bytes; they can be no job's type."""
    with pytest.raises(InvalidJobError, match="job_type"):
        scene.store.find(job_type="\udcff")
