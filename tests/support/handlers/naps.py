"""Jobs that take a moment and say when they ran."""

from __future__ import annotations

import time

from jobwarden import handler


@handler("timed_nap")
def timed_nap(payload: dict[str, float]) -> list[int]:
    """Start and end on CLOCK_MONOTONIC, which all processes of a machine share."""
    began = time.monotonic_ns()
    time.sleep(payload.get("seconds", 0.02))
    return [began, time.monotonic_ns()]


@handler("narrow_nap", max_concurrency=1)
def narrow_nap(payload: dict[str, float]) -> list[int]:
    """At most one on a node."""
    return timed_nap(payload)
