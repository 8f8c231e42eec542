"""How many jobs wait: what a service manager is told."""

from __future__ import annotations

from .scene import Scene


def test_ready_jobs_of_the_served_types_count_and_paused_ones_do_not(scene: Scene) -> None:
    """What runs, waits for its time or is somebody else's is not counted; what has become due meanwhile is."""
    scene.add_and_claim()
    scene.end(scene.add_and_claim())  # a retry that is not due yet
    for _ in range(3):
        scene.add()
    scene.add("foreign")
    scene.add("paused")
    scene.store.controls.pause("paused", now_us=scene.now_us)
    served = {"work", "paused"}
    assert scene.store.ready.depth(served, most=100, now_us=scene.now_us) == 3
    scene.pass_seconds(1_000_000)
    assert scene.store.ready.depth(served, most=100, now_us=scene.now_us) == 4
    assert scene.store.ready.depth(set(), most=100, now_us=scene.now_us) == 0


def test_a_long_queue_is_not_counted_to_its_end(scene: Scene) -> None:
    """A million jobs cost what `most` of them cost."""
    for _ in range(5):
        scene.add()
    assert scene.store.ready.depth({"work"}, most=3, now_us=scene.now_us) == 3
