"""Code that comes and goes under a running pool (P6, P7), births, and the number of workers."""

from __future__ import annotations

from jobwarden.jobs.outcome import Outcome
from jobwarden.supervisor import effects as do
from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.intake import DEPTH
from jobwarden.supervisor.reloading import FIRST_OVERTAKING_NS
from jobwarden.supervisor.terms import MOST_BIRTHS, SECOND_NS, PoolTerms
from tests.support.pool_world import MS_NS, TERMS, World, endings, given_back, kinds, serving


def reload(world: World, *, code: str = "b", **loaded: object) -> list[do.Effect]:
    """The handlers are loaded again, as other code."""
    world.tell(seen.ReloadAsked())
    world.loaded(max(world.templates), code=code, **loaded)  # type: ignore[arg-type]
    return world.last_effects


def with_workers(count: int) -> PoolTerms:
    """The terms of these tests, with this number of workers."""
    return PoolTerms(**{**{name: getattr(TERMS, name) for name in TERMS.__struct_fields__}, "workers": count})


def wanted_slots(world: World) -> int:
    """Slots that are there to stay."""
    return sum(1 for slot in world.pool.workers.slots.values() if slot.lives)


def test_a_reload_replaces_idle_workers_and_lets_busy_ones_end() -> None:
    """P7: no running job is killed; its worker goes when the job has ended."""
    world = serving(workers=2)
    busy, _job = world.start()
    (idle,) = [slot for slot in world.workers if slot != busy]
    effects = reload(world)
    assert [effect.slot for effect in effects if isinstance(effect, do.KillTree)] == [idle]
    assert do.EndTemplate(1) in effects
    world.finish(busy)
    effects = world.hear(busy)
    assert [ending.outcome for ending in endings(effects)] == [Outcome.SUCCEEDED]
    assert do.KillTree(busy, dump=False) in effects


def test_a_reload_that_somebody_asks_for_replaces_workers_of_the_same_code_too() -> None:
    """Not a byte of the handlers may have changed, but a library that they import."""
    world = serving(workers=2)
    effects = reload(world, code="a")
    assert kinds(effects).count(do.KillTree) == 2
    assert do.EndTemplate(1) in effects


def save(world: World, code: str) -> list[do.Effect]:
    """The watcher has seen this code on the disk."""
    return world.tell(seen.ReloadAsked("default", code))


def test_a_save_that_changes_no_byte_is_not_loaded() -> None:
    """What was read last, by whomever and for better or worse, is not read again."""
    world = serving(workers=1)
    assert save(world, "a") == []
    reload(world, code="b")
    assert save(world, "b") == []
    save(world, "broken")
    world.loaded(3, code="broken", problem="mail.py: no")
    assert save(world, "broken") == []
    assert world.pool.generations.serving == 2


def test_code_that_is_back_after_a_broken_save_takes_the_problem_away_and_replaces_nobody() -> None:
    """The workers run exactly that code; what `status` says of the broken save is history."""
    world = serving(workers=1)
    save(world, "broken")
    world.loaded(2, code="broken", problem="mail.py: no")
    save(world, "a")
    world.loaded(3, code="a")
    assert do.KillTree not in kinds(world.last_effects)
    assert (world.pool.generations.serving, world.pool.generations.problem) == (3, None)


def test_a_reload_and_the_watcher_that_sees_the_same_save_make_one_generation() -> None:
    """Deploy scripts end with a reload; the watcher comes a little later, before or after the code was read."""
    world = serving(workers=1)
    world.tell(seen.ReloadAsked())
    assert save(world, "b") == []
    world.tell(seen.TemplateBegan(2, "b"))
    world.pass_time(FIRST_OVERTAKING_NS)
    world.loaded(2, code="b")
    assert (world.pool.generations.serving, world.pool.generations.loading) == (2, None)
    world.tell(seen.ReloadAsked())
    world.tell(seen.TemplateBegan(3, "c"))
    assert save(world, "c") == []
    world.loaded(3, code="c")
    assert (world.pool.generations.serving, world.pool.generations.loading) == (3, None)


