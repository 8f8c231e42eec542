"""What the pool does while its node may not work: past the trust window, or without its row in the store."""

from __future__ import annotations

from jobwarden.jobs.outcome import Outcome
from jobwarden.supervisor import effects as do
from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.terms import SECOND_NS
from tests.support.pool_world import endings, given_back, kinds, serving


def test_a_claim_that_is_answered_after_trust_was_lost_is_given_back() -> None:
    """Another node may have it next: it is not kept for later."""
    world = serving(workers=1)
    world.tell(seen.TrustLost())
    job_id = world.add()
    assert given_back(world.claim(job_id)) == [(job_id, 1)]


def test_nobody_is_born_while_the_node_may_not_work() -> None:
    """The keeper would kill them, over and over; when trust is back they are born at once."""
    world = serving(workers=2)
    effects = world.tell(seen.TrustLost())
    assert kinds(effects).count(do.KillTree) == 2
    for slot in list(world.workers):
        assert do.ForkWorker not in kinds(world.end(slot))
    world.pass_time(60 * SECOND_NS)
    assert not world.workers
    assert kinds(world.tell(seen.TrustBack())).count(do.ForkWorker) == 2


def test_idle_workers_that_the_keeper_killed_are_replaced_without_a_pause() -> None:
    """They did not die of anything that would come again."""
    world = serving(workers=2)
    for slot in list(world.workers):
        world.die(slot, fenced=True)
        world.bury(slot)
    world.tell(seen.TrustLost())
    for slot in list(world.workers):
        world.clear(slot)
    assert kinds(world.tell(seen.TrustBack())).count(do.ForkWorker) == 2


def test_a_worker_that_is_born_after_trust_was_lost_is_killed() -> None:
    """Its birth had begun before."""
    world = serving(workers=1)
    (slot,) = world.workers
    world.end(slot)
    world.wait_for_deadline()
    (slot,) = world.workers
    world.tell(seen.TrustLost())
    world.bear(slot)
    assert do.KillTree(slot, dump=False) in world.last_effects


def test_a_template_that_the_keeper_killed_comes_back_with_trust() -> None:
    """It is restored from memory then, not before."""
    world = serving(workers=1)
    world.tell(seen.TrustLost())
    world.template_dies(1)
    world.pass_time(60 * SECOND_NS)
    assert not world.templates
    assert do.StartTemplate(2, restore=True) in world.tell(seen.TrustBack())


def test_a_reload_that_was_asked_for_meanwhile_is_made_up_for() -> None:
    """The operator changed the code and said so; that the store was away is not his fault."""
    world = serving(workers=1)
    world.tell(seen.TrustLost())
    assert kinds(world.tell(seen.ReloadAsked())) == []
    assert do.StartTemplate(2, restore=False) in world.tell(seen.TrustBack())


def test_a_node_without_a_row_joins_again_when_nothing_of_it_runs_any_more() -> None:
    """Until then ends are written under the old name: under a new one the store would refuse them."""
    world = serving(workers=2)
    slot, job = world.start()
    other, _job = world.start()
    assert do.Rejoin() not in world.tell(seen.NodeGone())
    assert do.Rejoin() not in world.end(other)
    effects = world.end(slot)
    (ending,) = endings(effects)
    assert (ending.job_id, ending.outcome) == (job.id, Outcome.INTERRUPTED)
    assert kinds(effects)[-1] is do.Rejoin
    assert do.Rejoin() not in world.tell(seen.NodeGone(), seen.Ticked())
    assert kinds(world.tell(seen.Rejoined())).count(do.ForkWorker) == 2


def test_a_tree_that_does_not_die_does_not_keep_the_node_away() -> None:
    """Its job is others' already; the rest of the pool goes on."""
    world = serving(workers=1)
    slot, _job = world.start()
    world.tell(seen.NodeGone())
    assert do.Rejoin() in world.tell(seen.Stuck(slot))


def test_trust_alone_does_not_bring_back_a_node_without_a_row() -> None:
    """Both are needed: the row, and a renewal of it."""
    world = serving(workers=1)
    world.tell(seen.TrustLost(), seen.NodeGone())
    for slot in list(world.workers):
        world.end(slot)
    assert do.ForkWorker not in kinds(world.tell(seen.TrustBack()))
    assert do.ForkWorker in kinds(world.tell(seen.Rejoined()))


def test_a_node_without_a_row_that_is_told_to_leave_does_not_join_again() -> None:
    """It only ends what runs."""
    world = serving(workers=1)
    slot, _job = world.start()
    world.tell(seen.NodeGone(), seen.StopAsked(now=False))
    assert do.Rejoin() not in world.end(slot)
    assert world.left


def test_code_that_somebody_has_to_prove_is_loaded_again_once_the_node_may_work() -> None:
    """Whoever is born past the trust window is killed: no scout is sent, and the code is not forgotten."""
    world = serving(workers=1)
    world.starts = True
    world.tell(seen.ReloadAsked())
    world.tell(seen.TrustLost())
    world.loaded(2, code="b")
    assert kinds(world.last_effects) == [do.EndTemplate]
    effects = world.tell(seen.TrustBack())
    assert do.StartTemplate(3) in effects
    world.loaded(3, code="b")
    world.settle_births()
    assert world.pool.generations.serving == 3
