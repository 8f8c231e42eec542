"""The pool in thousands of random worlds. The rules are in tests/support/pool_watch.py, asserted at every effect.

Each pair of bytes is one step: which, and with what. Step 0 does nothing, so that a failure shrinks to the few steps
that matter; they are printed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hypothesis import example, given, note, settings
from hypothesis import strategies as st

from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.terms import SECOND_NS, PoolTerms
from jobwarden.wire.messages import HANDLER_ERROR, MEMORY, NO_HANDLER, PERMANENT, Failure
from tests.support.pool_world import MS_NS, TERMS, World, serving

EXAMPLES = int(os.environ.get("JOBWARDEN_TEST_EXAMPLES", "0"))
"""Worlds to try; by default a few and always the same ones, so that this is no gamble in CI."""

Step = Callable[[World, int], object]
FAILURES = (HANDLER_ERROR, PERMANENT, NO_HANDLER, MEMORY)
LIMITS: Any = {
    "memory_limit_kb": 1_000,
    "cpu_limit_ms": 500,
    "max_processes": 4,
    "max_timeout_ms": 700,
    "worker_max_jobs": 30,
    "worker_max_growth_kb": 600,
}
"""Of every second world."""
LIMITS_MS = (None, 1, 50, 1_000)
CEILINGS_MS = (None, 120, 2_000)
SILENCES_MS = (None, None, 20, 400)
PROLONGS_MS = (None, 1, 100, 5_000)
PAYLOADS = ("null", '"' + "x" * 5_000 + '"')


def on_a_worker(step: Callable[[World, int], object]) -> Step:
    """The step happens to one of the workers."""

    def on_one(world: World, chosen: int) -> object:
        slots = sorted(world.workers)
        return step(world, slots[chosen % len(slots)]) if slots else None

    return on_one


def on_a_template(step: Callable[[World, int], object]) -> Step:
    """The step happens to one of the templates."""

    def on_one(world: World, chosen: int) -> object:
        generations = sorted(world.templates)
        return step(world, generations[chosen % len(generations)]) if generations else None

    return on_one


def add(world: World, chosen: int) -> None:
    """Some jobs, most of them quick ones, some with a limit, a large payload or a past."""
    for each in range(1 + chosen % 12):
        world.add(
            "slow" if chosen % 5 == 0 else "quick",
            timeout_ms=LIMITS_MS[chosen // 8 % 4],
            heartbeat_timeout_ms=SILENCES_MS[chosen // 3 % 4],
            force_kill_on_timeout=int(chosen % 7 == 0),
            payload=PAYLOADS[(chosen + each) % 11 == 0],
            lost_in_row=int((chosen + each) % 13 == 0),
        )


def wish(world: World, chosen: int) -> None:
    """A client asks something of a processing job."""
    rows = [row.job for row in world.rows.values() if row.status == "processing"]
    if rows:
        job = rows[chosen % len(rows)]
        world.tell(seen.Wished(job.id, job.fence, "cancel" if chosen % 2 else "requeue"))


def lose(world: World, chosen: int) -> None:
    """Another node owns one of our jobs."""
    rows = [row.job for row in world.rows.values() if row.status == "processing"]
    if rows:
        world.someone_else_takes(rows[chosen % len(rows)].attempt)


def distrust(world: World, _chosen: int) -> None:
    """The trust window passes."""
    world.page_trusted = False
    world.tell(seen.TrustLost())


def trust(world: World, _chosen: int) -> None:
    """The lease is renewed."""
    world.page_trusted = True
    if not world.pool.standing.trusted:
        world.tell(seen.TrustBack())


def change_terms(world: World, chosen: int) -> None:
    """The configuration asks for more or fewer workers, and for another ceiling."""
    terms = {name: getattr(TERMS, name) for name in TERMS.__struct_fields__}
    changed = {"workers": 1 + chosen % 4, "max_timeout_ms": CEILINGS_MS[chosen // 4 % 3]}
    world.tell(seen.TermsChanged(PoolTerms(**{**terms, **changed})))


def load(world: World, chosen: int) -> None:
    """A loading template comes to an end, good or bad; sometimes the code is new or a type is gone."""
    for generation, state in list(world.templates.items()):
        if state == "loading":
            types = ("quick",) if chosen % 11 == 1 else ("quick", "slow")
            problem = "broken.py: it is broken" if chosen % 9 == 1 else ""
            world.loaded(generation, code="ab"[chosen % 4 == 1], types=types, problem=problem)


def progress(world: World, slot: int) -> None:
    """The running attempt reports."""
    job = world.workers[slot].current
    if job is not None and not world.workers[slot].written:
        world.tell(seen.ProgressMade(slot, job.fence, 50.0))


def prolong(world: World, chosen: int) -> None:
    """One of the running attempts asks for more time."""
    slots = sorted(world.workers)
    if slots:
        world.prolong(slots[chosen % len(slots)], PROLONGS_MS[chosen // 8 % 4])


def finish_badly(world: World, chosen: int) -> None:
    """The handler fails, leaves a child behind or swallows the soft stop."""
    slots = sorted(world.workers)
    if slots:
        slot = slots[chosen % len(slots)]
        failure = Failure(FAILURES[chosen // 8 % 4], "it failed") if chosen % 2 else None
        world.finish(slot, failure, left_behind=chosen // 4 % 2 == 1, heed=chosen // 2 % 2 == 1)


def change_hooks(world: World, chosen: int) -> None:
    """Workers that begin from now on have hooks to call at their end, or have not."""
    world.take_leave = chosen % 2 == 1
    world.starts = chosen % 3 == 1


def measure(world: World, slot: int) -> None:
    """The meter answers about one of the workers; what it finds goes up with the time."""
    more = world.ns // MS_NS % 7
    world.measure(slot, memory_kb=200 * more, cpu_ms=world.ns // MS_NS, processes=more)


def swell(world: World, slot: int) -> None:
    """The worker keeps memory after its jobs."""
    world.workers[slot].memory_kb += 700


def stick(world: World, slot: int) -> None:
    """The tree of a worker that is being removed does not die."""
    if world.workers[slot].clearing:
        world.tell(seen.Stuck(slot))


def be_shot(world: World, slot: int) -> None:
    """A kill that was ordered arrives."""
    if world.workers[slot].clearing:
        world.die(slot)


STEPS: tuple[tuple[int, str, Step], ...] = (
    (1, "nothing", lambda _world, _chosen: None),
    (16, "add", add),
    (20, "commit and mail", lambda world, _chosen: world.sync()),
    (6, "commit", lambda world, _chosen: world.commit()),
    (4, "commit, answer lost", lambda world, _chosen: world.commit(answer=False)),
    (5, "reconcile", lambda world, _chosen: world.reconcile()),
    (8, "mail", lambda world, _chosen: world.mail()),
    (6, "load", load),
    (2, "template dies", on_a_template(World.template_dies)),
    (3, "reload", lambda world, _chosen: world.tell(seen.ReloadAsked())),
    (10, "births", lambda world, _chosen: world.settle_births()),
    (4, "birth", on_a_worker(World.bear)),
    (4, "greeting", on_a_worker(World.greet)),
    (2, "hooks", change_hooks),
    (2, "not ready", on_a_worker(World.fail_to_begin)),
    (3, "leave", on_a_worker(World.leave)),
    (30, "take", on_a_worker(World.take)),
    (24, "finish", on_a_worker(World.finish)),
    (10, "finish badly", finish_badly),
    (20, "work", on_a_worker(World.work)),
    (20, "hear", on_a_worker(World.hear)),
    (4, "progress", on_a_worker(progress)),
    (4, "beat", on_a_worker(World.beat)),
    (5, "prolong", prolong),
    (3, "crash", on_a_worker(World.die)),
    (2, "fence", on_a_worker(lambda world, slot: world.die(slot, fenced=True))),
    (8, "shot", on_a_worker(be_shot)),
    (8, "bury", on_a_worker(World.bury)),
    (8, "clear", on_a_worker(World.clear)),
    (1, "stuck", on_a_worker(stick)),
    (10, "measure", on_a_worker(measure)),
    (4, "swell", on_a_worker(swell)),
    (8, "a moment", lambda world, chosen: world.pass_time(chosen * MS_NS // 8)),
    (6, "a deadline", lambda world, _chosen: world.wait_for_deadline()),
    (2, "a jump", lambda world, chosen: world.pass_time(chosen * SECOND_NS)),
    (5, "wish", wish),
    (2, "lease lost", lose),
    (1, "trust lost", distrust),
    (4, "trust back", trust),
    (1, "row lost", lambda world, _chosen: world.lose_row()),
    (2, "terms", change_terms),
    (1, "stop", lambda world, chosen: world.tell(seen.StopAsked(now=chosen % 8 == 7))),
)
TABLE = [(name, step) for weight, name, step in STEPS for _ in range(weight)]


def play(script: bytes) -> World:
    """Take the steps of a script in a new world."""
    world = serving(quick=True, **(LIMITS if len(script) % 2 else {}))
    for which, chosen in zip(script[::2], script[1::2], strict=False):
        if world.left:
            break
        name, step = TABLE[which % len(TABLE)]
        if which:
            note(f"{name} ({chosen}), time {world.ns / SECOND_NS:.3f}")
        step(world, chosen)
    return world


def check(script: bytes) -> None:
    """The watch looks at every step; in the end all is well again, and the pool leaves when it is told to."""
    world = play(script)
    trust(world, 0)
    if not world.pool.stopping:
        world.tell(seen.ReloadAsked())
        assert world.run_on(until=lambda: world.ended), "a job never ended"
        assert world.run_on(until=lambda: len(world.pool.workers.idle) == world.pool.terms.workers), "a slot is lost"
        world.tell(seen.StopAsked(now=False))
    assert world.run_on(until=lambda: world.left), "it never left"
    world.commit()
    assert world.watch.not_left() == [], "an attempt was forgotten"
    assert all(len(outcomes) == 1 for outcomes in world.watch.outcomes.values())


@settings(max_examples=EXAMPLES or 25, deadline=None, database=None, derandomize=not EXAMPLES)
@given(st.binary(min_size=300, max_size=600))
@example(b"")
def test_whatever_happens_every_attempt_leaves_the_pool_once_and_by_the_rules(script: bytes) -> None:
    """P1, P2, P3, P5, P7 in the pure core: nothing lost, nothing twice, no end before the tree is gone, nobody
    charged for another's death, every slot back, and a stop that ends.
    """
    check(script)
