"""Following the events of all jobs: in order, none missed, none twice, whoever writes meanwhile."""

from __future__ import annotations

import multiprocessing
from multiprocessing.synchronize import Event as Gate
from threading import Event

import pytest
from sqlalchemy import insert

from jobwarden.clock import SECOND_US
from jobwarden.errors import InvalidJobError
from jobwarden.jobs import FeedEvent, JobFilter, JobOptions
from jobwarden.store import Store, open_store, schema
from jobwarden.store.access import Access
from jobwarden.store.dialects import StoreOptions, dialect_for

from .scene import START_US, Scene


def told(events: list[FeedEvent]) -> list[tuple[int, str]]:
    return [(event.job_id, event.type) for event in events]


def all_after(store: Store, cursor: str | None, number: int, *, limit: int = 500) -> list[FeedEvent]:
    """Page after page, until there are so many: a store may take a moment until it knows that an event is settled."""
    found: list[FeedEvent] = []
    while len(found) < number:
        page = store.feed.after(cursor, limit=limit)
        found += page
        cursor = page[-1].cursor if page else cursor
        if not page:
            Event().wait(0.01)
    assert store.feed.after(cursor) == []
    return found


def test_the_feed_tells_the_events_of_all_jobs_in_order(scene: Scene) -> None:
    """With what a listener needs: id, type, moment, metadata."""
    first = scene.add_and_claim()
    second = scene.add("other")
    scene.end(first, error="it broke")
    events = all_after(scene.store, None, 4)
    assert told(events) == [
        (first.id, "added"),
        (first.id, "processing"),
        (second, "added"),
        (first.id, "failed"),
    ]
    assert [event.job_type for event in events] == ["work", "work", "other", "work"]
    assert events[-1].metadata == {"error": "it broke", "reason": "handler_error", "willRetry": True}
    assert [event.id for event in events] == sorted({event.id for event in events})
    assert events[0].model_dump(by_alias=True, mode="json")["jobType"] == "work"


@pytest.mark.parametrize("limit", [1, 2, 500])
def test_a_cursor_goes_on_after_its_event(scene: Scene, limit: int) -> None:
    """Whatever the size of the pages."""
    for _ in range(3):
        scene.complete(scene.add_and_claim())
    whole = all_after(scene.store, None, 9)
    assert all_after(scene.store, None, 9, limit=limit) == whole
    assert scene.store.feed.after(whole[4].cursor) == whole[5:]
    assert scene.store.feed.after(whole[-1].cursor) == []


def test_now_is_after_everything_so_far_and_before_everything_to_come(scene: Scene) -> None:
    """Also in an empty store, and after the newest event was removed."""
    empty = scene.store.feed.now()
    assert scene.store.feed.after(empty) == []
    first = scene.add()
    assert told(all_after(scene.store, empty, 1)) == [(first, "added")]
    cursor = scene.store.feed.now()
    second = scene.add()
    assert told(all_after(scene.store, cursor, 1)) == [(second, "added")]
    scene.store.bulk.clear(JobFilter(), now_us=scene.now_us)
    late = scene.store.feed.now()
    third = scene.add()
    assert told(all_after(scene.store, late, 1)) == [(third, "added")]
    assert told(all_after(scene.store, cursor, 1)) == [(third, "added")]


def test_a_cursor_older_than_what_is_left_begins_with_the_oldest(scene: Scene) -> None:
    """What retention took is not mentioned; what stayed is told whole."""
    old = scene.add()
    cursor = all_after(scene.store, None, 1)[0].cursor
    gone, stays = scene.add(), scene.add()
    for job_id in (old, gone):
        scene.store.bulk.remove(job_id, now_us=scene.now_us)
    assert told(all_after(scene.store, cursor, 1)) == [(stays, "added")]
    assert told(all_after(scene.store, None, 1)) == [(stays, "added")]


@pytest.mark.parametrize(
    "cursor", ["", "1", "garbage", "W10", "WyJldmVudHMiXQ", "WyJldmVudHMiLCJ4Il0", "\udcff", "A" * 9_999]
)
def test_what_is_no_cursor_of_events_is_refused(scene: Scene, cursor: str) -> None:
    """It comes from outside: one sentence."""
    with pytest.raises(InvalidJobError, match="cursor: "):
        scene.store.feed.after(cursor)


def test_an_event_whose_job_is_gone_is_told_without_a_type(scene: Scene, url: str) -> None:
    """Somebody deleted the row by hand: that neither stops a follower nor hides from it."""
    dialect = dialect_for(url, StoreOptions(synchronous="normal", lock_timeout_seconds=5))
    with Access(dialect).writing() as connection:
        connection.execute(insert(schema.event), {"job_id": 4711, "type": "added", "at": scene.now_us})
    dialect.close()
    (event,) = all_after(scene.store, None, 1)
    assert (event.job_id, event.job_type) == (4711, None)


def test_a_cursor_of_a_list_of_jobs_is_refused(scene: Scene) -> None:
    """Each only where it came from."""
    for _ in range(2):
        scene.add()
    cursor = scene.store.bulk.find(JobFilter(), limit=1).cursor
    with pytest.raises(InvalidJobError, match="belongs to '-id', not to 'events'"):
        scene.store.feed.after(cursor)


WRITERS = 4
TRANSACTIONS = 25


def write_events(url: str, writer: int, begin: Gate) -> None:
    """Transactions of several adds each, kept open for a while in between; every third is rolled back."""
    dialect = dialect_for(url, StoreOptions(synchronous="normal", lock_timeout_seconds=60))
    access = Access(dialect)
    store = open_store(url, StoreOptions(synchronous="normal", lock_timeout_seconds=60))
    begin.wait(60)
    for number in range(TRANSACTIONS):
        options = [JobOptions(job_type=f"writer-{writer}", payload=number)] * 5
        with access.writing(ring=False) as connection, connection.begin_nested() as part:
            for _ in range(3):
                store.add(options, now_us=START_US + SECOND_US, connection=connection)
            if number % 3 == 2:
                part.rollback()
    store.close()
    dialect.close()


@pytest.mark.slow
def test_a_follower_misses_nothing_while_many_commit_at_once(store: Store, url: str) -> None:
    """Long transactions of several processes: each committed event once, in order, as soon as it is committed."""
    context = multiprocessing.get_context("spawn")
    begin = context.Event()
    writers = [context.Process(target=write_events, args=(url, number, begin)) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    followed: list[FeedEvent] = []
    cursor = store.feed.now()
    begin.set()
    polls = 0
    while any(writer.is_alive() for writer in writers) or polls == 0:
        polls += 1
        page = store.feed.after(cursor, limit=37)
        followed += page
        cursor = page[-1].cursor if page else cursor
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    kept = sum(1 for number in range(TRANSACTIONS) if number % 3 != 2)
    everything = WRITERS * kept * 15
    followed += all_after(store, cursor, everything - len(followed))
    assert len(followed) == everything
    assert polls > WRITERS
    assert len({event.id for event in followed}) == len(followed)
    assert followed == all_after(store, None, everything)
    assert {event.job_id for event in followed} == {job.id for job in store.find(limit=10_000)}
