"""Limited types and groups: how many run at once, who is next, and that nothing is counted that could leak."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from jobwarden.clock import SECOND_US, to_datetime
from jobwarden.errors import InvalidJobError
from jobwarden.jobs import ClaimedJob, JobChanges, JobOptions, JobStatus, Outcome, TypeTerms
from jobwarden.store.gates.lanes import adjust

from .scene import NODE, Scene

QUICK = {"retry_delay": 0, "max_attempts": 100}


def limit(scene: Scene, scope: str, name: str, number: int | None) -> None:
    scene.store.controls.set_limit(scope, name, max_running=number, now_us=scene.now_us)


def standing(scene: Scene) -> dict[int, str]:
    """Job -> ready, lane, or its status; for jobs that have not ended."""
    query = text("SELECT id, ready, gate, status FROM job WHERE ended_at IS NULL ORDER BY id")
    with scene.store._access.reading() as connection:  # noqa: SLF001 - the private columns have no verb
        rows = connection.execute(query).all()
    return {row.id: "ready" if row.ready else row.gate or row.status for row in rows}


def held_places(scene: Scene, group: str) -> int:
    """Ready and running jobs of a group, by counting them all."""
    query = text("SELECT count(*) FROM job WHERE group_id = :name AND (ready = 1 OR status = 'processing')")
    with scene.store._access.reading() as connection:  # noqa: SLF001
        return int(connection.execute(query, {"name": group}).scalar_one())


def claim_all(scene: Scene, *types: str) -> list[ClaimedJob]:
    return scene.claim(types=types or ("work",))


def test_no_more_jobs_of_a_group_run_than_its_limit(scene: Scene) -> None:
    """Two of five; each that ends lets the next one in, in the order of adding."""
    limit(scene, "group", "g", 2)
    ids = [scene.add(group_id="g") for _ in range(5)]
    first = claim_all(scene)
    assert [job.id for job in first] == ids[:2]
    assert claim_all(scene) == []
    scene.complete(first[0])
    assert [job.id for job in claim_all(scene)] == [ids[2]]
    assert held_places(scene, "g") == 2


def test_a_limit_of_a_type_holds_over_all_nodes(scene: Scene) -> None:
    """What one node runs the other does not."""
    scene.register("node-2", "host:2")
    limit(scene, "type", "work", 3)
    for _ in range(9):
        scene.add()
    assert len(scene.claim(2)) == 2
    assert len(scene.claim(node="node-2", name="host:2")) == 1
    assert scene.claim() == []


def test_a_limit_set_on_a_backlog_holds_at_once(scene: Scene) -> None:
    """What was ready beyond the limit is withdrawn, the last first; running jobs go on."""
    ids = [scene.add() for _ in range(6)]
    running = scene.claim(2)
    limit(scene, "type", "work", 3)
    assert standing(scene) == {
        **dict.fromkeys(ids[:2], "processing"),
        ids[2]: "ready",
        **dict.fromkeys(ids[3:], "lane"),
    }
    limit(scene, "type", "work", 1)
    assert [scene.get(job.id).status for job in running] == [JobStatus.PROCESSING] * 2
    assert set(standing(scene).values()) == {"processing", "lane"}
    scene.complete(running[0])
    assert claim_all(scene) == []
    scene.complete(running[1])
    assert len(claim_all(scene)) == 1


def test_a_limit_of_zero_stops_all_until_it_is_raised(scene: Scene) -> None:
    """Nothing starts; raising it lets in what is allowed then."""
    limit(scene, "group", "g", 0)
    for _ in range(3):
        scene.add(group_id="g")
    assert claim_all(scene) == []
    limit(scene, "group", "g", 2)
    assert len(claim_all(scene)) == 2


def test_clearing_a_limit_releases_all_that_waited_for_it(scene: Scene) -> None:
    """They are ready at once, in their order."""
    limit(scene, "type", "work", 1)
    ids = [scene.add() for _ in range(4)]
    assert scene.store.controls.clear_limits("type", "work", now_us=scene.now_us)
    assert not scene.store.controls.clear_limits("type", "work", now_us=scene.now_us)
    assert [job.id for job in claim_all(scene)] == ids
    assert scene.store.controls.list() == []


def test_a_group_without_limits_of_its_own_has_those_of_the_star(scene: Scene) -> None:
    """A group's own control replaces the default, and one without numbers takes the group out of it."""
    limit(scene, "group", "*", 1)
    limit(scene, "group", "big", 3)
    limit(scene, "group", "free", None)
    for group in ("a", "b", "big", "free", None):
        for _ in range(5):
            scene.add(group_id=group)
    running = [scene.get(job.id).group_id for job in claim_all(scene)]
    assert {group: running.count(group) for group in ("a", "b", "big", "free", None)} == {
        "a": 1,
        "b": 1,
        "big": 3,
        "free": 5,
        None: 5,
    }
    scene.store.controls.clear_limits("group", "free", now_us=scene.now_us)
    scene.add(group_id="free")
    assert claim_all(scene) == []


