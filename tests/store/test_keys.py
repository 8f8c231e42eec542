"""Idempotency keys with a time to live of their own (those without are in test_adding)."""

from __future__ import annotations

import pytest

from jobwarden.errors import InvalidJobError
from jobwarden.jobs import JobOptions
from jobwarden.store import Store

from .scene import START_US, Scene

YEAR = 366 * 86_400


def test_a_key_with_a_time_to_live_holds_for_just_that_time(scene: Scene) -> None:
    """Whether its job has ended or not; whoever comes after takes it over."""
    first = scene.add(idempotency_key="k", idempotency_ttl=60)
    scene.pass_seconds(59.999_999)
    assert scene.add(idempotency_key="k", idempotency_ttl=1) == first
    scene.pass_seconds(0.000_001)
    second = scene.add(idempotency_key="k", idempotency_ttl=60)
    assert second != first
    assert not scene.get(first).ended
    assert scene.add(idempotency_key="k") == second


def test_a_short_time_to_live_ends_also_when_the_job_has_just_ended(scene: Scene) -> None:
    """The usual week after the end is for keys without one."""
    job = scene.add_and_claim(idempotency_key="k", idempotency_ttl=60)
    scene.complete(job)
    assert scene.add(idempotency_key="k") == job.id
    scene.pass_seconds(60)
    assert scene.add(idempotency_key="k") != job.id


def test_a_long_time_to_live_outlasts_the_job(scene: Scene) -> None:
    """Also its week."""
    job = scene.add_and_claim(idempotency_key="k", idempotency_ttl=YEAR)
    scene.complete(job)
    scene.pass_seconds(YEAR - 60)
    assert scene.add(idempotency_key="k") == job.id
    scene.pass_seconds(60)
    assert scene.add(idempotency_key="k") != job.id


def test_forever_is_a_time_to_live(scene: Scene) -> None:
    """At most one job for this key, whatever happens to it."""
    job = scene.add_and_claim(idempotency_key="k", idempotency_ttl="forever")
    scene.complete(job)
    scene.pass_seconds(50 * YEAR)
    assert scene.add(idempotency_key="k", idempotency_ttl=1) == job.id


def test_the_holders_time_to_live_is_that_of_the_job_that_took_the_key(scene: Scene) -> None:
    """Who takes over an expired key sets it anew, for the whole of its own time, or without one."""
    scene.add(idempotency_key="k", idempotency_ttl=10)
    scene.pass_seconds(10)
    second = scene.add(idempotency_key="k")
    scene.pass_seconds(YEAR)
    assert scene.add(idempotency_key="k", idempotency_ttl=5) == second


def test_of_equal_keys_in_one_batch_the_first_one_s_time_holds(store: Store) -> None:
    """As the first one's job does."""
    options = [JobOptions(job_type="a", idempotency_key="k", idempotency_ttl=ttl) for ttl in (5, "forever")]
    first, same = store.add(options, now_us=START_US)
    assert first == same
    (later,) = store.add(options[:1], now_us=START_US + 5_000_000)
    assert later != first


@pytest.mark.parametrize("batch", [False, True])
def test_a_time_to_live_needs_a_key(store: Store, *, batch: bool) -> None:
    """Otherwise somebody believes that repeating is safe."""
    options = [JobOptions(job_type="a", idempotency_key="k")] * batch
    with pytest.raises(InvalidJobError, match="idempotency_key; give one") as raised:
        store.add([*options, JobOptions(job_type="a", idempotency_ttl=5)], now_us=START_US)
    assert raised.value.field == ("jobs[1].idempotency_ttl" if batch else "idempotency_ttl")
    assert store.find() == []
