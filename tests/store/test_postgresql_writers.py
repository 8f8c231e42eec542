"""What the verbs in Core mind while others write, on PostgreSQL: the moment of each commit is in the test's hand."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, Engine, insert, select, update

from jobwarden.clock import SECOND_US, SYSTEM_CLOCK
from jobwarden.errors import StoreContendedError
from jobwarden.jobs import JobFilter, JobOptions, JobStatus, Outcome
from jobwarden.store import Store, schema
from jobwarden.store.access import MOST_TRIES
from jobwarden.store.gates import edges
from jobwarden.store.gates.aging import FRONT, lift_starved
from jobwarden.store.gates.lanes import Lanes, adjust
from jobwarden.store.keeping import repair
from jobwarden.store.keeping.expiring import expire
from jobwarden.store.keeping.rounds import Rounds
from jobwarden.store.people.changing import retry_job
from jobwarden.store.row_locks import lock_jobs

from ..support.played_writers import EXACT, MOST_EXACT, RULES
from ..support.waiting import LIMIT_SECONDS
from . import invariants
from .maintaining import access_of, maintain
from .scene import Scene
from .test_postgresql_races import blocked, caller, other, take, thread, writing

__all__ = ["caller", "other", "thread"]

pytestmark = pytest.mark.only("postgresql", reason="SQLite lets one transaction write at a time; these need two")

job = schema.job


def ready(scene: Scene) -> int:
    """How many jobs may be claimed."""
    with access_of(scene).reading() as connection:
        return len(connection.execute(select(job.c.id).where(job.c.ready == 1)).all())


def limit(scene: Scene, scope: str, name: str, most: int | None) -> None:
    scene.store.controls.set_limit(scope, name, max_running=most, now_us=scene.now_us)


def set_limit_by_hand(connection: Connection, scene: Scene, most: int) -> None:
    """A change of a limit that holds the lock of the lanes, and is not committed yet."""
    Lanes.lock(connection)
    connection.execute(update(schema.control).values(max_running=most, updated_at=scene.now_us))


# limits


@pytest.mark.parametrize(("scope", "name"), [("group", "g"), ("group", "*"), ("type", "work")])
def test_a_limit_that_an_open_add_did_not_know_is_exact_after_the_next_round(
    scene: Scene, caller: Engine, scope: str, name: str
) -> None:
    """The add began before, and ended after, the limit was set: the surplus is withdrawn without any waiters there."""
    with caller.begin() as connection:
        options = [JobOptions(job_type="work", group_id="g")] * 4
        scene.store.add(options, now_us=scene.now_us, connection=connection)
        limit(scene, scope, name, 1)
    assert ready(scene) == 4
    maintain(scene)
    assert ready(scene) == 1


def test_limits_are_read_again_under_the_lock(
    scene: Scene, url: str, caller: Engine, other: Store, thread: ThreadPoolExecutor
) -> None:
    """An add that waits for whoever changes the limit goes by the new one."""
    limit(scene, "type", "work", 5)
    with writing(url) as first:
        set_limit_by_hand(first, scene, 0)
        option = JobOptions(job_type="work")
        late = blocked(thread, caller, lambda: other.add([option], now_us=scene.now_us))
        first.commit()
    late.result(LIMIT_SECONDS)
    assert ready(scene) == 0


def test_an_open_add_of_a_client_holds_nobodys_lane(scene: Scene, caller: Engine) -> None:
    """Its limited jobs only come to wait; ends of others are settled meanwhile, and a round admits the new ones."""
    limit(scene, "type", "work", 1)
    running = scene.add_and_claim()
    with caller.begin() as connection:
        (added,) = scene.store.add([JobOptions(job_type="work")], now_us=scene.now_us, connection=connection)
        assert scene.complete(running).refused == []
    assert ready(scene) == 0
    maintain(scene)
    assert [each.id for each in scene.claim()] == [added]


def test_setting_a_limit_leaves_a_job_alone_that_is_claimed_meanwhile(scene: Scene, url: str) -> None:
    """It waits for no claim, and a running job does not come to stand in a lane."""
    first_id, second_id = scene.add(), scene.add()
    with writing(url) as claim:
        assert take(claim, scene, limit=1) == [first_id]
        limit(scene, "type", "work", 0)
        claim.commit()
    with access_of(scene).reading() as connection:
        rows = connection.execute(select(job.c.status, job.c.ready, job.c.gate).order_by(job.c.id)).all()
    assert [tuple(row) for row in rows] == [("processing", None, None), ("pending", None, "lane")]
    assert second_id > first_id


def test_a_waiter_that_somebody_is_changing_is_passed_over(scene: Scene, url: str) -> None:
    """Whoever adjusts the lanes waits for no job: it would hold up all that is limited."""
    limit(scene, "type", "work", 1)
    running, first, second = scene.add_and_claim(), scene.add(), scene.add()
    with writing(url) as connection:
        lock_jobs(connection, [first])
        scene.complete(running)
        assert [each.id for each in scene.claim()] == [second]


def test_a_job_that_became_ready_is_not_made_ready_again_when_it_runs(scene: Scene, url: str) -> None:
    """Two nodes promote the same due job; the other one has claimed it already."""
    job_id = scene.add()
    with writing(url) as claim:
        assert take(claim, scene, limit=1) == [job_id]
        claim.commit()
    with access_of(scene).writing() as connection:
        Lanes.lock(connection)
        assert adjust(connection, {("work", None)}, now_us=scene.now_us) == 0
        assert repair.release_unlimited(connection) == 0
    assert scene.get(job_id).status is JobStatus.PROCESSING


# the front, and time


def test_lifting_the_starved_leaves_a_job_alone_that_is_claimed_meanwhile(scene: Scene, url: str) -> None:
    """It keeps its rank: given back, it must not stand in front of everybody."""
    starved = scene.add()
    scene.pass_seconds(600)
    high = scene.add(priority=5)
    with writing(url) as connection:
        lock_jobs(connection, [starved])
        with access_of(scene).writing() as lifting:
            assert lift_starved(lifting, now_us=scene.now_us, after_seconds=300) == 0
    with access_of(scene).reading() as connection:
        ranks = connection.execute(select(job.c.claim_rank).where(job.c.id.in_([starved, high]))).scalars().all()
    assert FRONT not in ranks


def test_a_job_that_somebody_is_changing_does_not_expire(scene: Scene, url: str) -> None:
    """Expiry comes before each claim: it waits for nobody. Who has not been started afterwards expires then."""
    job_id = scene.add(expires_in=60)
    scene.pass_seconds(61)
    with writing(url) as connection:
        lock_jobs(connection, [job_id])
        assert _expired(scene) == []
    assert _expired(scene) == [job_id]


def _expired(scene: Scene) -> list[int]:
    with access_of(scene).writing() as connection:
        return expire(connection, access_of(scene).sql, touched=set(), now_us=scene.now_us)


# people


def test_clearing_the_failed_spares_what_is_retried_meanwhile(
    scene: Scene, url: str, caller: Engine, other: Store, thread: ThreadPoolExecutor
) -> None:
    """The filter is judged once more when the row is locked: whoever asked for the retry was told that it runs."""
    failed = scene.add_and_claim(max_attempts=1)
    scene.end(failed)
    with writing(url) as connection:
        retry_job(connection, access_of(scene).sql, failed.id, now_us=scene.now_us)
        clearing = blocked(
            thread, caller, lambda: other.bulk.clear(JobFilter.parse(status=["failed"]), now_us=scene.now_us)
        )
        connection.commit()
    assert clearing.result(LIMIT_SECONDS).ids == []
    assert [each.id for each in scene.claim()] == [failed.id]


def test_reclaiming_by_hand_asks_the_node_that_has_the_job_now(
    scene: Scene, url: str, caller: Engine, other: Store, thread: ThreadPoolExecutor
) -> None:
    """Its dead node's job was freed and claimed by a living one while reclaim waited for the row."""
    running = scene.add_and_claim()
    with access_of(scene).writing() as connection:
        connection.execute(update(job).values(node_id="long gone"))
    scene.pass_seconds(10)
    with writing(url) as connection:
        connection.execute(update(job).values(node_id="node-1", fence=running.fence + 2))
        reclaim = blocked(thread, caller, lambda: other.upkeep.reclaim_stuck_jobs(0, scene.now_us))
        connection.commit()
    reclaimed = reclaim.result(LIMIT_SECONDS)
    assert (reclaimed.freed, reclaimed.asked) == ([], [running.id])


