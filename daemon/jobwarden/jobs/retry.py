"""How long a failed job waits before its next attempt (design §6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobwarden.jobs.claim import ClaimedJob

LONGEST_DELAY_SECONDS = 366 * 86_400.0
"""No backoff exceeds a year: 2**attempts leaves the range of dates soon."""

_LARGEST_EXPONENT = 40


def bounded_delay(seconds: float) -> float:
    """A delay that a handler asked for, made one that a date can hold; NaN and infinity are the longest."""
    return max(seconds, 0.0) if seconds <= LONGEST_DELAY_SECONDS else LONGEST_DELAY_SECONDS


def retry_delay_seconds(job: ClaimedJob, *, jitter: float) -> float:
    """Delay · 2^attempts · jitter with backoff, else the plain delay; both at most `retry_delay_max`.

    `attempts` counts the attempt that has just failed; `jitter` is in [0.5, 1] (drawn by the caller).
    """
    delay = job.retry_delay
    if job.retry_backoff:
        delay = delay * 2 ** min(job.attempts, _LARGEST_EXPONENT) * jitter
    limit = LONGEST_DELAY_SECONDS if job.retry_delay_max is None else job.retry_delay_max
    return min(delay, limit, LONGEST_DELAY_SECONDS)
