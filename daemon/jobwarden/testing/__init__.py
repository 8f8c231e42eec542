"""For the tests of an application (`run_jobs`), and of somebody who writes a store (`store_contract`)."""

from __future__ import annotations

from jobwarden.testing.running import ErrandFailedError, run_jobs

__all__ = ["ErrandFailedError", "run_jobs"]
