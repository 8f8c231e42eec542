"""A job that gets there in the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from _stage import alone, note  # type: ignore[import-not-found]

from jobwarden import JobContext, handler


@handler("fail_once")
def fail_once(payload: dict[str, Any], ctx: JobContext) -> None:
    """The first attempt fails; the second writes its job's number into the file `ended`."""
    with alone(payload, ctx):
        if ctx.attempt == 1:
            message = "once, on purpose"
            raise RuntimeError(message)
        note(Path(payload["place"], "ended"), str(ctx.job_id))