def test_the_next_of_a_lane_is_the_highest_priority_then_the_longest_due(scene: Scene) -> None:
    """A higher priority overtakes in the lane, not those that are ready already."""
    limit(scene, "group", "g", 1)
    first, low, late, early, high = (
        scene.add(group_id="g"),
        scene.add(group_id="g", priority=-1),
        scene.add(group_id="g", run_at=to_datetime(scene.now_us - SECOND_US)),
        scene.add(group_id="g", run_at=to_datetime(scene.now_us - 2 * SECOND_US)),
        scene.add(group_id="g", priority=9),
    )
    order = []
    while jobs := claim_all(scene):
        order += [job.id for job in jobs]
        scene.complete(jobs[0])
    assert order == [first, high, early, late, low]


def test_a_job_in_two_lanes_needs_room_in_both(scene: Scene) -> None:
    """Type limited to 3, groups to 1: three groups run one each, the fourth waits for the type."""
    limit(scene, "type", "work", 3)
    limit(scene, "group", "*", 1)
    for group in ("a", "a", "b", "b", "c", "d"):
        scene.add(group_id=group)
    running = claim_all(scene)
    assert sorted(str(scene.get(job.id).group_id) for job in running) == ["a", "b", "c"]
    scene.complete(running[2])
    (next_one,) = claim_all(scene)
    assert scene.get(next_one.id).group_id == "d"


def test_a_full_group_does_not_hold_up_the_others_of_its_type(scene: Scene) -> None:
    """A thousand waiters of one tenant stand in front; the type's free places go to those behind."""
    limit(scene, "type", "work", 4)
    limit(scene, "group", "*", 2)
    scene.store.add([JobOptions(job_type="work", group_id="flood")] * 1_000, now_us=scene.now_us)
    others = [scene.add(group_id="small"), scene.add()]
    assert {job.id for job in claim_all(scene)} >= set(others)


def test_a_full_type_does_not_hold_up_the_others_of_its_group(scene: Scene) -> None:
    """The group's place goes to the first job whose type has room."""
    limit(scene, "type", "work", 0)
    limit(scene, "group", "g", 1)
    scene.add(group_id="g")
    other = scene.add("other", group_id="g")
    assert [job.id for job in claim_all(scene, "work", "other")] == [other]


def test_a_job_scheduled_for_tomorrow_takes_no_place_today(scene: Scene) -> None:
    """It joins its lane when it is due, and not before."""
    limit(scene, "group", "g", 1)
    tomorrow = scene.add(group_id="g", run_at=to_datetime(scene.now_us) + timedelta(days=1), priority=9)
    today = scene.add(group_id="g")
    (job,) = claim_all(scene)
    assert job.id == today
    scene.pass_seconds(86_400)
    assert claim_all(scene) == []
    assert standing(scene)[tomorrow] == "lane"
    scene.complete(job)
    assert [job.id for job in claim_all(scene)] == [tomorrow]


def test_a_job_of_a_paused_type_takes_no_place_of_its_group(scene: Scene) -> None:
    """It leaves it to others when the pause begins, and comes back when it is over, by hand or by time."""
    limit(scene, "group", "g", 1)
    paused, other = scene.add(group_id="g"), scene.add("other", group_id="g")
    scene.store.controls.pause("work", until_us=scene.now_us + 60 * SECOND_US, now_us=scene.now_us)
    (job,) = claim_all(scene, "work", "other")
    assert job.id == other
    scene.complete(job)
    assert claim_all(scene, "work", "other") == []
    scene.pass_seconds(60)
    assert [job.id for job in claim_all(scene)] == [paused]


def test_a_resumed_type_takes_its_places_again(scene: Scene) -> None:
    """What left them for the pause is let in at once."""
    limit(scene, "group", "g", 1)
    job_id = scene.add(group_id="g")
    scene.store.controls.pause("work", now_us=scene.now_us)
    assert standing(scene) == {job_id: "lane"}
    scene.store.controls.resume("work", now_us=scene.now_us)
    assert standing(scene) == {job_id: "ready"}


def test_a_paused_type_with_a_limit_of_its_own_takes_no_place_either(scene: Scene) -> None:
    """Its lane has room, but nothing is let in."""
    limit(scene, "type", "work", 5)
    limit(scene, "group", "g", 1)
    scene.store.controls.pause("work", now_us=scene.now_us)
    scene.add(group_id="g")
    other = scene.add("other", group_id="g")
    limit(scene, "type", "work", 6)
    assert [job.id for job in claim_all(scene, "work", "other")] == [other]


