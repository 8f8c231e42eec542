"""Everything that the pool can want done, on one screen. The loop performs them, in order."""

from __future__ import annotations

import msgspec

from jobwarden.jobs.claim import ClaimedJob, TypeTerms
from jobwarden.jobs.ending import Ending
from jobwarden.supervisor.terms import DEFAULT_POOL


class _Effect(msgspec.Struct, frozen=True):
    pass


class AskClaim(_Effect, frozen=True):
    """Claim at most `limit` jobs of these types for this pool; answered by Claimed or ClaimFailed."""

    limit: int
    types: tuple[TypeTerms, ...]
    pool: str = DEFAULT_POOL


class Dispatch(_Effect, frozen=True):
    """Send the job to the slot's worker."""

    slot: int
    job: ClaimedJob


class TakeBack(_Effect, frozen=True):
    """Receive what the slot's worker has not taken yet; answered by TookBack."""

    slot: int


class StopSoftly(_Effect, frozen=True):
    """Send Stop and the soft signal for this attempt (job id, fence)."""

    slot: int
    attempt: tuple[int, int]
    why: str
    """timeout, stalled or cancel."""


class AnswerProlong(_Effect, frozen=True):
    """Tell the slot's worker whether the limit of this attempt (job id, fence) was moved."""

    slot: int
    attempt: tuple[int, int]
    granted: bool


class AskStore(_Effect, frozen=True):
    """Let the clerk do this for the slot's running job; it answers the worker itself."""

    slot: int
    number: int
    verb: str
    arguments: str


class RefuseAsk(_Effect, frozen=True):
    """Answer that the attempt which asks is not running any more."""

    slot: int
    number: int


class Retire(_Effect, frozen=True):
    """Tell the idle worker that it is not needed any more; it ends by itself, answered by Died."""

    slot: int


class KillTree(_Effect, frozen=True):
    """Kill the worker and all its descendants; answered by Died, then Cleared (or Stuck, then Cleared)."""

    slot: int
    dump: bool
    """Take a stack dump of all threads first."""


class SweepTree(_Effect, frozen=True):
    """The worker died by itself: kill what it left; answered by Cleared."""

    slot: int


class Record(_Effect, frozen=True):
    """Write this end of an attempt."""

    ending: Ending
    job_type: str


class GiveBackJob(_Effect, frozen=True):
    """This claimed job was never started: free it at no cost."""

    job_id: int
    fence: int


class NoteProgress(_Effect, frozen=True):
    """Write the latest progress of an attempt."""

    job_id: int
    fence: int
    percent: float


class NoteProlonged(_Effect, frozen=True):
    """Write the event that the limit of an attempt was moved to `ms` from now."""

    job_id: int
    fence: int
    ms: int


class Measure(_Effect, frozen=True):
    """Look at what the processes of this attempt use; answered by Measured, or by nothing if they are gone."""

    slot: int
    attempt: tuple[int, int]
    pid: int
    """The worker's."""
    born_kb: int
    """What it had before the job: not the job's."""
    enough_kb: int | None
    """Below this, an upper bound will do; None: memory is of no interest."""
    cpu: bool
    """CPU time is of interest."""
    most: int
    """Processes to look at; further ones are of no interest."""


class ForkWorker(_Effect, frozen=True):
    """Have the current template fork a worker for this slot."""

    slot: int
    generation: int


class StartTemplate(_Effect, frozen=True):
    """Start a template that loads the handlers as this generation."""

    generation: int
    restore: bool = False
    """From the bytes of the generation that is served, not from the disk, where something broken may stand by now."""
    pool: str = DEFAULT_POOL
    without: tuple[str, ...] = ()
    """Files that are not to be imported."""


class EndTemplate(_Effect, frozen=True):
    """This template is not needed any more."""

    generation: int
    why: str | None = None
    """What is wrong with it; TemplateFailed then says so too, and where it was."""


class NoteCleared(_Effect, frozen=True):
    """A worker's tree is gone. `lateness_ms` counts from deadline + grace; None where there was no deadline."""

    slot: int
    pid: int
    job_id: int | None
    lateness_ms: float | None


class NoteServed(_Effect, frozen=True):
    """A generation became current."""

    generation: int
    content_hash: str
    types: tuple[str, ...]
    pool: str = DEFAULT_POOL


class Rejoin(_Effect, frozen=True):
    """The node's row is gone and nothing of it runs any more: join as a new node; answered by Rejoined."""


class Alert(_Effect, frozen=True):
    """Tell the operator: a fact worth a line in log and status."""

    text: str
    pool: str | None = None
    """Whose code it is about; None: it is about the node."""


class Leave(_Effect, frozen=True):
    """Nothing is left below the supervisor: flush and exit."""


Effect = (
    AskClaim
    | Dispatch
    | TakeBack
    | StopSoftly
    | AnswerProlong
    | AskStore
    | RefuseAsk
    | Retire
    | KillTree
    | Measure
    | SweepTree
    | Record
    | GiveBackJob
    | NoteProgress
    | NoteProlonged
    | ForkWorker
    | StartTemplate
    | EndTemplate
    | NoteCleared
    | NoteServed
    | Rejoin
    | Alert
    | Leave
)
