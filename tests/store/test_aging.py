"""Aging: priorities are strict, but what has waited for too long runs, one of each type at a time."""

from __future__ import annotations

from jobwarden.store.gates.aging import lift_starved

from .scene import Scene

AFTER_SECONDS = 300.0


def lift(scene: Scene) -> int:
    with scene.store._access.writing() as connection:  # noqa: SLF001 - maintenance calls it
        return lift_starved(connection, now_us=scene.now_us, after_seconds=AFTER_SECONDS)


def test_priorities_are_strict_until_a_job_is_starved(scene: Scene) -> None:
    """A low one waits behind every higher one for as long as the setting says."""
    low = scene.add(priority=-5)
    scene.pass_seconds(200)
    high = scene.add(priority=5)
    assert lift(scene) == 0
    assert [job.id for job in scene.claim(1)] == [high]
    scene.add(priority=5)
    scene.pass_seconds(120)
    assert lift(scene) == 1
    assert [job.id for job in scene.claim(1)] == [low]


def test_one_starved_job_of_a_type_goes_in_front_at_a_time(scene: Scene) -> None:
    """The longest due first; the next one only when that has been claimed."""
    starved = [scene.add(priority=-1) for _ in range(3)]
    scene.pass_seconds(400)
    high = [scene.add(priority=1) for _ in range(4)]
    assert lift(scene) == 1
    assert lift(scene) == 0
    assert [job.id for job in scene.claim(2)] == [starved[0], high[0]]
    assert lift(scene) == 1
    assert [job.id for job in scene.claim(2)] == [starved[1], high[1]]


def test_other_types_starve_a_type_too(scene: Scene) -> None:
    """Claims merge all served types, so a type of low priority alone can be passed over."""
    low = scene.add("low", priority=-1)
    scene.pass_seconds(400)
    scene.add(priority=1)
    assert lift(scene) == 1
    assert [job.id for job in scene.claim(1, types=("work", "low"))] == [low]


def test_a_backlog_of_one_priority_keeps_its_order(scene: Scene) -> None:
    """Nobody is passed over there, however long it takes."""
    for _ in range(3):
        scene.add()
    scene.pass_seconds(4000)
    assert lift(scene) == 0


def test_the_lowest_of_many_priorities_are_looked_at(scene: Scene) -> None:
    """The longest due of the 16 lowest ranks goes, not simply the lowest."""
    oldest = scene.add(priority=-10)
    scene.pass_seconds(10)
    for priority in range(-20, -10):
        scene.add(priority=priority)
    scene.pass_seconds(400)
    scene.add(priority=9)
    assert lift(scene) == 1
    assert [job.id for job in scene.claim(1)] == [oldest]


def test_a_claim_ends_the_place_in_front(scene: Scene) -> None:
    """A job that has to wait again has the rank of its priority."""
    low = scene.add(priority=-1)
    scene.pass_seconds(400)
    high = scene.add(priority=1)
    lift(scene)
    (job,) = scene.claim(1)
    assert job.id == low
    scene.give_back(job)
    assert [each.id for each in scene.claim(1)] == [high]


def test_a_starved_job_in_a_lane_goes_to_the_front_of_it(scene: Scene) -> None:
    """A limited type lets the highest priorities in first, so the rule holds there as well."""
    scene.store.controls.set_limit("type", "work", max_running=1, now_us=scene.now_us)
    (running,) = [scene.add_and_claim()]
    low = scene.add(priority=-1)
    scene.pass_seconds(400)
    scene.add(priority=1)
    assert lift(scene) == 1
    scene.complete(running)
    assert [job.id for job in scene.claim()] == [low]


def test_none_switches_aging_off(scene: Scene) -> None:
    """Strict is a choice."""
    scene.add(priority=-1)
    scene.pass_seconds(4000)
    scene.add(priority=1)
    with scene.store._access.writing() as connection:  # noqa: SLF001
        assert lift_starved(connection, now_us=scene.now_us, after_seconds=None) == 0
