"""Maintenance: whose round it is, what a round does in which order, and the same by hand."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from jobwarden.clock import SECOND_US
from jobwarden.errors import InvalidJobError
from jobwarden.jobs import JobOptions, JobStatus, Outcome
from jobwarden.store import StoreOptions, Wish, open_store
from jobwarden.store.keeping import retention, rounds
from jobwarden.store.keeping.retention import Retention
from jobwarden.store.keeping.rounds import BATCH, LONGEST_PERIOD_US, Duty, Rounds
from jobwarden.store.keeping.upkeep import Reclaimed
from jobwarden.store.life import hold_node, lock_path
from jobwarden.store.work import ProlongNote

from .maintaining import USUAL, access_of, maintain, rows, tamper
from .scene import NAME, NODE, Scene

PERIOD_US = 3 * SECOND_US
DAY_SECONDS = 86_400
AT_ONCE = Retention(completed_days=0, ended_days=0)


# whose round it is


def _win(scene: Scene, *, later_us: int = 0) -> bool:
    return scene.writer.win_round(period_us=PERIOD_US, now_us=scene.now_us + later_us)


def test_exactly_one_node_wins_a_round(scene: Scene, url: str) -> None:
    """Also the very first one, for which there is no row yet; the next is a period later."""
    other = open_store(url)
    second = other.writer()
    try:
        for at in range(5):
            now_us = scene.now_us + at * PERIOD_US
            asked = [each.win_round(period_us=PERIOD_US, now_us=now_us) for each in (scene.writer, second) * 2]
            assert sum(asked) == 1
            assert not second.win_round(period_us=PERIOD_US, now_us=now_us + PERIOD_US - 1)
    finally:
        second.close()
        other.close()


def test_a_clock_that_was_wrong_does_not_stop_maintenance(scene: Scene) -> None:
    """Whoever was a year ahead has put the next round a year away."""
    assert _win(scene, later_us=365 * DAY_SECONDS * SECOND_US)
    assert _win(scene)
    assert not _win(scene, later_us=-LONGEST_PERIOD_US // 2)


# what a round does


def test_a_round_expires_what_was_not_started_in_time(scene: Scene) -> None:
    """Also where nobody claims; what was started in time may take its time."""
    late, in_time = scene.add("unserved", expires_in=60), scene.add(expires_in=60)
    scene.claim()
    scene.pass_seconds(100)
    assert maintain(scene) == {"expired": 1}
    assert (scene.get(late).status, scene.get(in_time).status) == (JobStatus.CANCELLED, JobStatus.PROCESSING)


def test_a_round_lifts_who_waits_for_too_long(scene: Scene) -> None:
    """Aging is one of its duties."""
    scene.add("work", priority=0)
    scene.pass_seconds(1000)
    scene.add("work", priority=5)
    assert maintain(scene) == {"lifted": 1}


def test_a_backlog_of_one_duty_does_not_hold_up_the_others(scene: Scene) -> None:
    """After each full batch the others have their turn: a round ends with its period, whatever is left."""
    scene.store.add([JobOptions(job_type="work")] * (3 * BATCH), now_us=scene.now_us)
    tamper(scene, "UPDATE job SET status = 'cancelled', ended_at = :now, ready = NULL, due_at = NULL", now=1)
    scene.add(idempotency_key="over")
    tamper(scene, 'UPDATE "key" SET expires_at = :now', now=1)
    work = Rounds(msgspec.structs.replace(USUAL, retention=AT_ONCE))
    work.begin()
    done: list[dict[str, int]] = []
    while not work.is_over():
        scene.writer.step_round(work, now_us=scene.now_us)
        done.append(dict(work.done))
    assert {"removed": BATCH, "keys": 1} in done
    assert done[-1] == {"removed": 3 * BATCH, "keys": 1}


def test_a_round_that_moved_jobs_says_so(scene: Scene) -> None:
    """So that others are rung; removing rings nobody."""
    scene.complete(scene.add_and_claim())
    scene.add(expires_in=1)
    scene.pass_seconds(10)
    work = Rounds(msgspec.structs.replace(USUAL, retention=AT_ONCE))
    work.begin()
    moved = []
    while not work.is_over():
        before = dict(work.done)
        if scene.writer.step_round(work, now_us=scene.now_us).moved:
            moved += [name for name in work.done if work.done[name] != before.get(name)]
    assert moved == ["expired"]
    assert work.done["removed"] == 2


def test_a_duty_that_fails_leaves_nothing_and_can_be_left_out(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its batch is rolled back; the duties after it are done."""

    def spoil(turn: rounds.Turn) -> rounds.Batch:
        turn.connection.execute(text("DELETE FROM job"))
        raise LookupError

    monkeypatch.setattr(rounds, "DUTIES", (Duty("odd", spoil), *rounds.DUTIES))
    job_id = scene.add(expires_in=1)
    scene.pass_seconds(10)
    work = Rounds(USUAL)
    work.begin()
    with pytest.raises(LookupError):
        scene.writer.step_round(work, now_us=scene.now_us)
    assert work.skip() == "odd"
    while not work.is_over():
        scene.writer.step_round(work, now_us=scene.now_us)
    assert work.done == {"expired": 1}
    assert scene.get(job_id).status is JobStatus.CANCELLED


