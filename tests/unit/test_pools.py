"""Several pools in one node: who is told what, what only all of them may do, and which pool serves which job type."""

from __future__ import annotations

import os

import pytest
from hypothesis import example, given, note, settings
from hypothesis import strategies as st

from jobwarden.supervisor import effects as do
from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.terms import SECOND_NS
from tests.support.pool_world import TERMS, endings, given_back, kinds
from tests.support.pools_world import Part, PoolsWorld, named
from tests.unit.test_pool_in_a_played_world import TABLE, trust

EXAMPLES = int(os.environ.get("JOBWARDEN_TEST_EXAMPLES", "0"))


def world_of(*names: str, **changes: object) -> PoolsWorld:
    """Pools of these names whose workers wait for jobs."""
    world = PoolsWorld(*(named(name, **changes) for name in names))
    world.run_on(until=lambda: all(part.settled for part in world.parts.values()))
    answer(world)
    return world


def answer(world: PoolsWorld) -> None:
    """The store answers every claim that is under way."""
    for part in world.parts.values():
        part.sync()


def served(world: PoolsWorld) -> dict[str, set[str]]:
    """The job types of each pool."""
    return {pool.name: set(pool.generations.types) for pool in world.pools.all}


def save(world: PoolsWorld, *names: str) -> list[int]:
    """These pools are asked to load again: the generations that are loading then."""
    for name in names:
        world.parts[name].tell(seen.ReloadAsked(name))
    loading = [world.parts[name].pool.generations.loading for name in names]
    return [each for each in loading if each is not None]


# who is told


def test_slots_and_generations_say_whose_they_are() -> None:
    """Numbers of three pools never meet, and what is said of a number reaches the pool that gave it."""
    world = world_of("a", "b", "c")
    for place, pool in enumerate(world.pools.all):
        assert {slot % 3 for slot in pool.workers.slots} == {(place + 1) % 3}
        assert pool.generations.serving == place + 1
    for part in world.parts.values():
        slot, job = part.start("slow")
        assert slot in part.pool.workers.slots
        part.finish(slot)
        assert [ending.job_id for ending in endings(part.hear(slot))] == [job.id]


def test_a_claim_is_answered_to_the_pool_that_asked() -> None:
    """Each pool claims its own types for itself, and a failure is its alone."""
    world = world_of("a", "b")
    a, b = world.parts.values()
    a.add("slow")
    effects = world.tell(seen.Rang())
    asked = {
        effect.pool: {terms.job_type for terms in effect.types} for effect in effects if isinstance(effect, do.AskClaim)
    }
    assert asked == {"a": {"quick-a", "slow-a"}, "b": {"quick-b", "slow-b"}}
    world.tell(seen.ClaimFailed("a"))
    assert (a.pool.intake.claiming, b.pool.intake.claiming) == (2, 2), "a asks again, b still waits"


def test_a_full_pool_holds_up_nobody() -> None:
    """All workers of one pool are busy and jobs wait for them; the other pool's jobs come and go."""
    world = world_of("heavy", "light")
    heavy, light = world.parts.values()
    for _ in range(20):
        heavy.add("slow")
    heavy.sync()
    for slot in list(heavy.workers):
        heavy.take(slot)
    for _ in range(50):
        light.add("slow")
    for _ in range(60):
        light.sync()
        for slot in list(light.workers):
            light.work(slot)
    assert len(light.watch.outcomes) == 50
    assert heavy.watch.outcomes == {}
    assert len(heavy.pool.workers.idle) == 0


def test_a_wish_finds_the_pool_that_runs_the_job() -> None:
    """Nobody says which pool it is; the others take no notice."""
    world = world_of("a", "b")
    _, b = world.parts.values()
    slot, job = b.start("slow")
    effects = world.tell(seen.Wished(job.id, job.fence, "cancel"))
    assert [effect.slot for effect in effects if isinstance(effect, do.StopSoftly)] == [slot]


