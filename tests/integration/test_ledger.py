"""The ledger's thread on a real SQLite store, with transactions that fail before or after their commit (R4, R5)."""

from __future__ import annotations

import select
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar, cast

import pytest
from sqlalchemy import NullPool, create_engine, text

from jobwarden import events
from jobwarden.clock import SECOND_NS, SECOND_US, SYSTEM_CLOCK, to_datetime
from jobwarden.jobs import ClaimedJob, Ending, JobOptions, JobStatus, Outcome, TypeTerms, complete, end_attempt
from jobwarden.jobs.record import JobRecord
from jobwarden.store import NodeStart, Store, Writer, open_store
from jobwarden.store.deaths import Dead
from jobwarden.store.work import GiveBack, ProgressNote, ProlongNote, Seen
from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.effects import AskClaim
from jobwarden.supervisor.entries import Entries
from jobwarden.supervisor.handover import inheritable_memfd
from jobwarden.supervisor.ledger import Ledger
from jobwarden.supervisor.mailbox import Mailbox
from jobwarden.supervisor.membership import Membership
from jobwarden.supervisor.trust import TrustWindow
from jobwarden.wire.page import PAGE_BYTES, SharedPage
from tests.support.flaky_writer import AFTER, BEFORE, OK, FlakyWriter, Plan
from tests.support.postgresql import server
from tests.support.waiting import LIMIT_SECONDS, eventually

NODE, OTHER = "node-a", "node-b"
TYPES = (TypeTerms(job_type="t"),)
Fact = TypeVar("Fact", bound=seen.Input)


class Scene:
    """A store, a node on it, and its ledger; the test is the loop."""

    def __init__(self, store: Store, *, watch_seconds: float | None, url: str = "") -> None:
        self.store = store
        self.url = url
        self.plan = Plan()
        self.mailbox = Mailbox()
        self.mail: list[seen.Input] = []
        """What has come and nobody has waited for."""
        self.history: list[type] = []
        """The kinds of all that has come, in order."""
        self.membership = Membership(
            start_of(NODE),
            window=TrustWindow(
                SharedPage(inheritable_memfd("page", bytes(PAGE_BYTES)), writable=True), lease_seconds=15
            ),
            mailbox=self.mailbox,
            clock=SYSTEM_CLOCK,
            jitter=lambda: 1.0,
            node_lock=None,
        )
        self.register(NODE)
        self.ledger = Ledger(
            lambda: cast("Writer", FlakyWriter(store.writer(), self.plan)),
            self.mailbox,
            membership=self.membership,
            clock=SYSTEM_CLOCK,
            bell=None,
            watch_seconds=lambda: watch_seconds,
        )
        self.ledger.start()

    def register(self, node_id: str) -> None:
        """A node's row."""
        writer = self.store.writer()
        writer.register(start_of(node_id), now_us=SYSTEM_CLOCK.now_us())
        writer.close()

    def add(self, count: int = 1, **options: object) -> list[int]:
        """Jobs in the store."""
        jobs = [JobOptions.parse(job_type="t", **options) for _ in range(count)]
        return self.store.add(jobs, now_us=SYSTEM_CLOCK.now_us())

    def await_mail(self, kind: type[Fact]) -> Fact:
        """The next fact of this kind; what came before it stays in `mail`."""
        passed = 0
        while True:
            for index in range(passed, len(self.mail)):
                found = self.mail[index]
                if isinstance(found, kind):
                    del self.mail[index]
                    return found
            passed = len(self.mail)
            ready = select.select([self.mailbox.descriptor], [], [], LIMIT_SECONDS)[0]
            assert ready, f"no {kind.__name__} came, but {self.mail}"
            came = self.mailbox.take()
            self.mail += came
            self.history += [type(fact) for fact in came]

    def claim(self, limit: int = 10) -> list[ClaimedJob]:
        """Claim, and hear of it."""
        self.ledger.submit(Entries(claims={"default": AskClaim(limit, TYPES)}))
        return self.await_mail(seen.Claimed).jobs

    def settle(self) -> None:
        """Until everything that was submitted before has been committed and answered."""
        self.ledger.submit(Entries(reconcile=True))
        self.await_mail(seen.Processing)

    def record(self, job_id: int) -> JobRecord:
        """The job as it stands."""
        record = self.store.get(job_id)
        assert record is not None
        return record

    def close(self) -> None:
        """The ledger ends, with a store that works."""
        self.plan.always = None
        self.plan.verdicts.clear()
        self.plan.gate.set()
        assert self.ledger.finish(timeout_seconds=LIMIT_SECONDS)
        self.store.close()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    store = open_store(f"sqlite:///{tmp_path / 'jobs.db'}")
    made = Scene(store, watch_seconds=store.watch_seconds)
    yield made
    made.close()


