"""Freeing the jobs of a node that is gone: nobody else may, nothing is forgotten, nothing loops."""

from __future__ import annotations

from jobwarden.jobs import FailureReason, JobStatus, Outcome

from .scene import NAME, NODE, Scene


def _free(scene: Scene, node: str = NODE, *, beat: int | None = None) -> int:
    scene.pass_seconds(1)
    return scene.writer.free_node(node, now_us=scene.now_us, jitter=lambda: 1.0, beat=beat)


def test_a_dead_nodes_jobs_are_given_back_with_an_event_and_a_reason(scene: Scene) -> None:
    """Lost costs no attempt; the event names the old owner, the attempt is kept as lost."""
    job = scene.add_and_claim()
    assert _free(scene) == 1
    record = scene.get(job.id)
    assert (record.status, record.attempts, record.locked_by) == (JobStatus.PENDING, 0, None)
    event = scene.last_event(job.id)
    assert (event.type, event.metadata["why"], event.metadata["owner"]) == ("reclaimed", "lost", NAME)
    assert NAME in event.metadata["reason"]
    (attempt,) = scene.store.attempts(job.id)
    assert (attempt.outcome, attempt.node, attempt.fence) == (Outcome.LOST, NAME, job.fence)
    assert scene.store.nodes() == []
    scene.register(NODE, NAME)
    (again,) = scene.claim()
    assert (again.id, again.fence, again.lost_in_row) == (job.id, job.fence + 2, 1)


def test_a_living_nodes_jobs_stay(scene: Scene) -> None:
    """Only the node that was named, and rows of nobody, are freed, however old they are."""
    scene.register("node-2", "host:2")
    own = scene.add_and_claim()
    scene.add()
    (other,) = scene.claim(node="node-2", name="host:2")
    scene.pass_seconds(10_000_000)
    assert _free(scene, "node-2") == 1
    assert scene.get(own.id).status is JobStatus.PROCESSING
    assert scene.get(other.id).status is JobStatus.PENDING


def test_a_beat_that_moved_saves_the_node(scene: Scene) -> None:
    """Whoever saw it standing still was wrong: the row shows another beat now."""
    job = scene.add_and_claim()
    scene.transact(report="{}")
    assert _free(scene, beat=0) == 0
    assert scene.get(job.id).status is JobStatus.PROCESSING
    assert _free(scene, beat=1) == 1
    assert scene.get(job.id).status is JobStatus.PENDING


def test_rows_of_nodes_without_a_row_are_freed_too(scene: Scene) -> None:
    """A missing node row is death, whoever looks."""
    job = scene.add_and_claim()
    scene.writer.remove_node(NODE)
    assert _free(scene, "node-of-somebody-else", beat=3) == 1
    event = scene.last_event(job.id)
    assert (event.type, event.metadata["owner"]) == ("reclaimed", NAME)


def test_freeing_twice_frees_once(scene: Scene) -> None:
    """The second observer finds nothing left to do."""
    job = scene.add_and_claim()
    assert (_free(scene), _free(scene)) == (1, 0)
    assert scene.event_types(job.id) == ["added", "processing", "reclaimed"]


def test_a_wished_cancel_is_obeyed_when_its_node_died(scene: Scene) -> None:
    """Otherwise it would run again after it was cancelled."""
    job = scene.add_and_claim()
    scene.store.cancel(job.id, now_us=scene.now_us, reason="enough")
    _free(scene)
    record = scene.get(job.id)
    assert (record.status, record.failure_reason) == (JobStatus.CANCELLED, FailureReason.CANCELLED)
    assert scene.last_event(job.id).type == "cancelled"
    assert scene.last_event(job.id).metadata["reason"] == "enough"
    scene.register(NODE, NAME)
    assert scene.claim() == []


def test_five_lost_in_a_row_are_quarantine(scene: Scene) -> None:
    """A job that takes its whole node with it is not looped, and is failed for good with its reason."""
    job_id = scene.add()
    for _ in range(5):
        assert [job.id for job in scene.claim()] == [job_id]
        _free(scene)
        scene.register(NODE, NAME)
    record = scene.get(job_id)
    assert (record.status, record.pending_reason, record.ended) == (JobStatus.FAILED, "quarantined", True)
    assert record.failure_reason is FailureReason.LOST
    assert scene.claim() == []


def test_many_jobs_of_several_dead_nodes_are_freed_in_one_go(scene: Scene) -> None:
    """Each event names the owner of its own job."""
    scene.register("node-2", "host:2")
    for _ in range(6):
        scene.add()
    first, second = scene.claim(3), scene.claim(node="node-2", name="host:2")
    scene.writer.remove_node("node-2")
    assert _free(scene) == 6
    assert {scene.last_event(job.id).metadata["owner"] for job in first} == {NAME}
    assert {scene.last_event(job.id).metadata["owner"] for job in second} == {"host:2"}


def test_what_follows_is_done_for_the_jobs_of_all_dead_nodes(scene: Scene) -> None:
    """Each of them was to be cancelled: both are counted, and the dependents of both end."""
    scene.register("node-2", "host:2")
    scene.add()
    scene.add()
    jobs = [*scene.claim(1), *scene.claim(node="node-2", name="host:2")]
    children = [scene.add("other", depends_on={"jobIds": [job.id]}) for job in jobs]
    for job in jobs:
        scene.store.cancel(job.id, now_us=scene.now_us)
    scene.writer.remove_node("node-2")
    assert _free(scene) == 2
    assert {scene.get(each).status for each in children} == {JobStatus.CANCELLED}
    assert scene.store.counts() == {"other": {"cancelled": 2}, "work": {"cancelled": 2}}


def test_the_jobs_own_retry_rules_do_not_delay_a_lost_job(scene: Scene) -> None:
    """It is ready at once: the delay is for failures."""
    job = scene.add_and_claim(retry_delay=5_000)
    _free(scene)
    scene.register(NODE, NAME)
    assert [each.id for each in scene.claim()] == [job.id]