# prerequisites


def test_a_job_that_is_revived_while_its_prerequisite_fails_meets_that_failure(
    scene: Scene, url: str, caller: Engine, thread: ThreadPoolExecutor
) -> None:
    """The end of the prerequisite waits for the revival, and finds a job that waits; it must not wait for ever."""
    parent = scene.add_and_claim(max_attempts=1)
    child = scene.add(depends_on={"job_ids": [parent.id]})
    scene.store.cancel(child, now_us=scene.now_us)
    with writing(url) as connection:
        retry_job(connection, access_of(scene).sql, child, now_us=scene.now_us)
        ending = blocked(thread, caller, lambda: scene.end(parent, Outcome.FAILED))
        connection.commit()
    assert ending.result(LIMIT_SECONDS).refused == []
    assert scene.get(child).status is JobStatus.CANCELLED


def test_an_edge_is_settled_once(scene: Scene) -> None:
    """Who comes second must not write that the dependent missed the failure because of which it ended."""
    parent = scene.add_and_claim(max_attempts=1)
    child = scene.add(depends_on={"job_ids": [parent.id]})
    scene.end(parent)
    edge = schema.edge
    with access_of(scene).writing() as connection:
        found = [edges._Edge(child, parent.id, "cancel", JobStatus.FAILED)]  # noqa: SLF001 - as it saw it before
        settle = edges._settle  # noqa: SLF001
        settle(connection, access_of(scene).sql, found, lanes=Lanes.load(connection), now_us=scene.now_us)
        assert connection.execute(select(edge.c.settled)).scalar_one() == edges.GAVE_UP