@pytest.mark.only("sqlite", reason="PRAGMA synchronous shows what a commit waits for")
def test_what_would_only_come_again_need_not_reach_the_disk_at_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retention costs no wait for the disk; outcomes, and what jobs are moved by, keep theirs, also after a failure."""
    opened = open_store(url, StoreOptions(synchronous="full"))
    scene = Scene(opened)
    seen: list[tuple[str, int]] = []

    def look(name: str) -> Callable[[rounds.Turn], rounds.Batch]:
        def batch(turn: rounds.Turn) -> rounds.Batch:
            seen.append((name, turn.connection.execute(text("PRAGMA synchronous")).scalar_one()))
            raise LookupError

        return batch

    watched = Duty("removing", look("removing")), Duty("moving", look("moving"), moves_jobs=True)
    monkeypatch.setattr(rounds, "DUTIES", watched)
    work = Rounds(USUAL)
    work.begin()
    try:
        while not work.is_over():
            with pytest.raises(LookupError):
                scene.writer.step_round(work, now_us=scene.now_us)
            work.skip()
        own = scene.writer._connection  # noqa: SLF001 - which no verb shows
        seen.append(("after", own.execute(text("PRAGMA synchronous")).scalar_one()))
    finally:
        scene.writer.close()
        opened.close()
    assert seen == [("removing", 1), ("moving", 2), ("after", 2)]


def test_tallies_are_folded(scene: Scene) -> None:
    """One row of each type and status, however many commits there were."""
    for _ in range(5):
        scene.complete(scene.add_and_claim())
    maintain(scene)
    assert rows(scene, "SELECT job_type, status, number FROM tally") == [("work", "completed", 5)]


# cleaning up by hand


def test_clean_up_removes_what_has_ended_so_long_ago(scene: Scene) -> None:
    """However it ended, whatever retention says; 0 days is everything that has ended."""
    old = scene.add_and_claim()
    scene.complete(old)
    scene.pass_seconds(2 * DAY_SECONDS)
    fresh = scene.add_and_claim(max_attempts=1)
    scene.end(fresh)
    assert scene.store.upkeep.cleanup_old_jobs(1, scene.now_us) == 1
    assert (scene.store.get(old.id), scene.get(fresh.id).status) == (None, JobStatus.FAILED)
    assert scene.store.upkeep.cleanup_old_jobs(0, scene.now_us) == 1
    assert scene.store.upkeep.cleanup_old_jobs(0, scene.now_us) == 0


def test_clean_up_never_touches_a_retrying_job(scene: Scene) -> None:
    """`failed` is not ended: it still runs."""
    job = scene.add_and_claim(max_attempts=2, retry_delay=5)
    scene.end(job)
    scene.pass_seconds(DAY_SECONDS)
    assert scene.store.upkeep.cleanup_old_jobs(0, scene.now_us) == 0
    (again,) = scene.claim()
    scene.complete(again)
    assert scene.get(job.id).status is JobStatus.COMPLETED


def test_clean_up_goes_through_many_batches(scene: Scene) -> None:
    """Its number is the total."""
    scene.store.add([JobOptions(job_type="work")] * 1234, now_us=scene.now_us)
    tamper(scene, "UPDATE job SET status = 'cancelled', ended_at = :now, ready = NULL, due_at = NULL", now=1)
    assert scene.store.upkeep.cleanup_old_jobs(0, scene.now_us) == 1234
    assert rows(scene, "SELECT count(*) FROM event") == [(0,)]


def test_a_live_job_keeps_its_history(scene: Scene) -> None:
    """Old events go with jobs that have ended or are gone; those of running and retrying jobs stay, however old."""
    ended, retrying = scene.add_and_claim(), scene.add_and_claim(max_attempts=2, retry_delay=9_000_000)
    scene.complete(ended)
    scene.end(retrying)
    removed = scene.add()
    tamper(scene, "DELETE FROM job WHERE id = :id", id=removed)
    scene.pass_seconds(DAY_SECONDS)
    fresh = scene.add_and_claim()
    scene.complete(fresh)
    assert scene.store.upkeep.cleanup_old_job_events(0.5, scene.now_us) == 4
    assert scene.event_types(ended.id) == scene.event_types(removed) == []
    assert scene.event_types(retrying.id) == ["added", "processing", "failed"]
    assert scene.event_types(fresh.id) == ["added", "processing", "completed"]
    assert scene.get(ended.id).status is JobStatus.COMPLETED
    assert scene.store.upkeep.cleanup_old_job_events(0, scene.now_us) == 3


def test_a_revived_job_keeps_the_history_that_it_has_then(scene: Scene) -> None:
    """Events found while it had ended are looked at again when they are to go."""
    job = scene.add_and_claim(max_attempts=1)
    scene.end(job)
    access = access_of(scene)
    with access.reading() as connection:
        found = retention.old_events(connection, after_id=0, before_us=scene.now_us, limit=10)
    scene.store.retry(job.id, now_us=scene.now_us)
    with access.writing() as connection:
        assert retention.remove_events(connection, found) == 0
    assert scene.event_types(job.id) == ["added", "processing", "failed", "retried"]


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "1", True, None, 10**9])
@pytest.mark.parametrize("verb", ["cleanup_old_jobs", "cleanup_old_job_events", "reclaim_stuck_jobs"])
def test_an_impossible_age_is_refused(scene: Scene, verb: str, value: Any) -> None:
    """In one sentence that names it; nothing is changed."""
    ask: Callable[[Any, int], object] = getattr(scene.store.upkeep, verb)
    with pytest.raises(InvalidJobError, match=r"^(days|minutes): .* give a number from 0 to "):
        ask(value if value != 10**9 else 10**12, scene.now_us)


# reclaiming by hand


class Nodes:
    """Who lives and who is dead: by the locks of the nodes' files where there are some, elsewhere by their rows."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._folder = scene.store.side_dir("nodes")
        self._held: list[int] = []
        self._files: list[Path] = []

    def live(self, node: str) -> None:
        if self._folder is not None:
            self._held.append(self._hold(self._folder, node))

    def die(self, node: str) -> None:
        if self._folder is not None:
            os.close(self._hold(self._folder, node))
        else:
            self._scene.writer.remove_node(node)

    def _hold(self, folder: Path, node: str) -> int:
        self._files.append(lock_path(folder, node))
        return hold_node(self._files[-1])

    def end(self) -> None:
        for descriptor in self._held:
            os.close(descriptor)
        for file in self._files:  # of a store that is the same one for the next test
            file.unlink(missing_ok=True)


