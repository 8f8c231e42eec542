"""What several writers may do at once on PostgreSQL, with the moment of each commit in the test's hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import pytest
from sqlalchemy import Connection, Engine, delete, insert, select, text, update

from jobwarden.jobs import ClaimedJob, JobOptions, complete
from jobwarden.store import Store, StoreOptions, Work, open_store, schema
from jobwarden.store.dialects import dialect_for
from jobwarden.store.dialects.postgresql.statements import STATEMENTS

from ..support.waiting import LIMIT_SECONDS, eventually
from .scene import NAME, NODE, Scene
from .sql import engine_of_a_caller

pytestmark = pytest.mark.only("postgresql", reason="SQLite lets one transaction write at a time; these need two")

_Answer = TypeVar("_Answer")


@pytest.fixture
def caller(url: str) -> Iterator[Engine]:
    """An application's own engine."""
    engine = engine_of_a_caller(url)
    yield engine
    engine.dispose()


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    """Somebody else, who may have to wait."""
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
def other(url: str) -> Iterator[Store]:
    """A second way into the same database, as another process has it."""
    opened = open_store(url, StoreOptions(lock_timeout_seconds=LIMIT_SECONDS, statement_timeout_seconds=LIMIT_SECONDS))
    yield opened
    opened.close()


@contextmanager
def writing(url: str) -> Iterator[Connection]:
    """A writer's transaction that its test commits."""
    dialect = dialect_for(url, StoreOptions())
    with dialect.engine.connect() as connection:
        dialect.begin(connection, writing=True)
        yield connection
        connection.rollback()
    dialect.close()


def blocked(thread: ThreadPoolExecutor, caller: Engine, call: Callable[[], _Answer]) -> Future[_Answer]:
    """A call that has begun and waits for a lock of another transaction."""
    running = thread.submit(call)
    waits = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

    def is_waiting() -> bool:
        with caller.connect() as connection:
            return connection.execute(waits).scalar_one() > 0 or running.done()

    eventually(is_waiting, what="it waits for a lock")
    assert not running.done(), running.result()
    return running


def take(connection: Connection, scene: Scene, *, limit: int, node: str = NODE) -> list[int]:
    """A claim whose transaction stays open."""
    terms = json.dumps([["work", 3, None, 60.0, None, None]])
    given = {"terms": terms, "limit": limit, "node_id": node, "node_name": NAME, "batch": "held", "now": scene.now_us}
    taken = connection.execute(STATEMENTS.take_ready(1, 0, False), given)  # type: ignore[misc]  # noqa: FBT003
    return [row[0] for row in json.loads(taken.scalar_one())]


def test_a_claim_passes_over_what_another_claim_has_locked(scene: Scene, url: str) -> None:
    """It neither waits nor comes back empty: it takes the next ones, and never more than it was asked for."""
    ids = [scene.add() for _ in range(25)]
    with writing(url) as first:
        assert take(first, scene, limit=10) == ids[:10]
        assert [job.id for job in scene.claim(10)] == ids[10:20]
        assert [job.id for job in scene.claim(10)] == ids[20:]
        assert scene.claim(10) == []
    assert [job.id for job in scene.claim(4)] == ids[:4]


def test_many_claims_at_once_share_the_jobs_out(scene: Scene, other: Store, thread: ThreadPoolExecutor) -> None:
    """Each job goes to one claim, and no claim gets more than it asked for."""
    ids = {scene.add() for _ in range(200)}

    def claims() -> list[list[ClaimedJob]]:
        mine = Scene.__new__(Scene)
        mine.writer, mine.now_us, mine._batches = other.writer(), scene.now_us, 0  # noqa: SLF001 - a second daemon of the node
        got = [mine.claim(7) for _ in range(15)]
        mine.writer.close()
        return got

    answers = [future.result(LIMIT_SECONDS) for future in [thread.submit(claims) for _ in range(4)]]
    batches = [batch for answer in answers for batch in answer]
    assert max(map(len, batches)) <= 7
    taken = [job.id for batch in batches for job in batch]
    assert len(taken) == len(set(taken))
    assert set(taken) == ids


def test_a_claim_in_the_shadow_of_a_burial_gets_nothing(
    scene: Scene, url: str, caller: Engine, thread: ThreadPoolExecutor
) -> None:
    """Whoever deletes the node's row first has it: the claim waits for that, and then there is no node."""
    scene.add()
    with writing(url) as burial:
        burial.execute(delete(schema.node).where(schema.node.c.id == NODE))
        claim = blocked(thread, caller, scene.claim)
        burial.commit()
        assert claim.result(LIMIT_SECONDS) == []


