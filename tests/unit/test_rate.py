"""Rates, by themselves: never too many starts in any window, whatever the times."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jobwarden.jobs.rate import SLICES, Rate

START_US = 1_700_000_000_000_000


@given(
    number=st.integers(1, 5),
    window_us=st.integers(50_000, 5_000_000),
    steps=st.lists(st.tuples(st.integers(-300_000, 2_000_000), st.integers(1, 8)), max_size=60),
)
def test_no_window_ever_holds_more_starts_than_the_rate(
    number: int, window_us: int, steps: list[tuple[int, int]]
) -> None:
    """For claims at any times, also when the clock is set back in between: by the stamps of the starts."""
    rate = Rate(number, window_us)
    kept: dict[int, int] = {}
    starts: list[int] = []
    now_us = START_US
    for step_us, wanted in steps:
        now_us += step_us
        taken = min(wanted, max(0, rate.free(kept.items(), now_us=now_us)))
        kept[rate.slice_of(now_us)] = kept.get(rate.slice_of(now_us), 0) + taken
        starts += [now_us] * taken
    for first in starts:
        assert sum(first <= each < first + window_us for each in starts) <= number


@given(
    number=st.integers(1, 5),
    window_us=st.integers(50_000, 5_000_000),
    starts=st.dictionaries(st.integers(0, 5_000_000), st.integers(1, 5), max_size=20),
)
def test_the_next_token_is_there_when_it_was_said_and_not_before(
    number: int, window_us: int, starts: dict[int, int]
) -> None:
    """`next_free_us` is the first moment at which `free` is not zero, if nothing starts in between."""
    rate = Rate(number, window_us)
    kept = {}
    for at_us, count in starts.items():
        kept[rate.slice_of(START_US + at_us)] = count
    now_us = START_US + max(starts, default=0)
    moment_us = rate.next_free_us(kept.items(), now_us=now_us)
    assert moment_us is not None
    assert moment_us >= now_us
    assert rate.free(kept.items(), now_us=moment_us) >= 1
    if moment_us > now_us:
        assert rate.free(kept.items(), now_us=moment_us - 1) <= 0


def test_slices_cost_a_fiftieth_of_the_rate_at_most() -> None:
    """A start is forgotten one window and one slice later at the latest."""
    rate = Rate.of(1, 10)
    kept = [(rate.slice_of(START_US), 1)]
    assert rate.free(kept, now_us=START_US + 10_000_000 + 10_000_000 // SLICES) == 1
    assert rate.free(kept, now_us=START_US + 10_000_000 - 1) == 0


def test_starts_far_in_the_future_do_not_count() -> None:
    """A clock that was wrong by an hour and was put right must not stop a lane for an hour."""
    rate = Rate.of(1, 10)
    assert rate.free([(rate.slice_of(START_US + 3_600_000_000), 1)], now_us=START_US) == 1
    assert rate.free([(rate.slice_of(START_US + 5_000_000), 1)], now_us=START_US) == 0


def test_a_lowered_rate_waits_until_enough_starts_are_past() -> None:
    """Four starts under a rate that is one now: the last of them has to leave the window."""
    rate = Rate.of(1, 1)
    kept = [(rate.slice_of(START_US + place * 100_000), 1) for place in range(4)]
    assert rate.free(kept, now_us=START_US + 300_000) == -3
    assert rate.next_free_us(kept, now_us=START_US + 300_000) == rate.slice_of(START_US + 300_000) + 1_000_000


def test_a_rate_of_zero_has_no_next_token() -> None:
    """None is never."""
    assert Rate(0, 1_000_000).next_free_us([], now_us=START_US) is None