def test_rows_of_one_pool_are_not_given_back_by_another() -> None:
    """What the store holds as processing is compared with what all pools have in hand; only the rest is given back."""
    world = world_of("a", "b")
    jobs = [part.start("slow")[1] for part in world.parts.values()]
    rows = [job.attempt for job in jobs]
    assert given_back(world.tell(seen.Processing([*rows, (99, 1)]))) == [(99, 1)]


def test_what_is_so_for_the_node_is_told_once() -> None:
    """The trust window passes for all pools, and people read one line."""
    world = world_of("a", "b")
    alerts = [effect for effect in world.tell(seen.TrustLost()) if isinstance(effect, do.Alert)]
    assert len(alerts) == 1
    assert [pool.standing.good for pool in world.pools.all] == [False, False]


def test_terms_change_the_pool_that_they_name() -> None:
    """One pool grows, the other stays; terms of an unknown pool change nothing."""
    world = world_of("a", "b")
    world.tell(seen.TermsChanged(named("b", workers=4)))
    assert [pool.terms.workers for pool in world.pools.all] == [2, 4]
    assert world.tell(seen.TermsChanged(named("c", workers=9)), seen.ReloadAsked("c")) == []


def test_the_earliest_deadline_of_all_counts() -> None:
    """The loop waits no longer than the pool that is in the greatest hurry."""
    world = world_of("a", "b")
    for part in world.parts.values():
        part.start("slow", timeout_ms=60_000 if part.pool.name == "a" else 10_000)
    due = [pool.next_ns() for pool in world.pools.all]
    assert world.pools.next_ns() == min(each for each in due if each is not None)


# what only all may do


def test_the_node_leaves_when_its_last_pool_has() -> None:
    """A pool that has nothing to do is done before the others; that ends nothing."""
    world = world_of("a", "b")
    _, b = world.parts.values()
    slot, _job = b.start("slow")
    answer(world)
    world.tell(seen.StopAsked(now=False))
    for part in world.parts.values():
        for each in list(part.workers):
            if each != slot:
                part.end(each)
    assert not world.left
    b.finish(slot)
    b.hear(slot)
    assert not world.left
    b.end(slot)
    assert world.left


def test_the_node_joins_again_when_nothing_of_any_pool_runs() -> None:
    """Ends of attempts are still to be written under the old name."""
    world = world_of("a", "b")
    a, _ = world.parts.values()
    slot, _job = a.start("slow")
    answer(world)
    world.lose_row()
    assert do.Rejoin not in kinds(world.effects)
    a.die(slot)
    a.bury(slot)
    effects = a.clear(slot)
    assert kinds(effects).count(do.Rejoin) == 1
    for part in world.parts.values():
        part.commit()
        part.mail()
    assert [pool.standing.good for pool in world.pools.all] == [True, True]
    world.lose_row()
    assert kinds(world.effects).count(do.Rejoin) <= 1


# what belongs to whom


def test_a_type_that_two_pools_claim_belongs_to_the_first() -> None:
    """The second serves its other types; the sentence names both files and both pools."""
    world = PoolsWorld(named("a"), named("b"))
    a, b = world.parts.values()
    a.loaded(1)
    b.loaded(2, types=("quick", "slow-a"))
    assert served(world) == {"a": {"quick-a", "slow-a"}, "b": {"quick-b"}}
    (problem,) = b.pool.generations.problems
    assert problem.startswith("slow-a.py (pool b): the job type 'slow-a' is served by slow-a.py of the pool a already")


def test_code_that_takes_another_pools_type_does_not_replace_code_that_works() -> None:
    """P6: it is refused as a whole, as any broken save."""
    world = world_of("a", "b")
    _, b = world.parts.values()
    (generation,) = save(world, "b")
    b.loaded(generation, code="b", types=("quick", "slow", "slow-a"))
    assert served(world) == {"a": {"quick-a", "slow-a"}, "b": {"quick-b", "slow-b"}}
    assert b.pool.generations.problem is not None


