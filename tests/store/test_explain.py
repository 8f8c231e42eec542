"""explain: for every state of a job, why it does not run, and when it may."""

from __future__ import annotations

import pytest

from jobwarden.clock import SECOND_US, to_datetime
from jobwarden.errors import UnknownJobError
from jobwarden.jobs import DependsOn, Explanation, Outcome, ReasonKind
from jobwarden.store import Work
from jobwarden.store.entries import as_json
from jobwarden.store.work import ServedType

from .scene import NAME, NODE, Scene


def serve(scene: Scene, *types: str, node: str = NODE, name: str = NAME) -> None:
    """As a daemon does when a generation becomes current, with a beat."""
    served = as_json([ServedType(job_type=each) for each in types])
    scene.writer.transact(Work(now_us=scene.now_us, node_id=node, node_name=name, types=served, report="{}"))


def explain(scene: Scene, job_id: int) -> Explanation:
    return scene.store.controls.explain(job_id, now_us=scene.now_us)


def kinds(scene: Scene, job_id: int) -> list[str]:
    return [str(reason.kind) for reason in explain(scene, job_id).reasons]


def the_text(scene: Scene, job_id: int) -> str:
    (reason,) = explain(scene, job_id).reasons
    return reason.text


def test_an_unknown_job_is_an_error(scene: Scene) -> None:
    """It names the id."""
    with pytest.raises(UnknownJobError):
        explain(scene, 99)


def test_a_ready_job_waits_for_a_worker_behind_others(scene: Scene) -> None:
    """Those with a higher priority, of all types that the node serves."""
    serve(scene, "work", "other")
    job_id = scene.add()
    scene.add(priority=1)
    scene.add("other", priority=1)
    scene.add("foreign", priority=1)
    assert kinds(scene, job_id) == [ReasonKind.READY]
    assert "2 ready jobs go before it" in the_text(scene, job_id)
    assert NAME in the_text(scene, job_id)


def test_a_running_job_names_who_has_it(scene: Scene) -> None:
    """And a wish about it."""
    job = scene.add_and_claim()
    assert the_text(scene, job.id).startswith(f"it runs: {NAME} has it since")
    scene.store.cancel(job.id, now_us=scene.now_us)
    assert the_text(scene, job.id).endswith("asked to be cancelled")


def test_an_ended_job_says_how_it_ended(scene: Scene) -> None:
    """Completed, failed for good with its reason, or cancelled."""
    job = scene.add_and_claim()
    scene.complete(job)
    failed = scene.add_and_claim(max_attempts=1)
    scene.end(failed)
    assert "completed" in the_text(scene, job.id)
    assert "failed for good (handler_error)" in the_text(scene, failed.id)
    assert kinds(scene, failed.id) == [ReasonKind.ENDED]


def test_a_job_of_the_future_may_run_at_its_time(scene: Scene) -> None:
    """`next_at` is that moment; so it is for a job that waits for its next attempt."""
    serve(scene, "work")
    due_us = scene.now_us + 3600 * SECOND_US
    later = scene.add(run_at=to_datetime(due_us))
    explanation = explain(scene, later)
    assert [reason.kind for reason in explanation.reasons] == [ReasonKind.NOT_DUE]
    assert explanation.next_at == to_datetime(due_us)
    job = scene.add_and_claim(retry_delay=600, retry_backoff=False)
    scene.end(job)
    serve(scene, "work")
    assert "its next attempt is due at" in the_text(scene, job.id)
    assert explain(scene, job.id).next_at == scene.get(job.id).next_attempt_at


def test_a_job_that_has_just_become_due_says_so(scene: Scene) -> None:
    """It is in no state without a reason, not even between two looks."""
    serve(scene, "work")
    job_id = scene.add(run_at=to_datetime(scene.now_us + SECOND_US))
    scene.pass_seconds(2)
    assert kinds(scene, job_id) == [ReasonKind.READY]


def test_prerequisites_are_named_with_their_state(scene: Scene) -> None:
    """At most twenty of them."""
    serve(scene, "work")
    parents = [scene.add() for _ in range(25)]
    child = scene.add(depends_on=DependsOn.model_validate({"job_ids": parents}))
    reasons = explain(scene, child).reasons
    assert [reason.kind for reason in reasons] == [ReasonKind.WAITS_FOR_JOB] * 21
    assert reasons[0].text == f"it waits for job {parents[0]}, which (work) is pending"
    assert reasons[20].text == "it waits for 5 more jobs"


def test_a_barrier_names_the_job_that_holds_it(scene: Scene) -> None:
    """And the tags."""
    serve(scene, "work")
    first = scene.add(tags=["import", "eu"])
    job_id = scene.add(depends_on=DependsOn(tags=["eu"]))
    assert kinds(scene, job_id) == [ReasonKind.WAITS_FOR_TAGS]
    assert f"the tags eu: job {first} (work) is pending" in the_text(scene, job_id)