def test_a_limit_set_beside_another_passes_neither(scene: Scene) -> None:
    """Jobs that are let in for their type are counted in their groups at once."""
    limit(scene, "group", "*", 1)
    ids = [scene.add(group_id=group) for group in ("a", "a", "b", "b")]
    limit(scene, "type", "work", 3)
    assert standing(scene) == {ids[0]: "ready", ids[1]: "lane", ids[2]: "ready", ids[3]: "lane"}


def test_the_highest_priority_of_a_type_goes_first_over_all_its_groups(scene: Scene) -> None:
    """The type's one place is not given away by the name of the group."""
    limit(scene, "group", "*", 1)
    low, high = scene.add(group_id="a"), scene.add(group_id="b", priority=5)
    limit(scene, "type", "work", 1)
    assert standing(scene) == {low: "lane", high: "ready"}


def test_a_group_that_is_free_of_the_default_stays_so_when_that_changes(scene: Scene) -> None:
    """Its backlog is neither withdrawn nor left to wait for a lane that it has not."""
    limit(scene, "group", "free", None)
    ids = [scene.add(group_id="free") for _ in range(3)]
    limit(scene, "group", "*", 1)
    limit(scene, "group", "*", 2)
    assert set(standing(scene).values()) == {"ready"}
    assert [job.id for job in claim_all(scene)] == ids


def test_a_job_given_back_while_its_type_is_paused_leaves_its_place(scene: Scene) -> None:
    """It is as good as not ready."""
    limit(scene, "group", "g", 1)
    (job,) = [scene.add_and_claim(group_id="g")]
    other = scene.add("other", group_id="g")
    scene.store.controls.pause("work", now_us=scene.now_us)
    scene.give_back(job)
    assert [each.id for each in claim_all(scene, "work", "other")] == [other]


Leaving = dict[str, Any]


@pytest.mark.parametrize(
    "way",
    ["completed", "failed", "retried at once", "interrupted", "given back", "cancelled", "lost", "wished cancelled"],
)
def test_every_way_out_of_a_place_gives_it_to_the_next_and_leaks_none(scene: Scene, way: str) -> None:
    """However attempts end, ready and running are never above the limit, and all places are used."""
    limit(scene, "group", "g", 2)
    options: dict[str, Any] = QUICK if way == "retried at once" else {"max_attempts": 1}
    for _ in range(8):
        scene.add(group_id="g", **options)
    for _ in range(12):
        for job in claim_all(scene):
            leave(scene, job, way)
            left = len(standing(scene))
            assert held_places(scene, "g") == min(2, left)


def leave(scene: Scene, job: ClaimedJob, way: str) -> None:
    match way:
        case "completed":
            scene.complete(job)
        case "failed" | "retried at once":
            scene.end(job)
        case "interrupted":
            scene.end(job, Outcome.INTERRUPTED)
        case "given back":
            scene.give_back(job)
        case "cancelled":
            scene.store.cancel(job.id, now_us=scene.now_us)
            scene.end(job, Outcome.CANCELLED)
        case "wished cancelled":
            scene.store.cancel(job.id, now_us=scene.now_us)
            scene.give_back(job)
        case _:
            scene.writer.free_node(NODE, now_us=scene.now_us, jitter=lambda: 1.0)
            scene.register(NODE, "host:1")


def test_a_dead_node_leaves_no_place_taken(scene: Scene) -> None:
    """Its jobs are counted from their rows, so freeing them frees their places."""
    scene.register("node-2", "host:2")
    limit(scene, "type", "work", 2)
    for _ in range(4):
        scene.add()
    scene.claim(node="node-2", name="host:2")
    assert claim_all(scene) == []
    scene.writer.free_node("node-2", now_us=scene.now_us, jitter=lambda: 1.0)
    assert len(claim_all(scene)) == 2
    assert claim_all(scene) == []


def test_cancelling_a_ready_job_lets_the_next_in(scene: Scene) -> None:
    """A place that nobody uses any more is free."""
    limit(scene, "group", "g", 1)
    first, second = scene.add(group_id="g"), scene.add(group_id="g")
    scene.store.cancel(first, now_us=scene.now_us)
    assert [job.id for job in claim_all(scene)] == [second]


def test_a_job_moved_to_another_group_by_an_edit_is_counted_there(scene: Scene) -> None:
    """It leaves its place to the next of its old group and waits for one of the new."""
    limit(scene, "group", "*", 1)
    full = scene.add(group_id="b")
    moved, next_one = scene.add(group_id="a"), scene.add(group_id="a")
    scene.store.bulk.edit(moved, JobChanges.parse(group_id="b"), now_us=scene.now_us)
    assert standing(scene) == {full: "ready", moved: "lane", next_one: "ready"}


