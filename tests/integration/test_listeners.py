"""Listeners: called for what is committed after they came, one after another, whatever another listener does."""

from __future__ import annotations

import asyncio
import queue
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from jobwarden.client import AsyncClient, Client
from jobwarden.errors import StoreUnavailableError
from jobwarden.store.people.feed import Feed
from tests.support.played_node import PlayedNode
from tests.support.waiting import eventually

LIMIT_SECONDS = 30

Heard = queue.SimpleQueue[dict[str, Any]]


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


@pytest.fixture
def heard() -> Heard:
    return queue.SimpleQueue()


def listeners_threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "jobwarden-listeners"]


def hear(heard: Heard, name: str, data: dict[str, Any]) -> None:
    heard.put({**data, "name": name})


def test_each_transition_is_heard_with_its_job(client: Client, node: PlayedNode, heard: Heard) -> None:
    """By name, with jobId and jobType; a failure with error and willRetry, progress with its number."""
    for name in ("added", "processing", "completed", "failed", "cancelled", "retried", "progress"):
        client.on(f"job:{name}", partial(hear, heard, name))
    job_id = client.add_job("digest")
    job = node.take_one()
    node.progress(job, 40)
    node.fail(job, error="no")
    client.retry_job(job_id)
    node.fail(node.take_one(), error="never", permanent=True)
    client.retry_job(job_id)
    node.complete(node.take_one())
    other = client.add_job("digest")
    client.cancel_job(other)
    told = [heard.get(timeout=LIMIT_SECONDS) for _ in range(12)]
    assert [each["name"] for each in told] == [
        *("added", "processing", "progress", "failed", "retried", "processing", "failed"),
        *("retried", "processing", "completed", "added", "cancelled"),
    ]
    assert all(each["jobType"] == "digest" and each["jobId"] in {job_id, other} for each in told)
    assert [(each["error"], each["willRetry"]) for each in told if each["name"] == "failed"] == [
        ("no", True),
        ("never", False),
    ]
    assert told[2]["progress"] == 40


def test_nothing_from_before_is_heard(client: Client, heard: Heard) -> None:
    """A listener begins at the moment of `on`; all that is committed after it returned is heard."""
    client.add_job("digest")
    client.on("job:added", heard.put)
    second = client.add_job("digest")
    assert heard.get(timeout=LIMIT_SECONDS)["jobId"] == second
    assert heard.empty()


def test_once_is_called_once(client: Client, heard: Heard) -> None:
    """Also if several such events come in one batch."""
    calls: list[int] = []
    client.once("job:added", lambda data: calls.append(data["jobId"]))
    client.on("job:added", heard.put)
    first, _ = client.add_job("digest"), client.add_job("digest")
    heard.get(timeout=LIMIT_SECONDS)
    heard.get(timeout=LIMIT_SECONDS)
    assert calls == [first]


def test_off_and_remove_all_end_the_calls(client: Client, heard: Heard) -> None:
    """Each takes away what it names and nothing else; taking away what is not there is no error."""
    unwanted: Heard = queue.SimpleQueue()
    client.on("job:added", unwanted.put)
    client.on("job:cancelled", unwanted.put)
    client.on("job:added", heard.put)
    client.off("job:added", unwanted.put)
    client.off("job:added", unwanted.put)
    client.remove_all_listeners("job:cancelled")
    client.cancel_job(client.add_job("digest"))
    client.add_job("digest")
    heard.get(timeout=LIMIT_SECONDS)
    heard.get(timeout=LIMIT_SECONDS)
    assert unwanted.empty()


def test_the_thread_ends_with_the_last_listener(client: Client, heard: Heard) -> None:
    """It begins with the first one, and again with the next."""
    assert listeners_threads() == []
    client.on("job:added", heard.put)
    assert len(listeners_threads()) == 1
    client.remove_all_listeners()
    eventually(lambda: not listeners_threads(), what="the end of the listeners' thread")
    client.on("job:added", heard.put)
    client.add_job("digest")
    assert heard.get(timeout=LIMIT_SECONDS)


def test_closing_the_client_ends_listening(url: str, heard: Heard) -> None:
    """The thread is gone when `close` returns; a client that is used again has no listeners."""
    client = Client(url)
    client.on("job:added", heard.put)
    client.close()
    assert listeners_threads() == []
    client.add_job("digest")
    client.close()
    assert heard.empty()


def test_a_listener_may_close_the_client(url: str) -> None:
    """From within its own thread, which does not wait for itself."""
    client, closed = Client(url), threading.Event()

    def close(_: object) -> None:
        client.close()
        closed.set()

    client.on("job:added", close)
    client.add_job("digest")
    assert closed.wait(LIMIT_SECONDS)
    eventually(lambda: not listeners_threads(), what="the end of the listeners' thread")
    client.close()


def test_a_listener_that_raises_stops_no_other(client: Client, heard: Heard) -> None:
    """Its error goes to job:error, with the job; the next listener and the next event are served."""
    errors: Heard = queue.SimpleQueue()

    def bad(_: object) -> None:
        message = "broken"
        raise ValueError(message)

    client.on("job:added", bad)
    client.on("job:added", heard.put)
    client.on("job:error", errors.put)
    first = client.add_job("digest")
    assert heard.get(timeout=LIMIT_SECONDS)["jobId"] == first
    told = errors.get(timeout=LIMIT_SECONDS)
    assert (str(told["error"]), told["jobId"], told["during"]) == ("broken", first, "job:added")
    client.add_job("digest")
    assert heard.get(timeout=LIMIT_SECONDS)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()], ids=repr)
