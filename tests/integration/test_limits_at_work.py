"""Limits, pauses and rates with a real daemon: judged by the stamps of the jobs themselves."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest

from jobwarden.clock import SECOND_NS, SYSTEM_CLOCK
from jobwarden.jobs import JobOptions, JobStatus
from jobwarden.store import Store, open_store
from tests.support.site import Site

SERVED_WITH = {"workers": 4}


@pytest.fixture
def store(served: Site) -> Iterable[Store]:
    opened = open_store(served.url)
    yield opened
    for control in opened.controls.list():
        opened.controls.clear_limits(control.scope, control.name, now_us=SYSTEM_CLOCK.now_us())
    opened.close()


def add(store: Store, count: int, job_type: str = "timed_nap", group: str | None = None) -> list[int]:
    jobs = [JobOptions(job_type=job_type, group_id=group, payload={"seconds": 0.02}) for _ in range(count)]
    return store.add(jobs, now_us=SYSTEM_CLOCK.now_us())


def stamps(served: Site, ids: Iterable[int]) -> list[tuple[int, int]]:
    found = []
    for job_id in ids:
        record = served.await_end(job_id)
        assert record.status is JobStatus.COMPLETED
        assert isinstance(record.output, list)
        began, ended = (int(str(moment)) for moment in record.output)
        found.append((began, ended))
    return found


def at_once(ran: Iterable[tuple[int, int]]) -> int:
    steps = sorted((moment, step) for began, ended in ran for moment, step in ((began, 1), (ended, -1)))
    running = most = 0
    for _moment, step in steps:
        running += step
        most = max(most, running)
    return most


def test_a_group_limit_holds_for_running_processes(served: Site, store: Store) -> None:
    """Five groups of twelve jobs, at most two of each at once."""
    store.controls.set_limit("group", "*", max_running=2, now_us=SYSTEM_CLOCK.now_us())
    ids = {group: add(store, 12, group=group) for group in "abcde"}
    assert [at_once(stamps(served, jobs)) <= 2 for jobs in ids.values()] == [True] * 5


def test_the_next_of_a_lane_starts_when_its_place_is_free(served: Site, store: Store) -> None:
    """Nobody rings for it but the end of the job before it: a chain of forty takes no pauses in between."""
    store.controls.set_limit("group", "chain", max_running=1, now_us=SYSTEM_CLOCK.now_us())
    ran = stamps(served, add(store, 40, group="chain"))
    assert at_once(ran) == 1
    ran.sort()
    pauses = sorted(later[0] - earlier[1] for earlier, later in pairwise(ran))
    # Left to its look every 0.1 s, the daemon would need longer each time; a busy machine may often, but not always.
    assert pauses[len(pauses) // 10] < SECOND_NS // 20


def test_a_handler_may_limit_itself_to_one_per_node(served: Site, store: Store) -> None:
    """`max_concurrency` in the decorator; other types run beside it."""
    narrow, wide = add(store, 10, "narrow_nap"), add(store, 10)
    assert at_once(stamps(served, narrow)) == 1
    stamps(served, wide)


def test_a_rate_spreads_starts_over_time(served: Site, store: Store) -> None:
    """Four in any second, and the node wakes by itself when the next may start."""
    store.controls.set_limit("type", "timed_nap", rate=4, rate_seconds=1.0, now_us=SYSTEM_CLOCK.now_us())
    began = sorted(each[0] for each in stamps(served, add(store, 12)))
    # The stamps are those of the workers, who get their jobs a moment after the claim, on a busy machine a long one.
    assert began[-1] - began[0] > 1.3 * SECOND_NS
    assert all(later - earlier > 0.3 * SECOND_NS for earlier, later in zip(began, began[4:], strict=False))


def test_a_pause_holds_until_it_is_resumed(served: Site, store: Store) -> None:
    """Resuming rings: the jobs run at once."""
    store.controls.pause("timed_nap", reason="test", now_us=SYSTEM_CLOCK.now_us())
    (job_id,) = add(store, 1)
    (other,) = add(store, 1, "narrow_nap")
    stamps(served, [other])
    assert served.job(job_id).status is JobStatus.PENDING
    explained = store.controls.explain(job_id, now_us=SYSTEM_CLOCK.now_us())
    assert [reason.kind for reason in explained.reasons] == ["paused"]
    store.controls.resume("timed_nap", now_us=SYSTEM_CLOCK.now_us())
    stamps(served, [job_id])


def test_a_node_says_which_types_it_serves(served: Site, store: Store) -> None:
    """Whoever asks why a job does not run reads it there."""
    served.await_end(add(store, 1)[0])
    types = {each.job_type for each in store.nodes()[0].types or ()}
    assert {"timed_nap", "narrow_nap", "echo"} <= types
    (foreign,) = add(store, 1, "nobody_serves_this")
    explained = store.controls.explain(foreign, now_us=SYSTEM_CLOCK.now_us())
    assert [reason.kind for reason in explained.reasons] == ["no_handler"]
    store.cancel(foreign, now_us=SYSTEM_CLOCK.now_us())