def test_a_retried_job_waits_for_room(scene: Scene) -> None:
    """`retry` is no way past a limit."""
    limit(scene, "group", "g", 1)
    failed = scene.add_and_claim(group_id="g", max_attempts=1)
    scene.end(failed)
    running = scene.add_and_claim(group_id="g")
    scene.store.retry(failed.id, now_us=scene.now_us)
    assert claim_all(scene) == []
    scene.complete(running)
    assert [job.id for job in claim_all(scene)] == [failed.id]


def test_give_backs_after_a_lowered_limit_do_not_pass_it(scene: Scene) -> None:
    """Three run when the limit becomes one; given back, two of them wait in the lane."""
    limit(scene, "type", "work", 3)
    for _ in range(3):
        scene.add()
    jobs = claim_all(scene)
    limit(scene, "type", "work", 1)
    for job in jobs:
        scene.give_back(job)
    assert sorted(standing(scene).values()) == ["lane", "lane", "ready"]


def test_a_limit_per_node_counts_the_nodes_own_jobs(scene: Scene) -> None:
    """The smaller of the handler's and the operator's number holds; other types are not held up."""
    scene.register("node-2", "host:2")
    terms = TypeTerms(job_type="work", max_per_node=3)
    scene.store.controls.set_limit("type", "work", max_per_node=2, now_us=scene.now_us)
    for _ in range(9):
        scene.add()
    other = scene.add("other")
    taken = scene.claim(types=["other", terms])
    assert [job.job_type for job in taken] == ["work", "work", "other"]
    assert other in {job.id for job in taken}
    assert len(scene.claim(types=[terms], node="node-2", name="host:2")) == 2
    assert scene.claim(types=[terms]) == []
    scene.store.controls.set_limit("type", "work", max_per_node=None, now_us=scene.now_us)
    assert len(scene.claim(types=[terms])) == 1


def test_jobs_of_a_limited_type_keep_the_order_of_priorities_with_others(scene: Scene) -> None:
    """A bound on one type changes how many are taken, not who goes first."""
    terms = [TypeTerms(job_type="work", max_per_node=1), TypeTerms(job_type="other")]
    low, high = scene.add("other"), scene.add(priority=5)
    scene.add(priority=4)
    assert [job.id for job in scene.claim(types=terms)] == [high, low]


def test_adjusting_twice_changes_nothing(scene: Scene) -> None:
    """Verbs may name the same places more than once."""
    limit(scene, "group", "g", 2)
    for _ in range(5):
        scene.add(group_id="g")
    before = standing(scene)
    with scene.store._access.writing() as connection:  # noqa: SLF001
        assert [adjust(connection, {("work", "g")}, now_us=scene.now_us) for _ in range(2)] == [0, 0]
    assert standing(scene) == before


def test_limits_survive_reopening(scene: Scene) -> None:
    """They are rows."""
    limit(scene, "type", "work", 1)
    scene.store.controls.set_limit("type", "work", rate=5, rate_seconds=60, now_us=scene.now_us)
    (control,) = scene.store.controls.list()
    assert control.model_dump(by_alias=True, exclude_none=True, mode="json") == {
        "scope": "type",
        "name": "work",
        "maxRunning": 1,
        "rate": 5,
        "rateSeconds": 60.0,
    }


@pytest.mark.parametrize(
    ("scope", "name", "given", "field"),
    [
        ("all", "*", {"max_running": 1}, "scope"),
        ("node", "x", {"max_running": 1}, "scope"),
        ("type", "*", {"max_running": 1}, "name"),
        ("type", "", {"max_running": 1}, "name"),
        ("group", "x" * 256, {"max_running": 1}, "name"),
        ("group", "a\0b", {"max_running": 1}, "name"),
        ("group", 7, {"max_running": 1}, "name"),
        ("type", "work", {}, "limit"),
        ("type", "work", {"max_running": -1}, "max_running"),
        ("type", "work", {"max_running": True}, "max_running"),
        ("type", "work", {"max_running": 1.5}, "max_running"),
        ("group", "g", {"max_per_node": 1}, "max_per_node"),
        ("type", "work", {"rate": 0, "rate_seconds": 1}, "rate"),
        ("type", "work", {"rate": 5}, "rate_seconds"),
        ("type", "work", {"rate_seconds": 5}, "rate_seconds"),
        ("type", "work", {"rate": 5, "rate_seconds": 0}, "rate_seconds"),
        ("type", "work", {"rate": 5, "rate_seconds": float("nan")}, "rate_seconds"),
    ],
)
def test_a_limit_that_cannot_be_is_refused(
    scene: Scene, scope: Any, name: Any, given: dict[str, Any], field: str
) -> None:
    """One sentence that names the argument; nothing is changed."""
    with pytest.raises(InvalidJobError) as refused:
        scene.store.controls.set_limit(scope, name, **given, now_us=scene.now_us)
    assert refused.value.field == field
    assert scene.store.controls.list() == []
