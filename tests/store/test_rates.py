"""Rate limits on a real store: tokens are taken by claims, shared by nodes, returned by what was never started."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from jobwarden.clock import SECOND_US
from jobwarden.jobs import Outcome
from jobwarden.store.work import GiveBack

from .scene import Scene


def set_rate(scene: Scene, scope: str, name: str, rate: int, seconds: float) -> None:
    scene.store.controls.set_limit(scope, name, rate=rate, rate_seconds=seconds, now_us=scene.now_us)


def starts_kept(scene: Scene) -> int:
    with scene.store._access.reading() as connection:  # noqa: SLF001 - the table has no verb
        return int(connection.execute(text("SELECT coalesce(sum(number), 0) FROM start")).scalar_one())


def test_no_more_jobs_start_in_a_window_than_the_rate(scene: Scene) -> None:
    """Three in ten seconds, over two nodes; ended jobs count as started."""
    scene.register("node-2", "host:2")
    set_rate(scene, "type", "work", 3, 10)
    ids = [scene.add() for _ in range(6)]
    first = scene.claim(2)
    second = scene.claim(node="node-2", name="host:2")
    assert [job.id for job in first + second] == ids[:3]
    for job in first:
        scene.complete(job)
    assert scene.claim() == []
    scene.pass_seconds(10)
    assert [job.id for job in scene.claim()] == ids[3:]


def test_the_next_look_is_when_a_token_is_free(scene: Scene) -> None:
    """An idle node wakes then, and not before: no job waits longer than its rate asks for."""
    set_rate(scene, "group", "g", 1, 60)
    for _ in range(2):
        scene.add(group_id="g")
    scene.claim()
    started_us = scene.now_us
    due_us = scene.transact().next_due_us
    assert due_us is not None
    assert started_us + 60 * SECOND_US <= due_us <= started_us + 62 * SECOND_US
    scene.now_us = due_us - SECOND_US
    assert len(scene.claim()) == 1
    assert scene.transact().next_due_us is None


def test_each_group_has_its_own_tokens_under_the_star(scene: Scene) -> None:
    """The default of groups is a rate for each of them."""
    set_rate(scene, "group", "*", 2, 60)
    for group in ("a", "b", "a", "b", "a", None):
        scene.add(group_id=group)
    assert len(scene.claim()) == 5
    assert scene.claim() == []
    scene.pass_seconds(62)
    assert len(scene.claim()) == 1


def test_a_job_given_back_unstarted_returns_its_token(scene: Scene) -> None:
    """It is claimed again at once."""
    set_rate(scene, "type", "work", 1, 3600)
    set_rate(scene, "group", "g", 1, 3600)
    job = scene.add_and_claim(group_id="g")
    assert starts_kept(scene) == 2
    scene.give_back(job)
    assert starts_kept(scene) == 0
    (again,) = scene.claim()
    assert again.id == job.id
    assert starts_kept(scene) == 2


def test_a_give_back_that_is_refused_returns_nothing(scene: Scene) -> None:
    """A late owner has no token to return."""
    set_rate(scene, "type", "work", 5, 3600)
    job = scene.add_and_claim()
    scene.transact(give_backs=[GiveBack(job.id, job.fence + 7)])
    assert starts_kept(scene) == 1


def test_a_retry_takes_a_token_of_its_own(scene: Scene) -> None:
    """A rate limits starts, and a retry is one."""
    set_rate(scene, "type", "work", 2, 60)
    job = scene.add_and_claim(retry_delay=0, max_attempts=9)
    scene.end(job)
    (again,) = scene.claim()
    scene.end(again)
    assert scene.claim() == []
    scene.end(again, Outcome.FAILED)
    scene.pass_seconds(62)
    assert len(scene.claim()) == 1


def test_a_limit_and_a_rate_hold_together(scene: Scene) -> None:
    """One at a time, and three in a minute."""
    scene.store.controls.set_limit("type", "work", max_running=1, rate=3, rate_seconds=60, now_us=scene.now_us)
    for _ in range(5):
        scene.add()
    for _ in range(3):
        (job,) = scene.claim()
        assert scene.claim() == []
        scene.complete(job)
    assert scene.claim() == []


def test_a_clock_that_is_set_back_starts_no_more_than_the_rate(scene: Scene) -> None:
    """What was admitted before is held back by the claim itself."""
    set_rate(scene, "type", "work", 2, 10)
    for _ in range(4):
        scene.add()
    assert len(scene.claim()) == 2
    scene.pass_seconds(12)
    scene.transact()
    scene.add()
    scene.now_us -= 8 * SECOND_US
    assert scene.claim() == []
    scene.pass_seconds(12)
    assert len(scene.claim()) == 2


def test_jobs_that_were_ready_before_a_clock_was_set_back_wait_again(scene: Scene) -> None:
    """The claim takes tokens for what it takes, and what gets none goes back into its lane."""
    set_rate(scene, "type", "work", 2, 10)
    for _ in range(2):
        scene.add()
    assert len(scene.claim()) == 2
    scene.pass_seconds(12)
    ids = [scene.add() for _ in range(2)]
    scene.now_us -= 8 * SECOND_US
    assert scene.claim() == []
    scene.pass_seconds(12)
    assert [job.id for job in scene.claim()] == ids


def test_old_starts_are_removed(scene: Scene) -> None:
    """The table stays as small as a window."""
    set_rate(scene, "type", "work", 100, 1)
    for _ in range(20):
        scene.add_and_claim()
        scene.pass_seconds(1)
    with scene.store._access.reading() as connection:  # noqa: SLF001
        assert connection.execute(text("SELECT count(*) FROM start")).scalar_one() <= 2


def test_a_changed_window_keeps_what_was_counted(scene: Scene) -> None:
    """Five starts in the last second count against five a minute."""
    set_rate(scene, "type", "work", 5, 1)
    for _ in range(10):
        scene.add()
    assert len(scene.claim()) == 5
    set_rate(scene, "type", "work", 5, 60)
    assert scene.claim() == []
    scene.pass_seconds(70)
    assert len(scene.claim()) == 5


def test_a_cleared_rate_releases_all(scene: Scene) -> None:
    """They are ready at once."""
    set_rate(scene, "type", "work", 1, 3600)
    for _ in range(4):
        scene.add()
    scene.store.controls.clear_limits("type", "work", now_us=scene.now_us)
    assert len(scene.claim()) == 4


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.floats(0, 3), st.integers(1, 4), st.booleans()), min_size=1, max_size=20))
def test_no_window_holds_more_starts_whatever_the_claims(scene: Scene, steps: list[tuple[float, int, bool]]) -> None:
    """Random claims and give-backs: what was really started is never above the rate in any window."""
    scene.pass_seconds(3600)
    set_rate(scene, "type", "work", 3, 5)
    for _ in range(10):
        scene.add()
    starts: list[int] = []
    for seconds, limit, give_back in steps:
        scene.pass_seconds(seconds)
        for job in scene.claim(limit):
            if give_back:
                scene.give_back(job)
            else:
                starts.append(scene.now_us)
                scene.complete(job)
    for first in starts:
        assert sum(first <= each < first + 5 * SECOND_US for each in starts) <= 3
