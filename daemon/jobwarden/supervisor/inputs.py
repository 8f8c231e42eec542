"""Everything that can happen to the pool, on one screen. The loop makes them; nobody else does."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from jobwarden.jobs.claim import ClaimedJob
from jobwarden.supervisor.terms import DEFAULT_POOL, PoolTerms
from jobwarden.wire.messages import Done, HandlerInfo


class Moment(NamedTuple):
    """One reading of both clocks: CLOCK_MONOTONIC nanoseconds and wall microseconds."""

    ns: int
    us: int

    def wall_us(self, stamp_ns: int) -> int:
        """The wall time of an earlier monotonic stamp."""
        return self.us - (self.ns - stamp_ns) // 1_000


class _Input(msgspec.Struct, frozen=True):
    pass


class Claimed(_Input, frozen=True):
    """The answer to AskClaim, after its commit."""

    jobs: list[ClaimedJob]
    pool: str = DEFAULT_POOL


class ClaimFailed(_Input, frozen=True):
    """The claim was not committed, or nobody knows; the store is away or busy."""

    pool: str = DEFAULT_POOL


class Rang(_Input, frozen=True):
    """Something may be ready in the store: the doorbell, a due time, another process's commit."""


class TemplateBegan(_Input, frozen=True):
    """A template has read its code from the disk, and imports it now."""

    generation: int
    content_hash: str


class TemplateReady(_Input, frozen=True):
    """A template has loaded its generation and can fork."""

    generation: int
    content_hash: str
    handlers: tuple[HandlerInfo, ...]
    problems: tuple[str, ...] = ()
    """One sentence per handler file that cannot be served."""
    broken: tuple[str, ...] = ()
    """Those files."""
    starts: bool = False
    """Its workers call hooks before they are ready (`on_worker_start`)."""


class TemplateFailed(_Input, frozen=True):
    """A template could not load its generation (it is gone, or useless)."""

    generation: int
    why: str
    file: str | None = None
    """The file that it was importing."""
    again: bool = False
    """Nothing is wrong with the code: there was no process, memory or descriptor to be had."""


class TemplateGone(_Input, frozen=True):
    """A template that had loaded died."""

    generation: int


class Born(_Input, frozen=True):
    """The template answered: the slot's worker exists."""

    slot: int
    pid: int


class Unborn(_Input, frozen=True):
    """No worker came into being for this slot."""

    slot: int
    why: str


class Ready(_Input, frozen=True):
    """The worker said Hello."""

    slot: int
    takes_leave: bool = False
    """There is something to be done before it ends: where there is time, it is retired and not killed."""
    memory_kb: int = 0
    """What it has at its birth, most of it shared with its template; 0 where nobody wants to know."""
    processes: int = 1
    """Itself, and what its hooks have started."""


class Unready(_Input, frozen=True):
    """What the handler files want done at a worker's start has failed: it is none, and ends by itself."""

    slot: int
    why: str


class Reported(_Input, frozen=True):
    """The worker's handler ended. `captured` is what the attempt printed, as far as it was marked."""

    slot: int
    done: Done
    captured: str | None


class ProgressMade(_Input, frozen=True):
    """The running attempt reported progress."""

    slot: int
    fence: int
    percent: float


class Beaten(_Input, frozen=True):
    """The running attempt said that it is alive (`ctx.heartbeat()`); progress says so too."""

    slot: int
    fence: int


class ProlongAsked(_Input, frozen=True):
    """The running attempt (job id, fence) wants its limit `ms` from now; None is its own `timeoutMs` once more."""

    slot: int
    attempt: tuple[int, int]
    ms: int | None


class Measured(_Input, frozen=True):
    """The answer to Measure: what the processes of this attempt used together when they were looked at."""

    slot: int
    attempt: tuple[int, int]
    memory_kb: int
    """Beyond what the worker had before the job; 0 where nobody wants to know."""
    cpu_ms: int
    """Since the birth of the worker; 0 where nobody wants to know."""
    processes: int


class Asked(_Input, frozen=True):
    """The running attempt asks the store for something."""

    slot: int
    fence: int
    number: int
    verb: str
    arguments: str


class TookBack(_Input, frozen=True):
    """These attempts (job id, fence) were received back from the slot's queue: the worker never got them."""

    slot: int
    attempts: tuple[tuple[int, int], ...]


class Died(_Input, frozen=True):
    """The worker is dead and reaped, its socket read to the end. Its tree may still live."""

    slot: int
    signal: int | None
    exit_code: int | None
    cpu_ms: int
    peak_rss_kb: int
    fenced: bool
    """Killed by the keeper, or it refused a job, because the trust window had passed."""
    captured: str | None


class Cleared(_Input, frozen=True):
    """Nothing of the dead worker's tree is left."""

    slot: int
    stack_dump: str | None


class Stuck(_Input, frozen=True):
    """The worker or its tree does not die within `kill_stuck_seconds`; the killer goes on trying."""

    slot: int


class Wished(_Input, frozen=True):
    """A client asks something of a running attempt: cancel or requeue."""

    job_id: int
    fence: int
    wish: str
    reason: str | None = None
    """Their words."""


class LeaseLost(_Input, frozen=True):
    """A write about this attempt was refused: somebody else owns the job now."""

    job_id: int
    fence: int


class Processing(_Input, frozen=True):
    """All rows that the store holds as processing under this node (job id, fence)."""

    rows: list[tuple[int, int]]


class TrustLost(_Input, frozen=True):
    """The trust window has passed: whatever runs must end now."""


class TrustBack(_Input, frozen=True):
    """The lease was renewed: work may go on."""


class NodeGone(_Input, frozen=True):
    """The node's own row is gone: somebody took it for dead, and its jobs run elsewhere."""


class Rejoined(_Input, frozen=True):
    """The answer to Rejoin: the node has a row again, under a new name."""


class ReloadAsked(_Input, frozen=True):
    """Load the handlers of this pool again; None: of all."""

    pool: str | None = None
    content_hash: str | None = None
    """Of what the watcher has seen there. None: a person asks, so it is loaded even if no byte of it has changed."""


class TermsChanged(_Input, frozen=True):
    """The configuration was read again; the terms name the pool."""

    terms: PoolTerms


class StopAsked(_Input, frozen=True):
    """Leave. Each further one is more urgent; `now` skips to the last step."""

    now: bool


class Ticked(_Input, frozen=True):
    """Time has passed; deadlines are looked at."""


Input = (
    Claimed
    | ClaimFailed
    | Rang
    | TemplateBegan
    | TemplateReady
    | TemplateFailed
    | TemplateGone
    | Born
    | Unborn
    | Ready
    | Unready
    | Reported
    | ProgressMade
    | Beaten
    | ProlongAsked
    | Measured
    | Asked
    | TookBack
    | Died
    | Cleared
    | Stuck
    | Wished
    | LeaseLost
    | Processing
    | TrustLost
    | TrustBack
    | NodeGone
    | Rejoined
    | ReloadAsked
    | TermsChanged
    | StopAsked
    | Ticked
)