def test_an_add_waits_for_the_end_of_its_prerequisite_that_could_not_see_it(
    scene: Scene, url: str, caller: Engine, other: Store, thread: ThreadPoolExecutor
) -> None:
    """Once it is committed it looks again; nobody has to repair anything."""
    parent = scene.add_and_claim()
    option = JobOptions.model_validate({"job_type": "work", "depends_on": {"job_ids": [parent.id]}})
    with writing(url) as connection:
        # An end that has looked for dependents and is about to commit.
        ended = {"status": "completed", "ended_at": scene.now_us, "completed_at": scene.now_us, "node_id": None}
        connection.execute(update(job).where(job.c.id == parent.id).values(ended))
        connection.execute(insert(schema.tally), {"job_type": "work", "status": "completed", "number": 1})
        add = blocked(thread, caller, lambda: other.add([option], now_us=scene.now_us))
        connection.commit()
    (child,) = add.result(LIMIT_SECONDS)
    assert [each.id for each in scene.claim()] == [child]


# keys


@pytest.mark.parametrize("commits", [True, False])
def test_of_two_adders_of_one_key_one_makes_the_job(
    scene: Scene, caller: Engine, other: Store, thread: ThreadPoolExecutor, *, commits: bool
) -> None:
    """The second waits for the first and gets its job; if the first changes its mind, the key is free."""
    option = JobOptions(job_type="work", idempotency_key="once")
    with caller.connect() as connection:
        (first,) = scene.store.add([option], now_us=scene.now_us, connection=connection)
        adding = blocked(thread, caller, lambda: other.add([option], now_us=scene.now_us))
        if commits:
            connection.commit()
        else:
            connection.rollback()
    (second,) = adding.result(LIMIT_SECONDS)
    assert (second == first) == commits
    assert [each.id for each in scene.claim()] == [second]


# rounds and deadlocks


