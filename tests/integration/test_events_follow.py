"""Following events: in the order of their commits, none missed, until somebody or something ends it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobwarden.client import AsyncClient, Client, tracking
from jobwarden.clock import SECOND_NS, Clock
from jobwarden.errors import InvalidJobError
from jobwarden.jobs import JobOptions
from tests.support.played_node import PlayedNode

LIMIT_SECONDS = 30


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'jobs.db'}"


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as opened:
        yield opened


@pytest.fixture
def node(client: Client, url: str) -> Iterator[PlayedNode]:
    client.get_job(1)
    with PlayedNode(url) as played:
        yield played


def test_all_stored_events_are_listed_oldest_first(client: Client, node: PlayedNode) -> None:
    """Without `follow` and `after` the iterator gives all there is and ends; each names its job's type."""
    job_id = client.add_job("digest")
    node.complete(node.take_one())
    found = list(client.events())
    assert [(each.type, each.job_id, each.job_type) for each in found] == [
        ("added", job_id, "digest"),
        ("processing", job_id, "digest"),
        ("completed", job_id, "digest"),
    ]


def test_a_cursor_leads_on(client: Client) -> None:
    """What comes after an event's cursor is exactly what followed it, also for another client."""
    client.add_job("digest")
    (first,) = client.events()
    later = client.add_job("digest")
    assert [each.job_id for each in client.events(first.cursor)] == [later]
    assert [each.job_id for each in client.events("begin")] == [each.job_id for each in client.events("")]


def test_a_text_that_is_no_cursor_is_refused(client: Client) -> None:
    """When the iterator is asked, in one sentence."""
    with pytest.raises(InvalidJobError, match="cursor"):
        list(client.events("no cursor"))


def test_following_begins_at_the_call(client: Client) -> None:
    """What is committed between the call and the first look at the iterator is seen; what was before is not."""
    client.add_job("digest")
    events = client.events(follow=True)
    second = client.add_job("digest")
    assert next(events).job_id == second


def test_following_from_the_beginning_goes_on_with_what_comes(client: Client) -> None:
    """With "begin" first all there is, then whatever is committed."""
    first = client.add_job("digest")
    events = client.events("begin", follow=True)
    assert next(events).job_id == first
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda: next(events))
        second = client.add_job("digest")
        assert waiting.result(LIMIT_SECONDS).job_id == second


def test_no_event_is_missed_while_many_write(client: Client, url: str) -> None:
    """Four writers commit at once; the follower sees each event once, in the order of the commits."""
    events = client.events(follow=True)

    def write(number: int) -> list[int]:
        with Client(url) as own:
            return [own.add_job(f"t{number}") for _ in range(50)]

    with ThreadPoolExecutor(5) as pool:
        reading = pool.submit(lambda: [next(events).job_id for _ in range(200)])
        added = [job_id for ids in pool.map(write, range(4)) for job_id in ids]
        seen = reading.result(LIMIT_SECONDS)
    assert len(seen) == len(set(seen))
    assert set(seen) == set(added)


def test_following_ends_when_nothing_comes(client: Client) -> None:
    """`idle_seconds` counts from the last event; 0 gives what is there."""
    assert list(client.events(follow=True, idle_seconds=0.01)) == []
    client.add_job("digest")
    assert len(list(client.events("begin", follow=True, idle_seconds=0))) == 1


class HandClock(Clock):
    """Monotonic time is set by hand."""

    seconds = 0

    def monotonic_ns(self) -> int:
        """As set."""
        return self.seconds * SECOND_NS


def test_silence_is_counted_from_the_last_event(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each event begins the time anew."""
    clock = HandClock()
    monkeypatch.setattr(tracking, "SYSTEM_CLOCK", clock)
    track = client.track(None, follow=True, idle_seconds=10)
    client.add_job("digest")
    clock.seconds = 9
    for event in track.next_batch():
        track.advance(event)
    clock.seconds = 18
    assert (track.next_batch(), track.finished) == ([], False)
    clock.seconds = 19
    assert track.finished


def test_following_ends_at_the_callers_word(client: Client) -> None:
    """A set `stop` ends the iterator, also between two events of one batch."""
    stop = threading.Event()
    client.add_jobs([JobOptions(job_type="digest")] * 3)
    events = client.events("begin", follow=True, stop=stop)
    next(events)
    stop.set()
    assert list(events) == []


def test_following_ends_with_the_client(url: str) -> None:
    """An iterator that waits in another thread ends when the client is closed."""
    client = Client(url)
    events = client.events(follow=True)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(list, events)
        client.close()
        assert waiting.result(LIMIT_SECONDS) == []


def test_a_follower_leaves_nothing_behind(client: Client, tmp_path: Path) -> None:
    """An iterator that is given up removes its socket file."""
    events = client.events(follow=True)
    client.add_job("digest")
    next(events)
    events.close()  # type: ignore[attr-defined]
    assert list((tmp_path / "jobs.db.doorbell").iterdir()) == []


FORKS = """
import os, sys
from jobwarden.client import Client
client = Client(sys.argv[1])
events = client.events("begin", follow=True)
client.add_job("digest"); client.add_job("digest")
next(events)
if (child := os.fork()) == 0:
    os._exit(len(list(events)))
left = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) or len(os.listdir(sys.argv[2])) - 1
client.cancel_job(next(events).job_id)
sys.exit(left or (0 if next(events).type == "cancelled" else 9))
"""


def test_a_fork_does_not_follow_along(client: Client, url: str, tmp_path: Path) -> None:
    """In the child the iterator ends: connection and socket are the parent's, which goes on undisturbed."""
    client.get_job(1)
    subprocess.run([sys.executable, "-c", FORKS, url, tmp_path / "jobs.db.doorbell"], check=True, timeout=60)


def test_asynchronous_following_does_the_same(url: str) -> None:
    """An async generator: from a cursor, waiting for more, ended by silence, by `stop` and by closing."""

    async def use() -> None:
        async with AsyncClient(url) as client:
            first = await client.add_job("digest")
            (event,) = [each async for each in client.events()]
            assert event.job_id == first
            following = client.events(event.cursor, follow=True)
            waiting = asyncio.ensure_future(anext(following))
            second = await client.add_job("digest")
            assert (await asyncio.wait_for(waiting, LIMIT_SECONDS)).job_id == second
            assert [each async for each in client.events(follow=True, idle_seconds=0)] == []
            stop = asyncio.Event()
            stop.set()
            assert [each async for each in client.events("begin", follow=True, stop=stop)] == []
            left = asyncio.ensure_future(anext(following, None))
        assert await asyncio.wait_for(left, LIMIT_SECONDS) is None

    asyncio.run(use())
