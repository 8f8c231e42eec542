"""Reading for people: records, filters, counts, what runs."""

from __future__ import annotations

import pytest

from jobwarden.clock import to_datetime
from jobwarden.errors import InvalidJobError
from jobwarden.jobs import JobStatus
from tests.store.scene import NAME, NODE, Scene


def test_find_takes_all_filters_together(scene: Scene) -> None:
    """Status, type and all of the tags."""
    both = scene.add(tags=["x", "y"])
    scene.add(tags=["x"])
    scene.add("other", tags=["x", "y"])
    scene.add()
    assert [job.id for job in scene.store.find(job_type="work", tags=["y", "x"])] == [both]
    assert [job.id for job in scene.store.find(tags=["X"])] == []
    assert scene.store.find(status=JobStatus.COMPLETED) == []


def test_find_pages_through_jobs_in_either_order(scene: Scene) -> None:
    """Newest first unless asked otherwise."""
    ids = [scene.add() for _ in range(5)]
    assert [job.id for job in scene.store.find(limit=2, offset=1)] == [ids[3], ids[2]]
    assert [job.id for job in scene.store.find(limit=2, newest_first=False)] == ids[:2]


def test_counts_tell_retrying_from_failed(scene: Scene) -> None:
    """`failed` is two things: one that has ended and one that will run again."""
    scene.add("other")
    first, second, third = (scene.add_and_claim(max_attempts=n) for n in (1, 2, 2))
    scene.end(first)
    scene.end(second)
    assert scene.store.counts() == {
        "other": {"pending": 1},
        "work": {"failed": 1, "processing": 1, "retrying": 1},
    }
    assert [job.id for job in scene.store.find(status="retrying")] == [second.id]
    assert {job.id for job in scene.store.find(status="failed")} == {first.id, second.id}
    (row,) = scene.store.running()
    assert (row.id, row.job_type, row.node_id, row.locked_by) == (third.id, "work", NODE, NAME)
    assert row.locked_at == scene.get(third.id).locked_at


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