def test_a_pause_is_told_with_its_reason_and_end(scene: Scene) -> None:
    """Of the type, and of everything."""
    serve(scene, "work")
    job_id = scene.add()
    until_us = scene.now_us + 60 * SECOND_US
    scene.store.controls.pause("work", reason="the API is down", until_us=until_us, now_us=scene.now_us)
    assert kinds(scene, job_id) == [ReasonKind.PAUSED]
    assert the_text(scene, job_id).endswith(": the API is down")
    assert explain(scene, job_id).next_at == to_datetime(until_us)
    scene.store.controls.pause(now_us=scene.now_us)
    assert kinds(scene, job_id) == [ReasonKind.PAUSED, ReasonKind.PAUSED]
    assert explain(scene, job_id).next_at is None


def test_a_limit_names_the_jobs_that_hold_it(scene: Scene) -> None:
    """Running and ready ones; for groups, types and the default of groups."""
    serve(scene, "work")
    scene.store.controls.set_limit("group", "*", max_running=2, now_us=scene.now_us)
    running = scene.add_and_claim(group_id="g")
    ready, waiting = scene.add(group_id="g"), scene.add(group_id="g")
    assert kinds(scene, waiting) == [ReasonKind.LIMIT]
    assert the_text(scene, waiting) == (
        f"group g is limited to 2 at once, and 2 of 2 are taken: job {running.id} (running), job {ready} (ready)"
    )


def test_a_job_that_has_just_become_due_in_a_full_lane_is_told_of_the_limit(scene: Scene) -> None:
    """Nobody has looked at the store since: it is not ready, and the next look will not make it so."""
    serve(scene, "work")
    scene.store.controls.set_limit("type", "work", max_running=1, now_us=scene.now_us)
    ready, later = scene.add(), scene.add(run_at=to_datetime(scene.now_us + SECOND_US))
    scene.pass_seconds(2)
    assert kinds(scene, ready) == [ReasonKind.READY]
    assert kinds(scene, later) == [ReasonKind.LIMIT]


def test_a_rate_says_when_the_next_may_start(scene: Scene) -> None:
    """`next_at` is the moment of the next token."""
    serve(scene, "work")
    scene.store.controls.set_limit("type", "work", rate=1, rate_seconds=60, now_us=scene.now_us)
    scene.add_and_claim()
    job_id = scene.add()
    serve(scene, "work")
    assert kinds(scene, job_id) == [ReasonKind.RATE]
    next_at = explain(scene, job_id).next_at
    assert next_at is not None
    assert to_datetime(scene.now_us + 60 * SECOND_US) <= next_at <= to_datetime(scene.now_us + 62 * SECOND_US)


def test_a_limit_per_node_is_told_when_all_nodes_are_at_it(scene: Scene) -> None:
    """One node, one job of the type at a time."""
    serve(scene, "work")
    scene.store.controls.set_limit("type", "work", max_per_node=1, now_us=scene.now_us)
    scene.add_and_claim()
    job_id = scene.add()
    assert kinds(scene, job_id) == [ReasonKind.NODE_LIMIT]


def test_no_handler_and_no_node_are_told_apart(scene: Scene) -> None:
    """Loading nodes and nodes that are silent are named."""
    job_id = scene.add()
    assert kinds(scene, job_id) == [ReasonKind.NO_HANDLER]
    assert f"{NAME} is loading its handlers" in the_text(scene, job_id)
    serve(scene, "other")
    assert the_text(scene, job_id) == "no live node has a handler for work"
    scene.pass_seconds(40)
    assert kinds(scene, job_id) == [ReasonKind.NO_NODE]
    assert f"{NAME} last beat 40 s ago" in the_text(scene, job_id)
    scene.writer.remove_node(NODE)
    assert the_text(scene, job_id) == "no daemon runs on this store; start `jobwarden run`"


def test_expiry_is_told_before_and_after(scene: Scene) -> None:
    """Before it is a note beside the reasons; after it, the reason."""
    serve(scene, "work")
    job_id = scene.add(expires_in=10)
    assert kinds(scene, job_id) == [ReasonKind.READY, ReasonKind.EXPIRES]
    scene.pass_seconds(11)
    assert kinds(scene, job_id) == [ReasonKind.EXPIRED]
    scene.claim()
    assert kinds(scene, job_id) == [ReasonKind.ENDED]
    assert "expired" in the_text(scene, job_id)


def test_all_reasons_that_hold_are_told(scene: Scene) -> None:
    """Time alone does not help while another reason has no end."""
    job_id = scene.add(run_at=to_datetime(scene.now_us + 60 * SECOND_US))
    scene.store.controls.pause("work", now_us=scene.now_us)
    assert kinds(scene, job_id) == [ReasonKind.NOT_DUE, ReasonKind.PAUSED, ReasonKind.NO_HANDLER]
    assert explain(scene, job_id).next_at is None


def test_the_json_has_camel_case_names(scene: Scene) -> None:
    """As in `explain --json`."""
    job = scene.add_and_claim()
    scene.end(job, Outcome.CANCELLED)
    told = explain(scene, job.id).model_dump(by_alias=True, mode="json")
    assert list(told) == ["jobId", "status", "reasons", "nextAt"]
    assert list(told["reasons"][0]) == ["kind", "text", "until"]
