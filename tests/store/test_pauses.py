"""Pauses: nothing new starts, what runs goes on, and they are still there after a restart."""

from __future__ import annotations

import pytest

from jobwarden.clock import SECOND_US, to_datetime
from jobwarden.errors import InvalidJobError
from jobwarden.jobs import Control, ControlScope, JobStatus
from jobwarden.store import open_store

from .scene import Scene


def test_a_paused_type_is_not_claimed_and_its_running_jobs_go_on(scene: Scene) -> None:
    """Other types are untouched; resuming lets its jobs go in their order."""
    running = scene.add_and_claim()
    waiting = scene.add()
    other = scene.add("other")
    scene.store.controls.pause("work", reason="the API is down", now_us=scene.now_us)
    assert [job.id for job in scene.claim(types=("work", "other"))] == [other]
    scene.complete(running)
    assert scene.get(running.id).status is JobStatus.COMPLETED
    assert scene.store.controls.resume("work", now_us=scene.now_us)
    assert not scene.store.controls.resume("work", now_us=scene.now_us)
    assert [job.id for job in scene.claim()] == [waiting]


def test_everything_can_be_paused(scene: Scene) -> None:
    """No type is claimed; a type's own pause stays when the rest goes on."""
    scene.add()
    scene.add("other")
    scene.store.controls.pause(now_us=scene.now_us)
    scene.store.controls.pause("work", now_us=scene.now_us)
    assert scene.claim(types=("work", "other")) == []
    scene.store.controls.resume(now_us=scene.now_us)
    assert [job.job_type for job in scene.claim(types=("work", "other"))] == ["other"]


def test_a_pause_with_an_end_is_over_by_itself(scene: Scene) -> None:
    """The next look is at its end, and the control is gone then."""
    job_id = scene.add()
    until_us = scene.now_us + 60 * SECOND_US
    scene.store.controls.pause("work", until_us=until_us, now_us=scene.now_us)
    assert scene.transact().next_due_us == until_us
    assert scene.claim() == []
    scene.now_us = until_us
    assert scene.store.controls.list(now_us=scene.now_us)[0].paused_at is None
    assert [job.id for job in scene.claim()] == [job_id]
    assert scene.store.controls.list() == []


def test_a_pause_survives_reopening(scene: Scene, url: str) -> None:
    """It is a row, with its reason."""
    scene.store.controls.pause("work", reason="migration", until_us=scene.now_us + SECOND_US, now_us=scene.now_us)
    again = open_store(url)
    try:
        (control,) = again.controls.list()
    finally:
        again.close()
    assert control == Control(
        scope=ControlScope.TYPE,
        name="work",
        paused_at=to_datetime(scene.now_us),
        paused_until=to_datetime(scene.now_us + SECOND_US),
        pause_reason="migration",
    )


def test_a_pause_and_limits_of_a_type_do_not_disturb_each_other(scene: Scene) -> None:
    """Resuming keeps the limit, clearing the limit keeps the pause."""
    scene.store.controls.set_limit("type", "work", max_running=1, now_us=scene.now_us)
    scene.store.controls.pause("work", now_us=scene.now_us)
    scene.store.controls.resume("work", now_us=scene.now_us)
    assert scene.store.controls.list()[0].max_running == 1
    scene.store.controls.pause("work", now_us=scene.now_us)
    scene.store.controls.clear_limits("type", "work", now_us=scene.now_us)
    (control,) = scene.store.controls.list()
    assert (control.max_running, control.paused_at) == (None, to_datetime(scene.now_us))


def test_a_pause_that_cannot_be_is_refused(scene: Scene) -> None:
    """One sentence that names the argument; nothing is changed."""
    controls, now_us = scene.store.controls, scene.now_us
    for given, field in (
        ({"job_type": ""}, "job_type"),
        ({"job_type": "*"}, "job_type"),
        ({"job_type": "work", "until_us": now_us}, "until"),
        ({"job_type": "work", "reason": ""}, "reason"),
        ({"job_type": "work", "reason": "x" * 2000}, "reason"),
    ):
        with pytest.raises(InvalidJobError) as refused:
            controls.pause(**given, now_us=now_us)
        assert refused.value.field == field
    assert controls.list() == []
