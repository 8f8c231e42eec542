"""The small pure parts of the pool: deadlines, intake, quickness."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from jobwarden.supervisor.deadlines import Deadlines
from jobwarden.supervisor.intake import LARGEST_CLAIM, Intake
from jobwarden.supervisor.quickness import QUICK_NS, SAMPLES_NEEDED, Quickness
from jobwarden.supervisor.terms import SECOND_NS

KEYS = st.integers(1, 5)
MOMENTS = st.one_of(st.none(), st.integers(0, 50))


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(st.lists(st.tuples(KEYS, MOMENTS), max_size=40), st.integers(0, 50))
def test_deadlines_fall_due_like_a_plain_table_of_them(changes: list[tuple[int, int | None]], now_ns: int) -> None:
    """The heap with lazy removal answers as the obvious slow thing does: the last setting of a key holds."""
    deadlines, table = Deadlines(), dict[int, int]()
    for key, at_ns in changes:
        deadlines.set(key, at_ns)
        table.pop(key, None)
        if at_ns is not None:
            table[key] = at_ns
    assert deadlines.next_ns() == min(table.values(), default=None)
    due = deadlines.due(now_ns)
    assert sorted(due) == sorted(key for key, at_ns in table.items() if at_ns <= now_ns)
    assert [table[key] for key in due] == sorted(table[key] for key in due)
    assert deadlines.next_ns() == min((at_ns for at_ns in table.values() if at_ns > now_ns), default=None)


def test_replaced_deadlines_do_not_pile_up() -> None:
    """Each job sets its slot's limit anew, thousands of times a second, an hour ahead."""
    deadlines = Deadlines()
    for job in range(20_000):
        deadlines.set(job % 8, 3_600 * SECOND_NS + job)
    assert len(deadlines._heap) < 1_000  # noqa: SLF001 - what piles up shows nowhere else
    assert deadlines.next_ns() == 3_600 * SECOND_NS + 19_992
    assert deadlines.due(4_000 * SECOND_NS) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert deadlines.next_ns() is None


def test_a_type_is_quick_after_enough_quick_samples() -> None:
    """Nothing is assumed of a type that nobody has seen."""
    quickness = Quickness()
    for _ in range(SAMPLES_NEEDED - 1):
        quickness.note("a", QUICK_NS - 1)
    assert not quickness.is_quick("a")
    quickness.note("a", QUICK_NS - 1)
    assert quickness.is_quick("a")
    assert not quickness.is_quick("b")


def test_a_type_with_more_than_one_slow_job_in_twenty_is_not_quick() -> None:
    """The p95 is what counts, not the mean."""
    quickness = Quickness()
    for sample in range(400):
        quickness.note("often", QUICK_NS if sample % 10 == 0 else 1)
        quickness.note("seldom", QUICK_NS if sample % 100 == 0 else 1)
    assert not quickness.is_quick("often")
    assert quickness.is_quick("seldom")


def test_a_type_that_became_slow_is_not_quick_any_more() -> None:
    """Two slow ones in a row are enough; many quick ones are needed to come back."""
    quickness = Quickness()
    for _ in range(100):
        quickness.note("a", 1)
    for _ in range(2):
        quickness.note("a", QUICK_NS)
    assert not quickness.is_quick("a")
    for _ in range(100):
        quickness.note("a", 1)
    assert quickness.is_quick("a")


def test_what_is_claimed_ahead_is_what_is_finished_in_thirty_milliseconds() -> None:
    """It covers two rounds of claim and commit, and follows the rate."""
    intake = Intake()
    for job in range(1_000):
        intake.finished(SECOND_NS + job * 100_000)
    assert 250 <= intake.ahead() <= 350
    intake.finished(SECOND_NS * 60)
    assert intake.ahead() == 0


def test_no_rate_is_claimed_ahead_without_a_limit() -> None:
    """A burst on a fast machine does not take the whole store."""
    intake = Intake()
    for job in range(200_000):
        intake.finished(SECOND_NS + job * 500)
    assert intake.ahead() == LARGEST_CLAIM


def test_an_empty_backlog_is_never_stale() -> None:
    """Only jobs that wait can have waited too long."""
    intake = Intake()
    assert not intake.is_stale(1_000 * SECOND_NS)
