"""Which job types are quick: their recent p95 run time is below 5 ms, so a worker may hold several. Pure."""

from __future__ import annotations

QUICK_NS = 5_000_000
SAMPLES_NEEDED = 20
_WEIGHT = 0.03
"""One sample's share: the estimate forgets over about 33 jobs."""
_SLOW_SHARE = 0.05


class _Type:
    __slots__ = ("samples", "slow")

    def __init__(self) -> None:
        self.samples = 0
        self.slow = 0.0


class Quickness:
    """A running estimate, per type, of the share of jobs that took 5 ms or longer."""

    def __init__(self) -> None:
        """No type is known to be quick."""
        self._types: dict[str, _Type] = {}

    def note(self, job_type: str, run_ns: int) -> None:
        """A job of this type ran this long."""
        known = self._types.get(job_type)
        if known is None:
            known = self._types[job_type] = _Type()
        known.samples += 1
        known.slow += _WEIGHT * ((run_ns >= QUICK_NS) - known.slow)

    def is_quick(self, job_type: str) -> bool:
        """Whether at most one in twenty of the recent jobs of this type took 5 ms or longer."""
        known = self._types.get(job_type)
        return known is not None and known.samples >= SAMPLES_NEEDED and known.slow < _SLOW_SHARE

    def forget(self) -> None:
        """New code: what was quick may not be."""
        self._types.clear()