@pytest.fixture
def nodes(scene: Scene) -> Iterator[Nodes]:
    made = Nodes(scene)
    yield made
    made.end()


def _reclaim(scene: Scene, minutes: float = 10) -> Reclaimed:
    return scene.store.upkeep.reclaim_stuck_jobs(minutes, scene.now_us)


def test_a_healthy_job_of_a_living_node_is_asked_for_and_never_freed(scene: Scene, nodes: Nodes) -> None:
    """The known defect: rescue by age runs a healthy long job twice. Its owner sees the wish."""
    nodes.live(NODE)
    job = scene.add_and_claim()
    scene.pass_seconds(3600)
    assert _reclaim(scene) == Reclaimed([], [job.id])
    assert scene.get(job.id).status is JobStatus.PROCESSING
    assert scene.claim() == []
    (wish,) = scene.transact(read_wishes=True).wishes
    reason = "reclaimed by hand: it ran for more than 10 minutes"
    assert wish == Wish(job.id, job.fence, "requeue", reason)
    scene.end(job, Outcome.INTERRUPTED, "asked for")
    assert scene.transact(read_wishes=True).wishes == []
    assert [each.id for each in scene.claim()] == [job.id]


def test_a_node_without_a_file_is_not_taken_for_dead(scene: Scene) -> None:
    """Somebody may have tidied up under it; whether it is dead, the renewal finds out by its beat."""
    job = scene.add_and_claim()
    scene.pass_seconds(3600)
    assert _reclaim(scene) == Reclaimed([], [job.id])