def test_a_burial_waits_for_a_claim_and_frees_what_it_took(
    scene: Scene, other: Store, url: str, caller: Engine, thread: ThreadPoolExecutor
) -> None:
    """A claim that came first is committed before the row goes, so its jobs are seen and freed."""
    job_id = scene.add()
    undertaker = other.writer()
    with writing(url) as open_claim:
        assert take(open_claim, scene, limit=1) == [job_id]
        burial = blocked(
            thread, caller, lambda: undertaker.free_node(NODE, now_us=scene.now_us, jitter=lambda: 1.0, beat=0)
        )
        open_claim.commit()
        assert burial.result(LIMIT_SECONDS) == 1
    undertaker.close()
    assert scene.event_types(job_id)[-1] == "reclaimed"


def test_a_beat_does_not_wait_for_an_open_claim(scene: Scene, other: Store, url: str) -> None:
    """The claim holds the node's row against deletion only."""
    scene.add()
    with writing(url) as open_claim:
        assert len(take(open_claim, scene, limit=1)) == 1
        pulse = other.pulse()
        assert pulse is not None
        assert pulse.renew(NODE, report=None, now_us=scene.now_us).alive
        pulse.close()


def test_an_end_holds_although_somebody_wished_something_at_the_same_moment(
    scene: Scene, url: str, caller: Engine, thread: ThreadPoolExecutor
) -> None:
    """The row that the end waited for is a newer one than it saw, and still the same attempt."""
    job = scene.add_and_claim()
    with writing(url) as wish:
        wish.execute(update(schema.job).where(schema.job.c.id == job.id).values(wish="cancel"))
        end = blocked(thread, caller, lambda: scene.complete(job))
        wish.commit()
        assert end.result(LIMIT_SECONDS).refused == []
    assert scene.get(job.id).status == "completed"
    assert scene.event_types(job.id) == ["added", "processing", "completed"]


def test_of_two_adders_of_one_expired_key_one_wins(
    scene: Scene, other: Store, caller: Engine, thread: ThreadPoolExecutor
) -> None:
    """The second one waits for the first, and then finds the key held by a job that it could not see before."""
    old = scene.add_and_claim(idempotency_key="k")
    scene.complete(old)
    scene.pass_seconds(8 * 86_400)
    with caller.connect() as theirs, theirs.begin():
        (winner,) = scene.store.add([keyed()], now_us=scene.now_us, connection=theirs)
        assert winner != old.id
        second = blocked(thread, caller, lambda: other.add([keyed()], now_us=scene.now_us))
        theirs.commit()
        assert second.result(LIMIT_SECONDS) == [winner]


def test_a_key_whose_taker_gave_up_goes_to_the_next(
    scene: Scene, other: Store, caller: Engine, thread: ThreadPoolExecutor
) -> None:
    """A rollback leaves the expired key as it was."""
    old = scene.add_and_claim(idempotency_key="k")
    scene.complete(old)
    scene.pass_seconds(8 * 86_400)
    with caller.connect() as theirs:
        (loser,) = scene.store.add([keyed()], now_us=scene.now_us, connection=theirs)
        second = blocked(thread, caller, lambda: other.add([keyed()], now_us=scene.now_us))
        theirs.rollback()
        (winner,) = second.result(LIMIT_SECONDS)
    assert winner not in {old.id, loser}


@pytest.mark.parametrize("ttl", [None, 60.0])
def test_of_two_adders_of_a_new_key_one_wins(
    scene: Scene, other: Store, caller: Engine, thread: ThreadPoolExecutor, ttl: float | None
) -> None:
    """Also while the first has not committed."""
    with caller.connect() as theirs:
        (winner,) = scene.store.add([keyed(ttl)], now_us=scene.now_us, connection=theirs)
        second = blocked(thread, caller, lambda: other.add([keyed(ttl)], now_us=scene.now_us))
        theirs.commit()
        assert second.result(LIMIT_SECONDS) == [winner]


def test_an_event_that_is_committed_late_is_delivered_in_its_turn(scene: Scene, caller: Engine) -> None:
    """Whoever follows misses none and gets none twice, although a lower number appeared after a higher one."""
    cursor = scene.store.feed.now()
    with caller.connect() as theirs:
        (late,) = scene.store.add([JobOptions(job_type="work")], now_us=scene.now_us, connection=theirs)
        early = scene.add()
        assert scene.store.feed.after(cursor) == []
        theirs.commit()
    first = scene.store.feed.after(cursor, limit=1)
    rest = scene.store.feed.after(first[-1].cursor)
    assert [event.job_id for event in first + rest] == [late, early]
    assert first[0].id < rest[0].id
    assert scene.store.feed.after(rest[-1].cursor) == []


