"""What a dialect must say in its own SQL: the statements on the path of a job, each over one set.

An `entries` parameter is JSON text: an array of arrays, laid out by `entries.py`. Every statement that writes about
an attempt carries the guard (job id, fence, status 'processing' and, where a node writes, its node) in its WHERE.
Statements that people's verbs need are built with SQLAlchemy Core where they are used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import TextClause


@dataclass(frozen=True, kw_only=True)
class Statements:
    """One instance per dialect."""

    longest_set_bytes: int | None = None
    """How much JSON one statement may be given; None for more than anybody has."""

    # Adding.
    reserve_ids: TextClause
    """(count) -> JSON array of `count` ids that nobody else gets, ascending, or null for those up to the second column;
    the last of them; whether there are controls. Where there is one writer at a time it takes the write lock."""
    lock_keys: TextClause | None = None
    """(entries, as `hold_keys`): give each key that nobody has to its entry's job, and lock all of them, in order.
    Comes before `hold_keys`, which then sees what whoever had a lock before has committed. None where `hold_keys` sees
    to that itself, or there is one writer at a time."""
    hold_keys: TextClause
    """(entries, now, held_since): give each key to its entry's job unless an unexpired one has it."""
    insert_jobs: TextClause
    """(entries, now): plain jobs."""
    insert_jobs_in_full: TextClause
    """(entries, now): jobs with options that few have. Each column that is read costs every job of a set."""
    insert_added_events: TextClause
    """(ids, now): one event `added` for each of these jobs."""
    insert_tags: TextClause
    """(entries)."""
    find_barriers: TextClause
    """(entries of (job id, JSON array of tags)) -> (job id, the last earlier job that has not ended and carries all of
    the tags); no row for a job without one."""

    # Ending attempts. The event goes first: it sees the row as the attempt left it.
    record_completions: TextClause
    """(entries, node_id): outcome events of completed jobs. Gives the accepted (job id, fence)s as rows; or no rows,
    and then its row count says how many entries were accepted, and `lastrowid` the last event of a run without gaps.
    Locks the rows that it accepts until the transaction ends."""
    complete_jobs: TextClause | None
    """(entries, node_id). None if `record_completions` does that too."""
    record_endings: TextClause
    """(entries, node_id): outcome events of everything else; answers as `record_completions` does."""
    end_jobs: TextClause | None
    """(entries, node_id). None if `record_endings` does that too."""
    accepted_ends: TextClause | None
    """(floor) -> JSON array of the (job id, fence)s whose outcome events are newer than event `floor`. None where
    `record_completions` and `record_endings` answer in rows."""
    ended_kinds: TextClause
    """(ids) -> whether there are controls; JSON array of (job type, status, number, whether anything waits for one,
    whether one has tags, whether one has a dead letter to come) of those of these jobs that have ended."""
    settled: TextClause
    """(entries) -> JSON array of those (job id, fence)s that the job still has and that are no longer processing."""

    # Other writes about attempts.
    lock_attempts: TextClause | None = None
    """(entries, node_id) -> the (job id, fence)s that are running, locked until the transaction ends. Comes before
    `note_progress` and `give_back`, and answers in their place, where an UPDATE cannot. None where it can."""
    note_progress: TextClause
    """(entries, node_id, now) -> the (job id, fence)s whose progress was noted."""
    drop_progress_events: TextClause
    """(entries, node_id): an earlier progress event of the same job; only the latest is kept."""
    record_progress: TextClause
    """(entries, node_id, now)."""
    record_prolongs: TextClause
    """(entries, node_id, now): one event `prolonged` for each attempt that still runs."""
    give_back: TextClause
    """(entries, node_id, now) -> the (job id, fence)s that were given back."""
    wished_cancelled: TextClause
    """() -> JSON array of (job id, reason) of free jobs that somebody wished cancelled while they ran."""

    # Claiming.
    promote_due: TextClause
    """(now): make at most 500 jobs ready whose time has come, the longest due first."""
    choose_ready: Callable[[int, int, bool], TextClause]
    """(terms, type_0, type_1, ..., limit, near, node_id) -> JSON array of `ClaimedJob`s as this claim will leave them.

    Where others claim at the same time, `near` is how many candidates to go through for `limit` that nobody has locked.

    Made for n types, of which the first m give only as many as their terms say (limits per node), and for whether any
    of them has a heartbeat timeout of its own.
    """
    claim_jobs: TextClause
    """(ids, max_attempts, timeout_ms, retry_delay, heartbeat_timeout_ms, node_id, node_name, batch, now): jobs of one
    type. Their rank is that of their priority again, whatever aging made of it."""
    record_processing: TextClause
    """(node_id, batch, now): one event `processing` for each job of this claim."""
    waiting_groups: TextClause
    """(after, most): names of groups that have waiters in lanes, in order, from one on. Steps over the index from each
    to the next: how many waiters it has does not matter."""

    take_ready: Callable[[int, int, bool], TextClause] | None
    """As `choose_ready`, with (terms, limit, node_id, node_name, batch, now): chooses, takes and records in one
    statement, where a round trip is dear. None: `choose_ready`, `claim_jobs` and `record_processing` do it in turn.
    With several writers both pass over rows that somebody else has locked, and hold the node's own row against being
    buried."""

    # Looking.
    outlook: TextClause
    """() -> whether there are controls; next expiry, next due time (each wall microseconds or null)."""
    renew: tuple[TextClause, ...]
    """(node_id, report, now): raise the node's beat, keep its report (null: as it is), and observe. Executed in turn,
    each committed by itself; the last answers with one row: whether the node's own row was there; JSON array of (node
    id, beat, lease in seconds) of all nodes; JSON array of its `Wish`es; JSON array of the (job id, fence)s that are
    processing under it; next due time and next expiry (wall microseconds or null); a number that changes when jobs do.
    Empty where the flock is the lease, and the ledger beats (decision 001)."""
    look: TextClause
    """(node_id) -> next due time, next expiry (each wall microseconds or null), whether there are controls, whether the
    node has a row, JSON array of its `Wish`es."""
    jobs_to_free: TextClause
    """() -> JSON array of (node_id, owner's name, wish, wish's reason, `ClaimedJob`) of rows without a living node."""
    jobs_by_id: TextClause
    """(ids) -> JSON array of `ClaimedJob`s."""