def test_a_listener_that_wants_to_exit_stops_no_other(client: Client, heard: Heard, error: BaseException) -> None:
    """`sys.exit` in a callback would end the thread without a word, and nobody would be called any more."""
    errors: Heard = queue.SimpleQueue()

    def leave(_: object) -> None:
        raise error

    client.on("job:added", leave)
    client.on("job:added", heard.put)
    client.on("job:error", errors.put)
    for _ in range(2):
        client.add_job("digest")
        assert heard.get(timeout=LIMIT_SECONDS)
        assert errors.get(timeout=LIMIT_SECONDS)["error"] is error


def test_a_thread_that_broke_is_replaced_by_the_next_listener(
    client: Client, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug of ours is shown as a traceback; it must not leave a client whose listeners are never called."""
    shown: queue.SimpleQueue[Any] = queue.SimpleQueue()
    monkeypatch.setattr(threading, "excepthook", shown.put)
    with monkeypatch.context() as patched:
        patched.setattr(Feed, "after", None)
        client.on("job:completed", heard.put)
        shown.get(timeout=LIMIT_SECONDS)
        eventually(lambda: not listeners_threads(), what="the thread has ended")
    client.on("job:added", heard.put)
    client.add_job("digest")
    assert heard.get(timeout=LIMIT_SECONDS)


def test_an_error_that_nobody_listens_to_becomes_a_warning(client: Client, heard: Heard) -> None:
    """So does an error of a listener to job:error; also where warnings are errors the thread goes on."""

    def bad(_: object) -> None:
        message = "broken"
        raise ValueError(message)

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        client.on("job:added", bad)
        client.on("job:added", heard.put)
        client.add_job("digest")
        heard.get(timeout=LIMIT_SECONDS)
        client.on("job:error", bad)
        client.add_job("digest")
        heard.get(timeout=LIMIT_SECONDS)
    assert len(seen) == 2
    assert "ValueError while listening (job:added): broken" in str(seen[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        client.add_job("digest")
        heard.get(timeout=LIMIT_SECONDS)
        client.add_job("digest")
        heard.get(timeout=LIMIT_SECONDS)


def test_a_store_that_is_away_is_told_once_and_no_event_is_lost(
    client: Client, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Following goes on where it was when the store is back."""
    errors: Heard = queue.SimpleQueue()
    away, original = threading.Event(), Feed.after
    looks: queue.SimpleQueue[None] = queue.SimpleQueue()

    def after(self: Feed, cursor: str | None, *, limit: int = 500) -> Any:
        if away.is_set():
            looks.put(None)
            raise StoreUnavailableError("here", "away")
        return original(self, cursor, limit=limit)

    monkeypatch.setattr(Feed, "after", after)
    client.on("job:added", heard.put)
    client.on("job:error", errors.put)
    away.set()
    job_id = client.add_job("digest")
    for _ in range(3):
        looks.get(timeout=LIMIT_SECONDS)
    away.clear()
    assert heard.get(timeout=LIMIT_SECONDS)["jobId"] == job_id
    assert isinstance(errors.get(timeout=LIMIT_SECONDS)["error"], StoreUnavailableError)
    assert errors.empty()


FORKS = """
import os, sys, threading
from jobwarden.client import Client
client, heard, others = Client(sys.argv[1]), threading.Event(), threading.Event()
client.on("job:added", lambda data: heard.set() if data["jobType"] == "parent" else others.set())
if (child := os.fork()) == 0:
    assert not [each for each in threading.enumerate() if each.name == "jobwarden-listeners"]
    mine = threading.Event()
    client.on("job:added", lambda data: mine.set())
    client.add_job("child")
    os._exit(0 if mine.wait(20) and not others.is_set() else 3)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
client.add_job("parent")
sys.exit(code or (0 if heard.wait(20) and others.is_set() else 4))
"""


def test_a_fork_has_no_listeners_and_may_have_its_own(client: Client, url: str) -> None:
    """The parent's are not called in the child, and go on in the parent."""
    client.get_job(1)
    subprocess.run([sys.executable, "-c", FORKS, url], check=True, timeout=60)


def test_asynchronous_listeners_are_called_in_the_event_loop(url: str) -> None:
    """Plain functions and coroutine functions, on the thread of the loop; errors go to job:error; off finds them."""

    async def use() -> None:
        heard: asyncio.Queue[tuple[str, object]] = asyncio.Queue()

        async def slow(data: dict[str, Any]) -> None:
            await heard.put((threading.current_thread().name, data["jobId"]))

        def bad(_: object) -> None:
            message = "broken"
            raise ValueError(message)

        async with AsyncClient(url) as client:
            await client.on("job:added", slow)
            await client.once("job:added", bad)
            await client.on("job:error", lambda data: heard.put_nowait(("error", str(data["error"]))))
            job_id = await client.add_job("digest")
            told = {await asyncio.wait_for(heard.get(), LIMIT_SECONDS) for _ in range(2)}
            assert told == {(threading.main_thread().name, job_id), ("error", "broken")}
            await client.off("job:added", slow)
            await client.on("job:cancelled", slow)
            await client.cancel_job(await client.add_job("digest"))
            assert (await asyncio.wait_for(heard.get(), LIMIT_SECONDS))[1] == job_id + 1
            await client.remove_all_listeners()

    asyncio.run(use())