@pytest.fixture
def unwatched(tmp_path: Path) -> Iterator[Scene]:
    """As on a server: nobody asks whether something has changed."""
    made = Scene(open_store(f"sqlite:///{tmp_path / 'jobs.db'}"), watch_seconds=None)
    yield made
    made.close()


@pytest.fixture
def on_server() -> Iterator[Scene]:
    """On a PostgreSQL server, whose notifications arrive."""
    url = server().new_database()
    made = Scene(open_store(url, migrate=True), watch_seconds=None, url=url)
    yield made
    made.close()


def start_of(node_id: str) -> NodeStart:
    """A node's beginning."""
    return NodeStart(
        node_id=node_id,
        name=f"host:{node_id}",
        host="host",
        boot_id="boot",
        pid=1,
        state_dir="state",
        lease_seconds=15.0,
        doorbell=None,
        version="0",
    )


def success(job: ClaimedJob) -> Ending:
    """The job was done."""
    return complete(job, output="1", now_us=SYSTEM_CLOCK.now_us())


def failure(job: ClaimedJob) -> Ending:
    """The attempt failed; the job is retried at once."""
    return end_attempt(job, Outcome.FAILED, error="no", now_us=SYSTEM_CLOCK.now_us(), jitter=1.0, retry_after=0.0)


@pytest.mark.parametrize(
    "verdicts",
    [[], [BEFORE], [AFTER], [BEFORE, BEFORE, BEFORE], [AFTER, BEFORE], [BEFORE, AFTER], [AFTER, AFTER]],
    ids=lambda verdicts: "-".join(verdicts) or "well",
)
@pytest.mark.parametrize("end", [success, failure])
def test_an_outcome_is_written_exactly_once_whatever_becomes_of_the_commit(
    scene: Scene, verdicts: list[str], end: object
) -> None:
    """P1, P3, R4: kept while the store is away, repeated after an unknown commit, settled if that took effect."""
    (job_id,) = scene.add()
    (job,) = scene.claim()
    scene.plan.verdicts.extend(verdicts)
    scene.ledger.submit(Entries(endings=[end(job)]))  # type: ignore[operator]
    scene.settle()
    expected = JobStatus.COMPLETED if end is success else JobStatus.FAILED
    assert scene.record(job_id).status is expected
    assert [attempt.fence for attempt in scene.store.attempts(job_id)] == [1]
    assert not any(isinstance(fact, seen.LeaseLost) for fact in scene.mail)


def test_a_claim_whose_answer_was_lost_is_found_and_can_be_claimed_again_at_no_cost(scene: Scene) -> None:
    """R4: the rows are processing, nobody runs them; the ledger compares, the pool gives them back."""
    ids = scene.add(3)
    scene.plan.verdicts.append(AFTER)
    scene.ledger.submit(Entries(claims={"default": AskClaim(10, TYPES)}))
    scene.await_mail(seen.ClaimFailed)
    rows = scene.await_mail(seen.Processing).rows
    assert sorted(rows) == [(job_id, 1) for job_id in ids]
    scene.ledger.submit(Entries(give_backs=[GiveBack(*row) for row in rows]))
    scene.settle()
    again = scene.claim()
    assert sorted(job.id for job in again) == ids
    assert {(job.attempts, job.fence) for job in again} == {(1, 3)}
    assert scene.store.attempts(ids[0]) == []


def test_a_claim_that_was_not_committed_takes_nothing(scene: Scene) -> None:
    """The loop hears that it failed, and asks again when it wants."""
    (job_id,) = scene.add()
    scene.plan.verdicts.append(BEFORE)
    scene.ledger.submit(Entries(claims={"default": AskClaim(10, TYPES)}))
    scene.await_mail(seen.ClaimFailed)
    assert scene.await_mail(seen.Processing).rows == []
    assert [job.id for job in scene.claim()] == [job_id]