def test_a_save_during_a_load_is_loaded_after_it() -> None:
    """One template loads at a time, and the newest code is the last one."""
    world = serving(workers=1)
    save(world, "b")
    assert save(world, "c") == []
    assert save(world, "d") == []
    world.loaded(2, code="b")
    assert world.pool.generations.serving == 2
    assert do.StartTemplate(3) in world.last_effects
    world.loaded(3, code="d")
    assert (world.pool.generations.serving, world.pool.generations.loading) == (3, None)


def test_a_save_does_not_wait_for_a_load_that_hangs() -> None:
    """The correction of an endless loop is served soon, not after `load_seconds`."""
    world = serving(workers=1)
    save(world, "hangs")
    save(world, "b")
    effects = world.pass_time(FIRST_OVERTAKING_NS)
    assert effects[:2] == [do.EndTemplate(2), do.StartTemplate(3)]
    world.loaded(3, code="b")
    assert world.pool.generations.content_hash == "b"


def test_a_load_that_comes_to_its_end_gives_the_next_ones_no_more_time() -> None:
    """Only loads that were ended in a row are a reason for more patience."""
    world = serving(workers=1)
    for code, generation in (("b", 2), ("d", 4)):
        save(world, f"{code} hangs")
        save(world, code)
        assert do.StartTemplate(generation + 1) in world.pass_time(FIRST_OVERTAKING_NS)
        world.loaded(generation + 1, code=code)
    assert world.pool.generations.content_hash == "d"