def test_a_file_that_is_moved_to_another_pool_is_served_there() -> None:
    """Both are loading: whoever has it now is asked first, whichever has loaded first."""
    for first in ("a", "b"):
        world = world_of("a", "b")
        (old, new) = save(world, "a", "b")
        steps = [("a", old, ("quick",)), ("b", new, ("quick", "slow", "slow-a"))]
        for name, generation, types in steps if first == "a" else reversed(steps):
            world.parts[name].loaded(generation, code="b", types=types)
        assert served(world) == {"a": {"quick-a"}, "b": {"quick-b", "slow-b", "slow-a"}}
        assert [pool.generations.problems for pool in world.pools.all] == [(), ()]


def test_two_pools_can_swap_their_types() -> None:
    """Each waits for the other one's load, and neither for ever."""
    world = world_of("a", "b")
    (of_a, of_b) = save(world, "a", "b")
    world.parts["a"].loaded(of_a, code="b", types=("quick-b",))
    assert served(world)["a"] == {"quick-a", "slow-a"}
    world.parts["b"].loaded(of_b, code="b", types=("quick-a", "slow-a"))
    assert served(world) == {"a": {"quick-b"}, "b": {"quick-a", "slow-a"}}


def test_a_pool_keeps_a_type_that_another_one_waits_for() -> None:
    """Whoever serves it and goes on serving it is not refused its own type over code that only wants it."""
    world = world_of("a", "b")
    (of_a, of_b) = save(world, "a", "b")
    world.parts["a"].loaded(of_a, code="b", types=("slow-b",))
    world.parts["b"].loaded(of_b, code="b", types=("quick", "slow", "slow-a"))
    assert served(world) == {"a": {"quick-a", "slow-a"}, "b": {"quick-b", "slow-b"}}
    assert [pool.generations.loading for pool in world.pools.all] == [None, None], "they wait for each other"
    (of_a, of_b) = save(world, "a", "b")
    world.parts["a"].loaded(of_a, code="c", types=("slow-b",))
    world.parts["b"].loaded(of_b, code="c")
    assert world.parts["b"].pool.generations.problems == ()


def test_a_pool_with_nothing_to_fall_back_on_waits_for_nobody() -> None:
    """At a cold start what is free is served at once."""
    world = PoolsWorld(named("a"), named("b"))
    world.parts["a"].loaded(1)
    save(world, "a")
    world.parts["b"].loaded(2, types=("quick", "slow-a"))
    assert served(world)["b"] == {"quick-b"}


def test_a_file_whose_type_another_pool_has_does_not_keep_later_saves_away() -> None:
    """It was not served before either, so nothing gets worse."""
    world = PoolsWorld(named("a"), named("b"))
    world.parts["a"].loaded(1)
    world.parts["b"].loaded(2, types=("quick", "slow-a"))
    (generation,) = save(world, "b")
    world.parts["b"].loaded(generation, code="b", types=("quick", "slow", "slow-a"))
    assert served(world)["b"] == {"quick-b", "slow-b"}


def test_code_whose_first_worker_has_to_prove_it_gives_nothing_up_before() -> None:
    """The trial may fail; until it is over the old types are still served, and nobody else gets them."""
    world = world_of("a", "b")
    (of_a, of_b) = save(world, "a", "b")
    world.parts["a"].starts = True
    world.parts["a"].loaded(of_a, code="b", types=("quick", "slow-b"))
    world.parts["b"].loaded(of_b, code="b", types=("quick", "slow-a"))
    assert served(world)["a"] == {"quick-a", "slow-a"}
    assert served(world)["b"] == {"quick-b", "slow-b"}


def test_whoever_was_refused_loads_again_when_the_type_is_free() -> None:
    """The file was copied first and removed later; nobody has to save it again."""
    world = world_of("a", "b")
    (generation,) = save(world, "b")
    world.parts["b"].loaded(generation, code="b", types=("quick", "slow-a"))
    assert served(world)["b"] == {"quick-b", "slow-b"}
    (generation,) = save(world, "a")
    world.parts["a"].loaded(generation, code="b", types=("quick",))
    again = world.parts["b"].pool.generations.loading
    assert again is not None
    world.parts["b"].loaded(again, code="b", types=("quick", "slow-a"))
    assert served(world) == {"a": {"quick-a"}, "b": {"quick-b", "slow-a"}}