def test_numbers_of_one_transaction_do_not_decide_the_order_of_commits(scene: Scene, caller: Engine) -> None:
    """A transaction that began to write first comes first, even where its last event has the highest number."""
    cursor = scene.store.feed.now()
    with caller.connect() as theirs:
        (first,) = scene.store.add([JobOptions(job_type="work")], now_us=scene.now_us, connection=theirs)
        between = scene.add()
        (last,) = scene.store.add([JobOptions(job_type="work")], now_us=scene.now_us, connection=theirs)
        theirs.commit()
    events = scene.store.feed.after(cursor)
    assert [event.job_id for event in events] == [first, last, between]
    assert [event.id for event in events] != sorted(event.id for event in events)


def test_what_was_not_committed_is_never_delivered(scene: Scene, caller: Engine) -> None:
    """A rollback holds nobody up and leaves no gap that anybody waits for."""
    cursor = scene.store.feed.now()
    with caller.connect() as theirs:
        scene.store.add([JobOptions(job_type="work")], now_us=scene.now_us, connection=theirs)
        theirs.rollback()
    early = scene.add()
    assert [event.job_id for event in scene.store.feed.after(cursor)] == [early]


def test_the_version_moves_when_an_open_transaction_commits(scene: Scene, caller: Engine) -> None:
    """Events are numbered before they can be seen: who looked in between looks again."""
    versions = [scene.store.data_version()]
    with caller.connect() as theirs:
        scene.store.add([JobOptions(job_type="work")], now_us=scene.now_us, connection=theirs)
        assert scene.store.data_version() == versions[-1]
        scene.add()
        versions.append(scene.store.data_version())
        theirs.commit()
    versions.append(scene.store.data_version())
    assert len(set(versions)) == 3
    assert scene.store.data_version() == versions[-1]


def test_the_version_moves_when_one_of_two_open_transactions_commits(scene: Scene, caller: Engine, url: str) -> None:
    """An older one that stays open for long must not hide a job from whoever hears no notifications."""
    with writing(url) as report, caller.connect() as theirs:
        report.execute(text("SELECT pg_current_xact_id()"))
        (job_id,) = scene.store.add([JobOptions(job_type="work")], now_us=scene.now_us, connection=theirs)
        scene.add()
        version = scene.store.data_version()
        theirs.commit()
        assert scene.get(job_id) is not None
        assert scene.store.data_version() != version


@pytest.mark.parametrize("step", [1, -1])
def test_ends_lock_their_jobs_in_the_order_of_ids(
    scene: Scene, url: str, caller: Engine, thread: ThreadPoolExecutor, step: int
) -> None:
    """However a batch lists them: two batches with the same jobs never wait for each other crosswise."""
    for _ in range(3):
        scene.add()
    jobs = scene.claim()
    _first, second, third = jobs
    with writing(url) as holder:
        holder.execute(select(schema.job.c.id).where(schema.job.c.id == second.id).with_for_update())
        ends = blocked(thread, caller, lambda: scene.writer.transact(ending_work(scene, jobs[::step])))
        free = select(schema.job.c.id).order_by(schema.job.c.id).with_for_update(skip_locked=True)
        with caller.connect() as looker:
            assert list(looker.execute(free).scalars()) == [third.id]
        holder.commit()
        assert ends.result(LIMIT_SECONDS).refused == []


def test_a_job_that_is_only_referred_to_is_claimed(scene: Scene, url: str) -> None:
    """Whoever adds a row that names the job holds its key alone, and a claim does not change that."""
    job_id = scene.add()
    with writing(url) as referrer:
        tagged = {"job_id": job_id, "name": "t", "position": 0}
        referrer.execute(insert(schema.tag), tagged)
        assert [job.id for job in scene.claim()] == [job_id]
        referrer.commit()
    assert scene.get(job_id).tags == ["t"]


def ending_work(scene: Scene, jobs: list[ClaimedJob]) -> Work:
    """Completions in this order."""
    endings = [complete(job, output=None, now_us=scene.now_us) for job in jobs]
    return Work(now_us=scene.now_us, node_id=NODE, node_name=NAME, endings=endings)


def keyed(ttl: float | None = None) -> JobOptions:
    return JobOptions(job_type="work", idempotency_key="k", idempotency_ttl=ttl)