def test_a_claim_is_told_before_the_comparison_that_contains_it(scene: Scene) -> None:
    """Else the pool would give back what it is about to be given, and the job would run twice (P2)."""
    scene.add(2)
    scene.plan.gate.clear()
    scene.ledger.submit(Entries(look=True))
    assert scene.plan.waiting.wait(LIMIT_SECONDS)
    scene.ledger.submit(Entries(claims={"default": AskClaim(10, TYPES)}))
    scene.ledger.submit(Entries(reconcile=True))
    scene.plan.gate.set()
    scene.await_mail(seen.Processing)
    assert scene.plan.works[-1].claim is not None
    assert scene.history.index(seen.Claimed) < scene.history.index(seen.Processing)


def test_no_pool_waits_for_ever_behind_another_ones_claims(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """One transaction claims for one pool; one that asks again as soon as it is answered goes behind the others."""
    scene.add(3)
    busy, answered = {"busy": AskClaim(1, TYPES, "busy")}, list[str]()
    post = scene.mailbox.post

    def post_and_ask_again(fact: seen.Input) -> None:
        post(fact)
        if isinstance(fact, seen.Claimed):
            answered.append(fact.pool)
            if fact.pool == "busy" and len(answered) == 1:
                scene.ledger.submit(Entries(claims=dict(busy)))

    monkeypatch.setattr(scene.mailbox, "post", post_and_ask_again)
    others = {name: AskClaim(1, TYPES, name) for name in ("second", "third")}
    scene.ledger.submit(Entries(claims=busy | others))
    eventually(lambda: len(answered) == 4, what="all are answered")
    assert answered == ["busy", "second", "third", "busy"]


def test_an_end_makes_room_for_the_pool_that_a_limit_held_back_whoever_claimed_since(scene: Scene) -> None:
    """Otherwise its next job would wait until somebody rings."""
    scene.add(2)
    limited = TypeTerms(job_type="t", max_per_node=1)
    scene.ledger.submit(Entries(claims={"narrow": AskClaim(5, (limited,), "narrow")}))
    (job,) = scene.await_mail(seen.Claimed).jobs
    scene.ledger.submit(Entries(claims={"other": AskClaim(5, (TypeTerms(job_type="other"),), "other")}))
    assert scene.await_mail(seen.Claimed).jobs == []
    scene.settle()
    scene.mail.clear()
    scene.history.clear()
    scene.ledger.submit(Entries(endings=[success(job)]))
    scene.settle()
    assert seen.Rang in scene.history


def test_many_entries_under_one_commit_become_the_next_commit(scene: Scene) -> None:
    """It batches by itself: what came while a commit was under way is one transaction."""
    ids = scene.add(50)
    jobs = scene.claim(50)
    scene.plan.gate.clear()
    scene.ledger.submit(Entries(endings=[success(jobs[0])]))
    assert scene.plan.waiting.wait(LIMIT_SECONDS)
    before = len(scene.plan.works)
    for job in jobs[1:]:
        scene.ledger.submit(Entries(endings=[success(job)]))
    scene.plan.gate.set()
    eventually(lambda: all(scene.record(job_id).ended for job_id in ids), what="all are written")
    assert len(scene.plan.works) == before + 1
    assert len(scene.plan.works[-1].endings) == 49


def test_nothing_is_dropped_at_the_end(scene: Scene) -> None:
    """`finish` writes what was submitted before it, also when the store is away at first; then the node's row goes."""
    ids = scene.add(5)
    jobs = scene.claim()
    scene.plan.verdicts.extend([BEFORE, AFTER, BEFORE])
    for job in jobs:
        scene.ledger.submit(Entries(endings=[success(job)]))
    assert scene.ledger.finish(timeout_seconds=LIMIT_SECONDS)
    assert {scene.record(job_id).status for job_id in ids} == {JobStatus.COMPLETED}
    assert [len(scene.store.attempts(job_id)) for job_id in ids] == [1] * 5
    assert scene.store.nodes() == []


def test_a_claim_whose_answer_was_lost_on_the_way_out_stays_with_nobody(scene: Scene) -> None:
    """P1: the pool has left and gives nothing back any more; under a node without a row nobody would find the job."""
    (job_id,) = scene.add()
    scene.plan.verdicts.append(AFTER)
    scene.ledger.submit(Entries(claims={"default": AskClaim(1, TYPES)}))
    scene.await_mail(seen.ClaimFailed)
    assert scene.ledger.finish(timeout_seconds=LIMIT_SECONDS)
    assert scene.store.nodes() == []
    assert scene.record(job_id).status is JobStatus.PENDING
    assert scene.record(job_id).attempts == 0


def test_an_end_without_a_store_is_not_called_an_end(scene: Scene) -> None:
    """`finish` says that outcomes were not written; they still are as soon as the store is back."""
    (job_id,) = scene.add()
    (job,) = scene.claim()
    scene.plan.always = BEFORE
    scene.ledger.submit(Entries(endings=[success(job)]))
    assert not scene.ledger.finish(timeout_seconds=0.2)
    scene.plan.always = OK
    scene.ledger.join(LIMIT_SECONDS)
    assert scene.record(job_id).status is JobStatus.COMPLETED


def test_a_store_that_is_away_is_tried_at_its_own_pace(scene: Scene) -> None:
    """The loop answers each failed claim with the next one; that must not become a busy loop of two threads."""
    scene.plan.always = BEFORE
    claims = 0
    until_ns = SYSTEM_CLOCK.monotonic_ns() + SECOND_NS // 2
    while SYSTEM_CLOCK.monotonic_ns() < until_ns:
        scene.ledger.submit(Entries(claims={"default": AskClaim(1, TYPES)}))
        scene.await_mail(seen.ClaimFailed)
        claims += 1
    assert claims <= 12
    assert len(scene.plan.works) <= claims + 12


def test_the_store_being_away_and_back_is_told_once_each(scene: Scene) -> None:
    """One line in the log, not one per try."""
    (_job_id,) = scene.add()
    (job,) = scene.claim()
    told: list[events.Fact] = []
    forget = events.listen(told.append)
    try:
        scene.plan.verdicts.extend([BEFORE] * 3)
        scene.ledger.submit(Entries(endings=[success(job)]))
        scene.settle()
    finally:
        forget()
    kinds = [type(fact) for fact in told]
    assert (kinds.count(events.StoreAway), kinds.count(events.StoreBack)) == (1, 1)


def test_a_store_that_takes_nothing_is_not_back_because_it_can_be_read(scene: Scene) -> None:
    """A full disk: what failed is what is tried again, be it the node's report alone; beside an outcome it can wait."""
    scene.plan.verdicts += [BEFORE, OK, BEFORE, OK]
    scene.ledger.submit(Entries(report='{"of": "an idle node"}'))
    eventually(lambda: len(scene.plan.works) == 2, what="the second try")
    scene.ledger.submit(Entries(report="{}", give_backs=[GiveBack(1, 1)]))
    eventually(lambda: len(scene.plan.works) == 4, what="the second try of the other")
    assert [each.report for each in scene.plan.works] == ['{"of": "an idle node"}'] * 2 + ["{}", None]


def test_of_several_progress_notes_of_an_attempt_the_latest_is_written(scene: Scene) -> None:
    """They pile up while the store is busy or away; one event stays, and it is the last one."""
    (job_id,) = scene.add()
    (job,) = scene.claim()
    scene.ledger.submit(Entries(progress=[ProgressNote(job_id, job.fence, percent) for percent in (80.0, 20.0, 50.0)]))
    scene.settle()
    assert scene.record(job_id).progress == 50.0
    assert [event.type for event in scene.store.events(job_id)].count("progress") == 1


def test_a_wish_is_reported_to_the_loop(scene: Scene) -> None:
    """R15: a cancel of a running job is written on its row; its owner is told when it looks."""
    (job_id,) = scene.add()
    scene.claim()
    assert scene.store.cancel(job_id, now_us=SYSTEM_CLOCK.now_us()) == "asked"
    scene.ledger.submit(Entries(look=True))
    wished = scene.await_mail(seen.Wished)
    assert (wished.job_id, wished.fence, wished.wish) == (job_id, 1, "cancel")


def test_a_refused_write_about_a_job_that_is_somebody_elses_is_a_lost_lease(scene: Scene) -> None:
    """P3: our late end is refused by the fence, and the loop is told which attempt is not ours any more."""
    (job_id,) = scene.add()
    (job,) = scene.claim()
    scene.register(OTHER)
    writer = scene.store.writer()
    writer.free_node(NODE, now_us=SYSTEM_CLOCK.now_us(), jitter=lambda: 1.0)
    writer.close()
    scene.ledger.submit(Entries(progress=[ProgressNote(job_id, job.fence, 50.0)]))
    assert scene.await_mail(seen.LeaseLost) == seen.LeaseLost(job_id, job.fence)
    scene.ledger.submit(Entries(endings=[success(job)]))
    assert scene.await_mail(seen.LeaseLost) == seen.LeaseLost(job_id, job.fence)
    assert scene.record(job_id).status is not JobStatus.COMPLETED
    scene.await_mail(seen.NodeGone)


def test_a_refused_write_that_was_settled_by_ourselves_is_no_lost_lease(scene: Scene) -> None:
    """R4: nobody is killed for an end that is written already."""
    scene.add()
    (job,) = scene.claim()
    scene.ledger.submit(Entries(endings=[success(job)]))
    scene.ledger.submit(Entries(endings=[success(job)]))
    scene.settle()
    assert not any(isinstance(fact, seen.LeaseLost) for fact in scene.mail)


def test_the_loop_is_rung_after_a_job_was_given_back(scene: Scene) -> None:
    """It is ready at once, and no other process's commit tells of it."""
    (job_id,) = scene.add()
    (job,) = scene.claim()
    scene.plan.gate.clear()
    scene.ledger.submit(Entries(give_backs=[GiveBack(job_id, job.fence)], reconcile=True))
    assert scene.plan.waiting.wait(LIMIT_SECONDS)
    scene.mailbox.take()
    scene.history.clear()
    scene.plan.gate.set()
    scene.await_mail(seen.Processing)
    assert scene.history[:2] == [seen.Rang, seen.Processing]


def test_the_loop_is_rung_when_another_connection_has_written(scene: Scene) -> None:
    """The net under lost rings: an idle ledger looks at `data_version`."""
    scene.settle()
    scene.await_mail(seen.Rang)
    scene.add()
    scene.await_mail(seen.Rang)
    assert len(scene.claim()) == 1


def test_the_loop_is_rung_when_a_retry_becomes_due(scene: Scene) -> None:
    """The ledger knows the next due time from its last look."""
    scene.add()
    (job,) = scene.claim()
    now_us = SYSTEM_CLOCK.now_us()
    later = end_attempt(job, Outcome.FAILED, error="no", now_us=now_us, jitter=1.0, retry_after=0.3)
    scene.ledger.submit(Entries(endings=[later]))
    scene.settle()
    assert scene.claim() == []
    scene.mail.clear()
    scene.await_mail(seen.Rang)
    eventually(scene.claim, what="the retry is claimed")


def test_a_due_job_that_somebody_holds_is_tried_now_and_then(on_server: Scene) -> None:
    """Not as fast as the server answers, for as long as an application keeps its transaction open."""
    on_server.add(run_at=to_datetime(SYSTEM_CLOCK.now_us() + SECOND_US // 2))
    url = on_server.url.replace("postgresql:", "postgresql+psycopg:")
    with create_engine(url, poolclass=NullPool).connect() as application:
        application.execute(text("SELECT FROM job FOR UPDATE"))
        assert on_server.claim() == []
        on_server.await_mail(seen.Rang)
        until_ns, claims = SYSTEM_CLOCK.monotonic_ns() + SECOND_NS // 2, 0
        while SYSTEM_CLOCK.monotonic_ns() < until_ns:
            assert on_server.claim() == []
            on_server.await_mail(seen.Rang)
            claims += 1
        assert claims <= 12
    eventually(on_server.claim, what="it is claimed when it is free")


def test_the_jobs_of_a_dead_node_are_freed_and_the_loop_is_rung(scene: Scene) -> None:
    """R3: the ledger buries it; the job is lost for that attempt, which costs nothing."""
    (job_id,) = scene.add()
    scene.claim()
    scene.register(OTHER)
    scene.ledger.submit(Entries(free_nodes=[Dead(NODE)]))
    eventually(lambda: scene.store.attempts(job_id), what="the attempt has ended")
    assert [attempt.outcome for attempt in scene.store.attempts(job_id)] == [Outcome.LOST]
    assert scene.record(job_id).attempts == 0


def brought(**fields: object) -> Entries:
    """What a renewal hands to the ledger."""
    given: dict[str, object] = {"alive": True, "nodes": [], "wishes": [], "processing": [], "next_due_us": None}
    return Entries(seen=Seen(**{**given, "version": 1, **fields}))  # type: ignore[arg-type]


def test_a_renewal_that_sees_a_change_rings_the_loop_and_one_that_sees_none_is_silent(unwatched: Scene) -> None:
    """The net under lost notifications, at no cost while nothing happens: no transaction follows from it."""
    unwatched.settle()
    unwatched.ledger.submit(brought())
    unwatched.await_mail(seen.Rang)
    tried, heard = len(unwatched.plan.works), []
    for version in (1, 1, 2):
        unwatched.history.clear()
        unwatched.ledger.submit(brought(version=version))
        unwatched.ledger.submit(brought(version=version, processing=[(1, 1)]))
        unwatched.await_mail(seen.Processing)
        heard.append(unwatched.history.count(seen.Rang))
    assert heard == [0, 0, 1]
    assert len(unwatched.plan.works) == tried


def test_what_a_renewal_saw_running_is_told_after_what_was_claimed_before(scene: Scene) -> None:
    """Else the pool would give back what it is about to be given (P2)."""
    scene.add()
    scene.plan.gate.clear()
    scene.ledger.submit(Entries(claims={"default": AskClaim(10, TYPES)}))
    assert scene.plan.waiting.wait(LIMIT_SECONDS)
    scene.ledger.submit(brought(processing=[(1, 1)]))
    scene.plan.gate.set()
    assert scene.await_mail(seen.Processing).rows == [(1, 1)]
    assert scene.history.index(seen.Claimed) < scene.history.index(seen.Processing)


def test_a_moment_that_a_renewal_brought_is_waited_for(unwatched: Scene) -> None:
    """Nobody writes and nobody rings; the loop is rung when it has come."""
    unwatched.settle()
    unwatched.ledger.submit(brought())
    unwatched.await_mail(seen.Rang)
    unwatched.mail.clear()
    due_us = SYSTEM_CLOCK.now_us() + 200_000
    unwatched.ledger.submit(brought(next_due_us=due_us))
    unwatched.await_mail(seen.Rang)
    assert SYSTEM_CLOCK.now_us() >= due_us


def test_ends_are_written_under_the_old_name_before_a_node_joins_again(scene: Scene) -> None:
    """Its row is gone but nobody has freed its jobs: the end counts; what is claimed next is the new node's."""
    (job_id,) = scene.add()
    (job,) = scene.claim()
    writer = scene.store.writer()
    writer.remove_node(NODE)
    end = end_attempt(job, Outcome.INTERRUPTED, error="cut off", now_us=SYSTEM_CLOCK.now_us(), jitter=1.0)
    scene.ledger.submit(Entries(endings=[end], rejoin=True))
    scene.await_mail(seen.Rejoined)
    assert [attempt.outcome for attempt in scene.store.attempts(job_id)] == [Outcome.INTERRUPTED]
    (again,) = scene.claim()
    assert (again.id, again.attempts) == (job_id, 1)
    assert writer.processing_of(scene.membership.node_id) == [again.attempt]
    assert scene.membership.node_id != NODE
    writer.close()


def test_a_node_joins_again_however_often_the_store_is_away_meanwhile(scene: Scene) -> None:
    """Nothing is forgotten over it: neither the joining nor the types that it serves."""
    scene.ledger.submit(Entries(types_published="[]"))
    scene.settle()
    writer = scene.store.writer()
    writer.remove_node(NODE)
    writer.close()
    scene.plan.verdicts.extend([BEFORE, AFTER, BEFORE])
    scene.ledger.submit(Entries(rejoin=True))
    scene.await_mail(seen.Rejoined)
    scene.settle()
    (node,) = eventually(lambda: [each for each in scene.store.nodes() if each.types == []], what="types are said")
    assert node.node_id == scene.membership.node_id


def test_what_is_told_over_and_over_stays_small_while_the_store_is_away(scene: Scene) -> None:
    """Of progress and prolongs only the latest of each attempt waits."""
    scene.add()
    (job,) = scene.claim()
    scene.plan.always = BEFORE
    for number in range(200):
        scene.ledger.submit(Entries(progress=[ProgressNote(job.id, job.fence, number / 2)]))
        scene.ledger.submit(Entries(prolongs=[ProlongNote(job.id, job.fence, number)]))
    scene.plan.always = None
    scene.settle()
    assert max(scene.plan.notes) <= 2
    assert scene.record(job.id).progress == 99.5
