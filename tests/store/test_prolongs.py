"""The events of attempts that moved their limit: one for each note, under the fence."""

from __future__ import annotations

from jobwarden.jobs import complete
from jobwarden.store import ProlongNote

from .scene import Scene


def test_a_prolong_leaves_an_event_and_changes_nothing_else(scene: Scene) -> None:
    """The event says how many milliseconds the attempt was given; the job itself stays as it was."""
    job = scene.add_and_claim()
    before = scene.get(job.id)
    scene.transact(prolongs=[ProlongNote(job.id, job.fence, 30_000), ProlongNote(job.id, job.fence, 500)])
    events = [event for event in scene.store.events(job.id) if event.type == "prolonged"]
    assert [event.metadata for event in events] == [{"ms": 30_000}, {"ms": 500}]
    assert scene.get(job.id) == before


def test_a_late_prolong_by_a_superseded_owner_leaves_no_event(scene: Scene) -> None:
    """Nor does one of another node, nor one of an attempt that has ended; the others of its batch are written."""
    late, good, ended = scene.add_and_claim(), scene.add_and_claim(), scene.add_and_claim()
    scene.supersede(late)
    scene.complete(ended)
    before = scene.store.events(late.id), scene.store.events(ended.id)
    scene.transact(prolongs=[ProlongNote(each.id, each.fence, 5) for each in (late, good, ended)])
    assert (scene.store.events(late.id), scene.store.events(ended.id)) == before
    assert scene.event_types(good.id) == ["added", "processing", "prolonged"]
    scene.transact(node="node-2", name="host:2", prolongs=[ProlongNote(good.id, good.fence, 5)])
    assert scene.event_types(good.id) == ["added", "processing", "prolonged"]


def test_a_job_that_ends_in_the_same_commit_keeps_its_prolong(scene: Scene) -> None:
    """Notes are written before ends."""
    job = scene.add_and_claim()
    ending = complete(job, output="1", now_us=scene.now_us)
    scene.transact(prolongs=[ProlongNote(job.id, job.fence, 5)], endings=[ending])
    assert scene.event_types(job.id) == ["added", "processing", "prolonged", "completed"]