def test_a_round_is_won_by_exactly_one(scene: Scene, other: Store, thread: ThreadPoolExecutor) -> None:
    """Also the very first one, when the row is not there yet."""
    writers = [scene.writer, other.writer(), other.writer(), other.writer()]
    for number in range(5):
        now_us = scene.now_us + number * 10 * SECOND_US
        asked = [thread.submit(writer.win_round, period_us=SECOND_US, now_us=now_us) for writer in writers]
        assert sum(each.result(LIMIT_SECONDS) for each in asked) == 1
    for writer in writers[1:]:
        writer.close()


def test_a_verb_that_loses_a_deadlock_is_done_again(
    scene: Scene, url: str, caller: Engine, thread: ThreadPoolExecutor
) -> None:
    """Nothing of it was done; whoever asked hears nothing of it."""
    low, high = scene.add(), scene.add()
    tries: list[int] = []
    through = threading.Event()

    def crosswise(connection: Connection) -> str:
        tries.append(len(tries))
        if len(tries) > 1:  # else it may have `high` again before the other one, which is only just being woken
            assert through.wait(LIMIT_SECONDS)
        lock_jobs(connection, [high])
        lock_jobs(connection, [low])
        return "done"

    with writing(url) as connection:
        # This one does not look for deadlocks, so the verb is the one that loses.
        connection.exec_driver_sql("SET LOCAL deadlock_timeout = '60s'")
        lock_jobs(connection, [low])
        verb = blocked(thread, caller, lambda: access_of(scene).write(crosswise))
        lock_jobs(connection, [high])
        connection.commit()
        through.set()
    assert verb.result(LIMIT_SECONDS) == "done"
    assert len(tries) == 2


def test_a_verb_that_loses_every_time_says_so(scene: Scene) -> None:
    """It is an error of the store's being busy, like any other: try again."""
    tries: list[int] = []

    def lose(_connection: Connection) -> None:
        tries.append(len(tries))
        raise StoreContendedError("here", "another transaction was in the way; try again")

    with contextlib.suppress(StoreContendedError):
        access_of(scene).write(lose)
    assert len(tries) == MOST_TRIES


# everything at once

PLAYERS = 4
STEPS = 150


@pytest.mark.slow
def test_processes_that_do_everything_at_once_break_nothing(
    url: str, store: Store, caller: Engine, record_property: Callable[[str, object], None]
) -> None:
    """A limit is never exceeded, what should follow follows, and locks are taken in one order: hardly any deadlock."""
    store.controls.set_limit("group", EXACT, max_running=MOST_EXACT, now_us=SYSTEM_CLOCK.now_us())
    command = [sys.executable, "-m", "tests.support.played_writers", url]
    players = [
        subprocess.Popen(
            [*command, str(number), str(STEPS), f"player-{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(PLAYERS)
    ]
    assert [_line(player) for player in players] == ["ready"] * PLAYERS
    for player in players:
        assert player.stdin is not None
        player.stdin.write("\n")
        player.stdin.flush()
    told = [json.loads(player.communicate()[0]) for player in players]
    assert [player.returncode for player in players] == [0] * PLAYERS
    assert 0 < max(each["most_exact"] for each in told) <= MOST_EXACT
    with caller.connect() as connection:
        query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        record_property("deadlocks", connection.exec_driver_sql(query).scalar_one())
    record_property("told", [each["told"] for each in told])
    assert all(set(each["told"]) <= {f"contended {name}" for name in OWN_CONNECTION} for each in told), told
    _come_to_rest(store)
    with access_of(Scene(store)).reading() as connection:
        invariants.check(connection)


OWN_CONNECTION = ("claim", "finish", "maintain")
"""Steps of a writer: nobody repeats them for it."""


def _come_to_rest(store: Store) -> None:
    """Rounds, each well after the last, until there is nothing left to repair."""
    writer, rounds = store.writer(), Rounds(RULES)
    now_us = SYSTEM_CLOCK.now_us()
    for number in range(1, 6):
        rounds.begin()
        while not rounds.is_over():
            writer.step_round(rounds, now_us=now_us + number * 120 * SECOND_US)
    writer.close()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()
