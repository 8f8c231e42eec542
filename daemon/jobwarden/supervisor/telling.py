"""What the daemon says of an attempt's end: a fact if it did not succeed, and what it printed. Called by the loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobwarden import events
from jobwarden.jobs.outcome import Outcome

if TYPE_CHECKING:
    from jobwarden.jobs.ending import Ending


def tell_end(ending: Ending, *, job_type: str) -> None:
    """By the time it is handed to the ledger; the text is the one that is stored."""
    if ending.facts.captured:
        events.emit(
            events.JobPrinted(job_id=ending.job_id, job_type=job_type, fence=ending.fence, text=ending.facts.captured)
        )
    if ending.outcome is not Outcome.SUCCEEDED:
        events.emit(
            events.AttemptEnded(
                job_id=ending.job_id,
                job_type=job_type,
                fence=ending.fence,
                outcome=ending.outcome,
                error=ending.error,
            )
        )
