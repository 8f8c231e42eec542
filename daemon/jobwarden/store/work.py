"""What a daemon asks of the store in one transaction, and what it gets back. Data only; imports no SQL."""

from __future__ import annotations

import msgspec

from jobwarden.jobs.claim import ClaimedJob, TypeTerms
from jobwarden.jobs.ending import Ending


class GiveBack(msgspec.Struct, frozen=True):
    """A claimed job that was never started: its attempt is taken off, no event is written, the fence rises."""

    job_id: int
    fence: int


class ProgressNote(msgspec.Struct, frozen=True):
    """The latest progress of a running attempt, 0 to 100."""

    job_id: int
    fence: int
    percent: float


class ProlongNote(msgspec.Struct, frozen=True):
    """A running attempt has moved its limit to `ms` milliseconds from then."""

    job_id: int
    fence: int
    ms: int


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Ask for at most `limit` ready jobs of these types. `batch` is unique per claim and stored on the rows."""

    batch: str
    limit: int
    types: tuple[TypeTerms, ...]


class Work(msgspec.Struct, kw_only=True):
    """One transaction of a node. Every part may be empty; all of it commits or none."""

    now_us: int
    node_id: str
    node_name: str
    """`host:pid`, shown as `locked_by`."""
    endings: list[Ending] = []
    progress: list[ProgressNote] = []
    prolongs: list[ProlongNote] = []
    give_backs: list[GiveBack] = []
    claim: Claim | None = None
    report: str | None = None
    """JSON for people (`status`); raises the node's beat and stores this when not None."""
    types: str | None = None
    """JSON array of `ServedType`; stored in the node's row when not None."""
    secrets: tuple[tuple[str, str], ...] = ()
    """(job type, name) of payload fields that are secret; kept for good."""
    read_wishes: bool = False


class Refusal(msgspec.Struct, frozen=True):
    """An entry that matched no row. `settled`: our own earlier write did it (its answer was lost); else it is lost."""

    job_id: int
    fence: int
    settled: bool


class Wish(msgspec.Struct, frozen=True):
    """Somebody asks something of a running attempt of this node. `wish` is cancel or requeue."""

    job_id: int
    fence: int
    wish: str
    reason: str | None


class Receipts(msgspec.Struct, kw_only=True):
    """What one committed transaction answered."""

    claimed: list[ClaimedJob] = []
    refused: list[Refusal] = []
    unstorable: list[tuple[int, int, str]] = []
    """(job_id, fence, sentence): endings whose data the database refused; recorded as failed instead."""
    wishes: list[Wish] = []
    next_due_us: int | None = None
    """When the next job that waits only for its time becomes due (of any type); None for never."""
    held_back: bool = False
    """A limit per node may have kept jobs back from this claim: an end of this node makes room for the next."""
    moved: bool = False
    """Ends of this transaction may have made other jobs ready: dependents, those next in a lane, dead letters."""
    node_missing: bool = False
    """The node's own row is gone: somebody declared it dead."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What a node sees when it renews its lease (`Pulse.renew`)."""

    alive: bool
    """Its own row was there; if not, somebody has declared it dead."""
    nodes: list[tuple[str, int, float]]
    """(node id, beat, lease in seconds) of all nodes."""
    wishes: list[Wish]
    processing: list[tuple[int, int]]
    """(job id, fence) of all rows that are processing under it."""
    next_due_us: int | None
    version: int
    """Changes when jobs do."""


class ServedType(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What a node publishes about one job type that it serves (the column `types` holds a JSON array of these)."""

    job_type: str
    schema: dict[str, object] | None = None
    """JSON Schema of the payload, where it is typed."""
    secret: tuple[str, ...] = ()
    """Names of payload fields that views mask, at any depth."""


class NodeStart(msgspec.Struct, frozen=True, kw_only=True):
    """A node as it registers itself."""

    node_id: str
    name: str
    """`host:pid`."""
    host: str
    boot_id: str
    pid: int
    state_dir: str
    state_lock: str | None = None
    """Device and inode of the locked file in the state directory; None for a node that holds none."""
    lease_seconds: float
    doorbell: str | None
    version: str


class NodeView(msgspec.Struct, frozen=True, kw_only=True):
    """A node row as everybody sees it."""

    node_id: str
    name: str
    host: str
    boot_id: str
    pid: int
    state_dir: str
    state_lock: str | None
    started_us: int
    beat: int
    beat_us: int
    lease_seconds: float
    doorbell: str | None
    version: str
    types: list[ServedType] | None
    """None: it has not said yet (it is loading its handlers)."""
    report: dict[str, object] | None
    """What the supervisor last said of itself: slots, generation, kill level, problems."""