@pytest.mark.parametrize("how", ["dead", "missing"])
def test_a_dead_nodes_job_is_freed_at_once_with_an_event_and_a_reason(scene: Scene, nodes: Nodes, how: str) -> None:
    """Dead is a free lock, or no row. Lost costs no attempt; the fence rises, so a late result is refused."""
    job = scene.add_and_claim()
    nodes.die(NODE)
    if how == "missing":
        scene.writer.remove_node(NODE)
    scene.pass_seconds(3600)
    assert _reclaim(scene) == Reclaimed([job.id], [])
    record = scene.get(job.id)
    assert (record.status, record.attempts) == (JobStatus.PENDING, 0)
    event = scene.last_event(job.id)
    assert (event.type, event.metadata["why"], event.metadata["owner"]) == ("reclaimed", "lost", NAME)
    assert NAME in event.metadata["reason"]
    (attempt,) = scene.store.attempts(job.id)
    assert attempt.outcome is Outcome.LOST
    (refusal,) = scene.complete(job).refused
    assert not refusal.settled


def test_a_job_within_a_prolonged_limit_is_not_stuck(scene: Scene) -> None:
    """What its own node granted counts, for this attempt and as long as it lasts."""
    job = scene.add_and_claim(timeout_ms=1_000)
    scene.pass_seconds(600)
    scene.transact(prolongs=[ProlongNote(job.id, job.fence, 3_600_000)])
    scene.pass_seconds(3_500)
    assert _reclaim(scene) == Reclaimed([], [])
    scene.pass_seconds(200)
    assert _reclaim(scene) == Reclaimed([], [job.id])


def test_a_job_within_its_own_limit_is_not_stuck(scene: Scene) -> None:
    """Both must be over: the minutes, and its timeoutMs with some seconds in which its node may be killing it."""
    short = scene.add_and_claim(timeout_ms=1000)
    long = scene.add_and_claim(timeout_ms=3_600_000)
    assert _reclaim(scene, 0) == Reclaimed([], [])
    scene.pass_seconds(60)
    assert _reclaim(scene, 0) == Reclaimed([], [short.id])
    assert _reclaim(scene, 2) == Reclaimed([], [])
    scene.pass_seconds(3600)
    assert _reclaim(scene) == Reclaimed([], [short.id, long.id])


def test_a_wish_to_cancel_stands(scene: Scene, nodes: Nodes) -> None:
    """Reclaiming does not turn it into another run; if the node is dead, it is obeyed."""
    job = scene.add_and_claim()
    scene.store.cancel(job.id, now_us=scene.now_us)
    scene.pass_seconds(3600)
    assert _reclaim(scene) == Reclaimed([], [])
    nodes.die(NODE)
    assert _reclaim(scene) == Reclaimed([job.id], [])
    assert scene.get(job.id).status is JobStatus.CANCELLED


def test_what_follows_from_a_reclaimed_job_follows(scene: Scene, nodes: Nodes) -> None:
    """Lost for the fifth time it is quarantined: that is an end, and its dependents are told."""
    job_id = scene.add()
    child = scene.add("unserved", depends_on={"jobIds": [job_id]})
    for number in range(5):
        node = f"node {number}"
        scene.register(node, NAME)
        assert len(scene.claim(node=node)) == 1
        nodes.die(node)
        scene.pass_seconds(3600)
        assert _reclaim(scene).freed == [job_id]
    assert scene.get(job_id).status is JobStatus.FAILED
    assert scene.get(child).status is JobStatus.CANCELLED
    assert scene.store.counts()["work"] == {"failed": 1}


def test_many_stuck_jobs_of_dead_and_living_nodes_are_told_apart(scene: Scene, nodes: Nodes) -> None:
    """In batches, each job once."""
    scene.register("living", "host:2")
    nodes.live("living")
    ids = scene.store.add([JobOptions(job_type="work")] * 1200, now_us=scene.now_us)
    lost = [job.id for job in scene.claim(600)]
    kept = [job.id for job in scene.claim(600, node="living", name="host:2")]
    nodes.die(NODE)
    scene.pass_seconds(3600)
    assert _reclaim(scene) == Reclaimed(lost, kept)
    assert sorted(lost + kept) == ids