def test_saves_without_end_do_not_keep_all_new_code_away() -> None:
    """Each load that was ended for a newer save gives the next one twice the time, so one comes to its end."""
    world = serving(workers=1)
    load_ns, now_ns, count = 3 * SECOND_NS, 0, 0
    started = {2: 0}
    save(world, "0")
    while world.pool.generations.serving == 1:
        now_ns += SECOND_NS // 5
        save(world, str(count := count + 1))
        world.pass_time(SECOND_NS // 5)
        loading = max(world.templates)
        if now_ns - started.setdefault(loading, now_ns) >= load_ns:
            world.loaded(loading, code=f"{count}")
        assert now_ns < TERMS.load_ns, "no load ever came to its end"


def test_a_save_after_a_template_could_not_be_started_is_not_forgotten() -> None:
    """No process or memory was to be had: nothing is wrong with the code, so it is loaded a little later."""
    world = serving(workers=1)
    save(world, "b")
    world.templates.pop(2)
    world.tell(seen.TemplateFailed(2, "its template was not started", again=True))
    effects = world.pass_time(SECOND_NS)
    assert do.StartTemplate(3) in effects
    world.loaded(3, code="b")
    assert world.pool.generations.serving == 3


def fail_in(world: World, file: str | None, why: str = "it hangs") -> list[do.Effect]:
    """The load that is under way ends in this file."""
    generation = max(world.templates)
    world.templates.pop(generation)
    return world.tell(seen.TemplateFailed(generation, why, file))


def test_at_the_start_a_file_that_ends_or_hangs_the_load_costs_only_itself() -> None:
    """It is left out, at once, and told; so is the next one."""
    world = World()
    assert do.StartTemplate(2, without=("a.py",)) in fail_in(world, "a.py", "a.py hangs")
    assert do.StartTemplate(3, without=("a.py", "b.py")) in fail_in(world, "b.py", "b.py exits")
    world.loaded(3, types=("quick",))
    assert world.pool.generations.problems == ("a.py hangs", "b.py exits")
    assert world.pool.generations.types == {"quick"}


def test_what_was_left_out_is_left_out_again_when_the_template_comes_back() -> None:
    """The same code is served as before its death; a save is a fresh start."""
    world = World()
    fail_in(world, "a.py")
    world.loaded(2, types=("quick",))
    world.template_dies(2)
    assert do.StartTemplate(3, restore=True, without=("a.py",)) in world.pass_time(0)
    world.loaded(3, types=("quick",))
    assert do.StartTemplate(4) in save(world, "b")


def test_a_file_is_not_left_out_when_newer_code_waits() -> None:
    """That may be its correction."""
    world = World()
    save(world, "corrected")
    assert do.StartTemplate(2) in fail_in(world, "a.py")


def test_a_template_that_comes_back_serves_what_still_loads() -> None:
    """A library may be gone by now: part of the code is better than no worker at all, and the rest is told."""
    world = serving(workers=1)
    world.template_dies(1)
    world.pass_time(0)
    world.loaded(2, types=("quick",), problem="slow.py: no", broken=("slow.py",))
    assert (world.pool.generations.template, world.pool.generations.problem) == (2, "slow.py: no")


def test_a_template_that_comes_back_says_nothing_about_the_disk() -> None:
    """It loaded from memory: what was refused is still what stands there, and not loaded again for a touch."""
    world = serving(workers=1)
    save(world, "broken")
    world.loaded(2, code="broken", problem="quick.py: no", broken=("quick.py",))
    world.template_dies(1)
    world.pass_time(0)
    world.loaded(3)
    assert save(world, "broken") == []
    assert do.StartTemplate(4) in save(world, "a")


def test_a_file_that_was_broken_before_does_not_keep_other_saves_away() -> None:
    """What serves nothing cannot be broken by a save; what works can, and then nothing changes."""
    world = World()
    fail_in(world, "a.py")
    world.loaded(2, types=("quick",))
    save(world, "b")
    assert do.StartTemplate(4, without=("a.py",)) in fail_in(world, "a.py")
    world.loaded(4, code="b", types=("quick", "slow"))
    assert world.pool.generations.types == {"quick", "slow"}
    save(world, "c")
    fail_in(world, "quick.py")
    assert world.pool.generations.serving == 4
    assert world.pool.generations.loading is None


def test_a_generation_is_refused_for_what_it_would_break_only() -> None:
    """A problem in a file that already had it is no news; one in another file is, and a type that gets lost."""
    world = World()
    world.loaded(1, types=("quick",), problem="slow.py: no", broken=("slow.py",))
    for generation, (broken, types, served) in enumerate(
        [
            (("slow.py",), ("quick", "other"), True),
            (("slow.py", "quick.py"), ("other",), False),
            (("quick.py",), ("other",), False),
            (("slow.py",), ("quick",), True),
            (("slow.py",), ("quick", "slow"), True),
            (("slow.py",), ("quick",), False),
        ],
        start=2,
    ):
        save(world, str(generation))
        world.loaded(generation, code=str(generation), types=types, problem="no", broken=broken)
        assert (world.pool.generations.serving == generation) is served


def test_old_code_gets_no_new_jobs() -> None:
    """A worker that is never idle would otherwise serve the old code for ever; its queue is taken back."""
    world = serving(workers=1, quick=True)
    slot, (running, *waiting) = world.queued(3)
    reload(world)
    assert [job.id for job in world.pool.intake.backlog] == [job.id for job in waiting]
    world.claim(world.add("quick"))
    assert [job.attempt for job in world.pool.workers.slots[slot].in_flight] == [running.attempt]


def test_old_code_gets_no_new_jobs_when_the_new_code_has_shown_to_be_quick() -> None:
    """The queue of a worker of old code stays closed, however little it has to do."""
    world = serving(workers=2, quick=True)
    old, _job = world.start("quick")
    reload(world)
    (idle,) = [slot for slot in world.workers if slot != old]
    world.end(idle)
    world.settle_births()
    (new,) = [slot for slot in world.workers if slot != old]
    for _ in range(25):
        world.add("quick")
        world.sync()
        world.work(new)
    for _ in range(12):
        world.add("quick")
    world.sync()
    assert [len(world.pool.workers.slots[slot].in_flight) for slot in (old, new)] == [1, 8]


def test_a_claimed_job_whose_type_is_gone_is_given_back() -> None:
    """P7: "no handler" never costs an attempt; the job waits for code that knows it."""
    world = serving(workers=1)
    slot, _job = world.start("quick")
    orphan = world.add("slow")
    world.claim(orphan)
    effects = reload(world, types=("quick",))
    assert given_back(effects) == [(orphan, 1)]
    world.finish(slot)
    world.hear(slot)
    world.end(slot)
    world.settle_births()
    world.sync()
    assert world.rows[orphan].status == "ready"
    reload(world, code="c")
    assert world.run_on(until=lambda: world.ended)


def test_a_broken_generation_never_replaces_one_that_works() -> None:
    """P6: the last good one serves on, and people are told why."""
    world = serving(workers=1)
    effects = reload(world, problem="mail.py:3: SyntaxError")
    assert do.Alert("mail.py:3: SyntaxError", pool="default") in effects
    assert do.EndTemplate(2) in effects
    assert (world.pool.generations.serving, world.pool.generations.problem) == (1, "mail.py:3: SyntaxError")
    world.add("slow")
    assert world.run_on(until=lambda: world.ended)


def test_a_first_generation_with_problems_serves_what_it_has() -> None:
    """There is no better one; the problems are told."""
    world = World()
    world.loaded(1, types=("quick",), problem="mail.py: no")
    assert do.ForkWorker in kinds(world.last_effects)
    assert world.pool.generations.problem == "mail.py: no"


def test_a_load_that_takes_too_long_is_given_up() -> None:
    """The template is ended; the old generation serves on."""
    world = serving(workers=1)
    world.tell(seen.ReloadAsked())
    effects = world.pass_time(TERMS.load_ns)
    assert do.EndTemplate(2, "it did not load within 30 s") in effects
    assert world.pool.generations.serving == 1
    assert world.pool.generations.loading is None


def test_a_first_load_that_fails_is_tried_again_more_slowly_each_time() -> None:
    """With nothing to serve, the pauses double."""
    world = World()
    pauses = []
    for _ in range(5):
        (generation,) = world.templates
        before = world.ns
        world.template_dies(generation)
        assert not world.templates
        world.wait_for_deadline()
        pauses.append((world.ns - before) // MS_NS)
    assert pauses == [250, 500, 1_000, 2_000, 4_000]


def test_a_newer_reload_replaces_one_that_is_still_loading() -> None:
    """One loading template at most; the answer of the old one is not taken for the new one's."""
    world = serving(workers=1)
    world.tell(seen.ReloadAsked())
    effects = world.tell(seen.ReloadAsked())
    assert effects[:2] == [do.EndTemplate(2), do.StartTemplate(3)]
    assert world.tell(seen.TemplateReady(2, "b", ())) == [do.EndTemplate(2)]
    assert world.pool.generations.serving == 1


def test_a_template_that_dies_is_replaced_and_its_workers_go_on() -> None:
    """Workers need their template only to be born."""
    world = serving(workers=1)
    slot, _job = world.start()
    world.template_dies(1)
    assert world.workers[slot].alive
    assert do.KillTree not in kinds(world.last_effects)
    world.wait_for_deadline()
    world.settle_births()
    world.finish(slot)
    assert [ending.outcome for ending in endings(world.hear(slot))] == [Outcome.SUCCEEDED]
    assert slot in world.pool.workers.idle


def test_a_worker_that_died_is_replaced_at_once() -> None:
    """P5: the slot comes back, without a pause for one that had served."""
    world = serving(workers=1)
    first, _job = world.start()
    world.finish(first)
    world.hear(first)
    world.die(first)
    world.bury(first)
    assert do.ForkWorker in kinds(world.clear(first))


def test_workers_that_die_at_birth_are_forked_more_slowly_each_time() -> None:
    """A handler module that kills every newborn must not become a fork storm."""
    world = serving(workers=1)
    pauses = []
    for _ in range(4):
        (slot,) = world.workers
        before = world.ns
        world.die(slot)
        world.bury(slot)
        assert do.ForkWorker not in kinds(world.clear(slot))
        world.wait_for_deadline()
        pauses.append((world.ns - before) // MS_NS)
        world.settle_births()
    assert pauses == [100, 200, 400, 800]


def test_a_worker_without_hello_in_time_is_killed_and_replaced() -> None:
    """A birth has a deadline that exists before the fork (R10)."""
    world = World(terms=with_workers(1))
    world.loaded(1)
    (slot,) = world.workers
    world.bear(slot)
    assert do.KillTree(slot, dump=False) in world.pass_time(TERMS.spawn_ns)
    world.end(slot)
    world.wait_for_deadline()
    assert len(world.workers) == 1


def test_a_template_that_does_not_answer_a_fork_is_ended() -> None:
    """It hangs; its birth comes back as unborn, and another template is loaded."""
    world = World(terms=with_workers(1))
    world.loaded(1)
    assert do.EndTemplate(1) in world.pass_time(TERMS.spawn_ns)
    assert world.run_on(until=lambda: len(world.pool.workers.idle) == 1)


def test_more_workers_in_the_configuration_kill_none() -> None:
    """Growing only forks."""
    world = serving(workers=4)
    effects = world.tell(seen.TermsChanged(with_workers(5)))
    assert kinds(effects) == [do.ForkWorker]
    assert len(world.pool.workers.slots) == 5


def test_fewer_workers_in_the_configuration_end_idle_ones_then_busy_ones_after_their_job() -> None:
    """Exactly the surplus goes, and no running job with it."""
    world = serving(workers=4)
    busy = [world.start()[0] for _ in range(3)]
    effects = world.tell(seen.TermsChanged(with_workers(2)))
    assert kinds(effects).count(do.KillTree) == 1
    for slot in busy:
        world.finish(slot)
        world.hear(slot)
    assert wanted_slots(world) == 2
    for slot in list(world.workers):
        if world.workers[slot].clearing:
            world.end(slot)
    assert len(world.pool.workers.slots) == 2


def test_a_worker_that_is_born_after_the_shrinking_is_one_too_many() -> None:
    """It was asked for before the configuration changed."""
    world = World(terms=with_workers(3))
    world.loaded(1)
    world.tell(seen.TermsChanged(with_workers(1)))
    world.settle_births()
    assert wanted_slots(world) == 1


def test_new_terms_hold_for_the_next_generation() -> None:
    """The default limit of types without one is part of the terms."""
    world = serving(workers=1)
    terms = PoolTerms(**{**{name: getattr(TERMS, name) for name in TERMS.__struct_fields__}, "default_timeout_ms": 7})
    world.tell(seen.TermsChanged(terms))
    reload(world)
    assert {each.timeout_ms for each in world.pool.generations.terms} == {7}


def test_new_code_has_to_show_again_that_it_is_quick() -> None:
    """What the old code did in a millisecond the new code may do in a minute."""
    world = serving(workers=1, quick=True)
    reload(world)
    world.run_on(until=lambda: len(world.pool.workers.idle) == 1)
    for _ in range(3):
        world.add("quick")
    world.sync()
    assert [len(slot.in_flight) for slot in world.pool.workers.slots.values()] == [1]


def test_only_so_many_births_are_under_way_at_once() -> None:
    """278 Forks fit into a template's socket, the next would cost its life; each birth makes room for another one."""
    world = World(terms=with_workers(3 * MOST_BIRTHS))
    unborn = []
    while len(world.pool.workers.idle) < 3 * MOST_BIRTHS:
        world.settle_births()
        unborn.append(sum(not worker.born for worker in world.workers.values()))
    assert max(unborn) == MOST_BIRTHS


def test_a_stray_fact_about_a_slot_that_is_gone_changes_nothing() -> None:
    """Facts may cross: each is about a slot by number, and numbers are never used twice."""
    world = serving(workers=1)
    stray: list[seen.Input] = [
        seen.Born(99, 1),
        seen.Unborn(99, "gone"),
        seen.Ready(99),
        seen.TookBack(99, ((1, 1),)),
        seen.Cleared(99, None),
        seen.Stuck(99),
        seen.ProgressMade(99, 1, 1.0),
        seen.TemplateGone(99),
        seen.TemplateFailed(99, "gone"),
    ]
    for fact in stray:
        assert world.pool.handle(fact, world.moment) == []
    world.ns += 60 * SECOND_NS


def test_fewer_workers_take_effect_under_steady_quick_load() -> None:
    """A surplus worker that always holds a further job would never become idle."""
    world = serving(workers=2, quick=True)
    for _ in range(60):
        world.add("quick")
    world.sync()
    world.tell(seen.TermsChanged(with_workers(1)))
    for _ in range(DEPTH):
        for slot in [each for each, worker in world.workers.items() if not worker.clearing]:
            if world.pool.workers.slots[slot].in_flight:
                world.take(slot)
                world.finish(slot)
                world.hear(slot)
        world.sync()
    assert wanted_slots(world) == 1


def test_a_changed_default_limit_holds_for_the_next_claim() -> None:
    """A limit needs no new code to go live."""
    world = serving(workers=1)
    given = {name: getattr(TERMS, name) for name in TERMS.__struct_fields__}
    world.tell(seen.TermsChanged(PoolTerms(**{**given, "workers": 1, "default_timeout_ms": 700})))
    (asked,) = [effect for effect in world.tell(seen.Rang()) if isinstance(effect, do.AskClaim)]
    assert {terms.timeout_ms for terms in asked.types} == {700}
