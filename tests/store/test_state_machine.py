"""The store in hundreds of random histories, beside a small model of what it must do (tests/store/model.py)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from jobwarden.testing.store_contract.ground import GivenDatabase, Ground

from . import store_scan
from .model_job import DAY, SECOND, WRAPPED
from .played_store import TYPES, PlayedStore, Spec, Stage

Record = Callable[[str, object], None]

EXAMPLES = int(os.environ.get("JOBWARDEN_TEST_EXAMPLES", "0"))
"""Histories to try; by default a few hundred and always the same ones, so that this is no gamble in CI."""
DEFAULT_EXAMPLES = (250, 15)
"""In a file, and on a server, where each step takes several times as long."""
NIGHTLY_EXAMPLES = 2_000
STEPS = 40

PLACE = st.integers(0, 60)
SOME_TYPES = st.sampled_from((["a", "b", WRAPPED], ["a"], ["b", WRAPPED]))
OUTCOMES = (
    "succeeded",
    "failed",
    "failed",
    "timed_out",
    "crashed",
    "crashed",
    "memory_exceeded",
    "interrupted",
    "cancelled",
)
ORDINARY: dict[str, Any] = {
    "type": st.sampled_from("aab"),
    "priority": st.sampled_from((0, 0, 0, 1, -1)),
    "max_attempts": st.sampled_from((None, 1, 2, 9)),
    "retry_delay": st.sampled_from((0, 0, None, 10)),
    "backoff": st.booleans(),
    "group": st.sampled_from((None, "g", "h")),
    "dead_letter": st.sampled_from((None, WRAPPED)),
}
DEPENDENT: dict[str, Any] = {
    **ORDINARY,
    "tags": st.sampled_from((("x",), ("y",), ("x", "y"))),
    "after_tags": st.sampled_from(((), (), (), ("x",), ("x", "y"))),
    "parents": st.lists(st.tuples(st.integers(-3, 20), st.sampled_from(("cancel", "run", "fail"))), max_size=2).map(
        tuple
    ),
}
TIMED: dict[str, Any] = {
    **ORDINARY,
    "delay": st.sampled_from((None, 30)),
    "expires": st.sampled_from((None, 20)),
    "key": st.sampled_from(("k", "k", "l", None)),
    "ttl": st.sampled_from((None, None, 60, "forever")),
}
SPEC = st.one_of(*(st.builds(Spec, **fields) for fields in (ORDINARY, ORDINARY, DEPENDENT, TIMED)))
OUTCOME = st.sampled_from(OUTCOMES)
CLAIM: dict[str, Any] = {
    "node": PLACE,
    "types": SOME_TYPES,
    "limit": st.sampled_from((50, 50, 1, 2)),
    "share": st.sampled_from((None, None, None, 1)),
}
LANE = st.sampled_from((("type", "a"), ("type", "a"), ("group", "g"), ("group", "g"), ("type", "b"), ("group", "*")))
LIMITS = st.one_of(
    st.builds(lambda number: {"max_running": number}, st.sampled_from((1, 2, 1, 2, 3, 0))),
    st.just({"max_per_node": 1}),
    st.builds(lambda number: {"rate": number, "rate_seconds": 20 if number else None}, st.sampled_from((1, 2, None))),
)
CHANGES = st.one_of(
    st.builds(lambda value: {"priority": value}, st.sampled_from((0, 1, -1))),
    st.builds(lambda value: {"run_at": value}, st.sampled_from((0, 30))),
    st.builds(lambda value: {"max_attempts": value}, st.sampled_from((None, 1, 2, 5))),
    st.builds(lambda value: {"group": value}, st.sampled_from((None, "g", "h"))),
    st.builds(lambda value: {"group": value}, st.sampled_from(("g", "h"))),
    st.builds(lambda value: {"tags": value}, st.sampled_from(((), ("x",), ("x", "y")))),
    st.builds(lambda value: {"dead_letter": value}, st.sampled_from((None, WRAPPED))),
    st.builds(lambda value: {"retry_delay": value, "retry_backoff": False}, st.sampled_from((None, 0, 10))),
)


def is_busy(machine: StoreMachine) -> bool:
    """Whether anything runs."""
    return bool(machine.played.running)


class StoreMachine(RuleBasedStateMachine):
    """Each rule is one verb, or a few of a kind; whatever it does to the store is compared after it.

    The rules are few, and those of everyday life stand twice, because Hypothesis takes all of them alike.
    """

    stage: Stage
    played: PlayedStore

    @initialize(specs=st.lists(SPEC, min_size=4, max_size=8))
    def open(self, specs: list[Spec]) -> None:
        self.played = PlayedStore(self.stage)
        self.played.add(specs)

    def teardown(self) -> None:
        if not hasattr(self, "played"):
            return
        self.played.count()
        self.played.listen(500, to_the_end=True)
        for job in list(self.played.model.jobs.values()):
            self.played.explain(job)
        self.every_row_is_as_it_must_be()
        self.played.open_all_doors()
        while self.played.work_off():
            self.every_row_is_as_it_must_be()
        assert not [job for job in self.played.model.jobs.values() if job.live], "a job never ended"

    @invariant()
    def every_row_is_as_it_must_be(self) -> None:
        if hasattr(self, "played"):
            rows = self.played.catch_up()
            with self.played.stage.looking() as eye:
                store_scan.scan(eye, rows)
                store_scan.compare(eye, rows, self.played.model)
            store_scan.look_at_lanes(rows, self.played.model)

    @rule(specs=st.lists(SPEC, min_size=1, max_size=4), days=st.sampled_from((0, 0, 0, 0, 8)))
    def add(self, specs: list[Spec], days: int) -> None:
        self.played.pass_time(days * DAY)
        self.played.add(specs)

    @rule(**CLAIM)
    def claim(self, node: int, types: list[str], limit: int, share: int | None) -> None:
        self.played.claim(node, types, limit, share=share)

    @rule(**CLAIM)
    def claim_more(self, node: int, types: list[str], limit: int, share: int | None) -> None:
        self.played.claim(node, types, limit, share=share)

    @precondition(is_busy)
    @rule(place=PLACE, outcomes=st.lists(OUTCOME, min_size=1, max_size=3), twice=st.booleans())
    def finish(self, place: int, outcomes: list[str], twice: bool) -> None:  # noqa: FBT001
        for outcome in outcomes:
            job = self.played.pick_running(place)
            if job is not None:
                self.played.finish(job, outcome, twice=twice)

    @precondition(is_busy)
    @rule(place=PLACE, outcome=OUTCOME)
    def finish_one(self, place: int, outcome: str) -> None:
        job = self.played.pick_running(place)
        if job is not None:
            self.played.finish(job, outcome)

    @precondition(is_busy)
    @rule(place=PLACE, outcome=st.sampled_from(("crashed", "failed", "interrupted")), times=st.integers(2, 4))
    def struggle(self, place: int, outcome: str, times: int) -> None:
        job = self.played.pick_running(place)
        for _ in range(times):
            if job is not None and job.id in self.played.running:
                self.played.finish(self.played.running[job.id], outcome)
                self.played.claim(place, list(TYPES), 50)

    @precondition(is_busy)
    @rule(place=PLACE, number=st.integers(0, 2))
    def interrupt(self, place: int, number: int) -> None:
        if not number:
            self.played.lose_node(place)
        for _ in range(number):
            job = self.played.pick_running(place)
            if job is not None:
                self.played.give_back(job)

    @precondition(lambda self: self.played.late)
    @rule(place=PLACE, outcome=OUTCOME)
    def finish_late(self, place: int, outcome: str) -> None:
        superseded = [job for job in self.played.late if job.id in self.played.running]
        among = superseded or self.played.late
        self.played.finish_late(among[place % len(among)], outcome, place)

    @rule(place=PLACE, verb=st.sampled_from(("cancel", "cancel", "retry", "retry", "remove")))
    def change(self, place: int, verb: str) -> None:
        jobs = list(self.played.model.jobs.values())
        # Mostly one with which this can be done.
        fitting = [job for job in jobs if (job.status in ("failed", "cancelled")) == (verb == "retry")]
        job = self.played.pick(place, jobs if place % 5 == 4 else fitting)
        if job is not None:
            {"cancel": self.played.cancel, "retry": self.played.retry, "remove": self.played.remove}[verb](job)

    @rule(place=PLACE, changes=CHANGES)
    def edit(self, place: int, changes: dict[str, Any]) -> None:
        jobs = list(self.played.model.jobs.values())
        job = self.played.pick(place, jobs if place % 5 == 4 else [job for job in jobs if job.free])
        if job is not None:
            self.played.edit(job, changes)

    @rule(
        job_type=st.sampled_from(TYPES),
        verb=st.sampled_from(("cancel", "cancel and ask", "retry", "clear", "old", "all")),
    )
    def change_many(self, job_type: str, verb: str) -> None:
        match verb:
            case "cancel" | "cancel and ask":
                self.played.cancel_all(job_type, running=verb != "cancel")
            case "retry":
                self.played.retry_all(job_type)
            case "clear":
                self.played.clear(job_type)
            case _:
                self.played.clean_up(7 if verb == "old" else 0)

    @rule(lane=LANE, limits=st.one_of(LIMITS, LIMITS, LIMITS, st.none()))
    def set_limit(self, lane: tuple[str, str], limits: dict[str, int | None] | None) -> None:
        if limits is None:
            self.played.clear_limits(*lane)
        elif lane[0] == "type" or "max_per_node" not in limits:
            self.played.set_limit(*lane, limits)

    @rule(
        job_type=st.sampled_from(("a", "b", "a", "b", None)), verb=st.sampled_from(("resume", "for 20 s", "for ever"))
    )
    def pause(self, job_type: str | None, verb: str) -> None:
        if verb == "resume" or self.played.model.paused:
            self.played.resume(job_type)
        else:
            self.played.pause(job_type, 20 if verb == "for 20 s" else None)

    @rule(us=st.sampled_from((SECOND, 20 * SECOND, 20 * SECOND, 200 * SECOND, -2 * SECOND, 8 * DAY)))
    def pass_time(self, us: int) -> None:
        self.played.pass_time(us)

    @rule(place=PLACE, verb=st.sampled_from(("explain", "listen", "count", "reopen", "maintain", "reclaim")))
    def look(self, place: int, verb: str) -> None:
        job = self.played.pick(place)
        match verb:
            case "explain" if job is not None:
                self.played.explain(job)
            case "listen":
                self.played.listen(1 + place % 4)
            case "count":
                self.played.count()
            case "reopen":
                self.stage.reopen()
            case "reclaim":
                self.played.reclaim(place % 2)
            case _:
                self.played.maintain()


@contextmanager
def _folder(fallback: Path) -> Iterator[Path]:
    """A folder in memory where there is one: what a disk adds is not the question here."""
    memory = Path("/dev/shm")  # noqa: S108
    if not os.access(memory, os.W_OK):
        yield fallback
        return
    with tempfile.TemporaryDirectory(dir=memory) as made:
        yield Path(made)


def _run(ground: Ground, examples: int, fallback: Path, *, derandomize: bool) -> None:
    with _folder(fallback) as folder, closing(Stage(ground.store(folder))) as stage:
        machine = type("StoreMachineHere", (StoreMachine,), {"stage": stage})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=STEPS,
                deadline=None,
                database=None,
                derandomize=derandomize,
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
                phases=(Phase.generate, Phase.shrink),
            ),
        )


@pytest.mark.timeout(1_800)
def test_whatever_happens_the_store_does_as_the_model(ground: Ground, tmp_path: Path, record_property: Record) -> None:
    """P1, P3, P8 in the store: nothing lost, nothing twice, one path for every end, each gate and limit held."""
    examples = EXAMPLES or DEFAULT_EXAMPLES[isinstance(ground, GivenDatabase)]
    _run(ground, examples, tmp_path, derandomize=not EXAMPLES)
    record_property("examples", examples)


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
def test_whatever_happens_the_store_does_as_the_model_in_thousands_of_histories(
    ground: Ground, tmp_path: Path, record_property: Record
) -> None:
    """As above, with other histories each night."""
    examples = max(EXAMPLES, NIGHTLY_EXAMPLES)
    _run(ground, examples, tmp_path, derandomize=False)
    record_property("examples", examples)