@pytest.mark.parametrize("end", ["fails", "takes too long"])
def test_code_that_waits_for_another_pool_does_not_wait_for_ever(end: str) -> None:
    """The other load fails or hangs: what waited is judged by what is served, and takes no blame for the time."""
    world = world_of("a", "b")
    (of_a, of_b) = save(world, "a", "b")
    world.parts["b"].loaded(of_b, code="b", types=("quick", "slow", "slow-a"))
    assert of_b in world.parts["b"].templates
    if end == "fails":
        world.parts["a"].template_dies(of_a)
    else:
        world.ns += TERMS.load_ns
        effects = world.tell(seen.Ticked())
        assert [each.generation for each in effects if isinstance(each, do.EndTemplate) and each.why] == [of_a]
    b = world.parts["b"].pool.generations
    assert (b.loading, b.serving) == (None, 2)
    assert "slow-a" in str(b.problem)


def test_a_template_that_dies_while_it_waits_is_a_failed_load() -> None:
    """It is not adopted afterwards, and the pool loads again."""
    world = world_of("a", "b")
    (of_a, of_b) = save(world, "a", "b")
    world.parts["b"].loaded(of_b, code="b", types=("quick", "slow-a"))
    world.parts["b"].template_dies(of_b)
    assert world.parts["b"].pool.generations.loading != of_b
    world.parts["a"].loaded(of_a, code="b", types=("quick",))
    assert world.parts["b"].pool.generations.template != of_b
    assert "died" in str(world.parts["b"].pool.generations.problem)


def test_newer_code_replaces_code_that_waits() -> None:
    """What waited is ended, and judged no more."""
    world = world_of("a", "b")
    (_of_a, of_b) = save(world, "a", "b")
    world.parts["b"].loaded(of_b, code="b", types=("quick", "slow-a"))
    (newer,) = save(world, "b")
    assert do.EndTemplate(of_b) in world.effects
    world.parts["b"].loaded(newer, code="c", types=("quick",))
    assert served(world)["b"] == {"quick-b"}


# anything


def move(world: PoolsWorld, part: Part, chosen: int) -> None:
    """A load comes to an end that claims a type of another pool, or lacks its own."""
    others = [each for each in world.parts if each != part.pool.name]
    for generation, state in list(part.templates.items()):
        if state == "loading":
            types = (("quick",), ("slow",), ("quick", f"slow-{others[chosen % len(others)]}"))[chosen % 3]
            part.loaded(generation, code="mn"[chosen % 2], types=types)


def play(script: bytes) -> PoolsWorld:
    """Take the steps of a script, each in one of three pools."""
    world = world_of("a", "b", "c")
    parts = list(world.parts.values())
    for which, chosen in zip(script[::2], script[1::2], strict=False):
        if world.left:
            break
        part = parts[(which + chosen) % len(parts)]
        if which % 32 == 31:
            note(f"move ({chosen}) in {part.pool.name}")
            move(world, part, chosen)
        elif which:
            name, step = TABLE[which * 7 % len(TABLE)]
            note(f"{name} ({chosen}) in {part.pool.name}, time {world.ns / SECOND_NS:.3f}")
            step(part, chosen)
    return world


@settings(max_examples=EXAMPLES or 15, deadline=None, database=None, derandomize=not EXAMPLES)
@given(st.binary(min_size=300, max_size=600))
@example(b"")
def test_whatever_happens_to_several_pools_each_keeps_the_rules(script: bytes) -> None:
    """The watch of each pool looks on; no type has two pools; in the end all jobs end and the node leaves."""
    world = play(script)
    parts = list(world.parts.values())
    trust(parts[0], 0)
    if not parts[0].pool.stopping:
        world.tell(seen.ReloadAsked())
        assert world.run_on(until=lambda: world.ended), "a job never ended"
        assert world.run_on(until=lambda: all(part.settled for part in parts)), "a slot is lost"
        world.tell(seen.StopAsked(now=False))
    assert world.run_on(until=lambda: world.left), "it never left"
    for part in parts:
        part.commit()
    assert [part.watch.not_left() for part in parts] == [[]] * len(parts), "an attempt was forgotten"
