"""Jobs that go on and on, and write down that they live."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from _stage import alone, note  # type: ignore[import-not-found]

from jobwarden import JobContext, handler


@handler("ticking")
def ticking(payload: dict[str, Any], ctx: JobContext) -> int:
    """A line in the journal every few milliseconds, until the file `enough` is there."""
    place = Path(payload["place"])
    with alone(payload, ctx):
        while not (place / "enough").exists():
            note(place / "ticks", f"{ctx.job_id} {os.getpid()} {time.clock_gettime_ns(time.CLOCK_BOOTTIME)}")
            time.sleep(0.005)
    return ctx.attempt
