"""The statements of PostgreSQL: one JSON array in, locked in the order of ids, one JSON array back.

Status values are literals, because a bound one would hide the partial indexes from a plan that is kept. Parameters
carry a cast where nothing else says their type.
"""

from __future__ import annotations

from sqlalchemy import text

from jobwarden.store.dialects.postgresql import adding, claiming, ends, looking, notes
from jobwarden.store.statements import Statements

_LONGEST_SET = 64 * 1024 * 1024
"""A jsonb array holds 256 MB, and a short number takes several times as much in it as in text."""

STATEMENTS = Statements(
    longest_set_bytes=_LONGEST_SET,
    reserve_ids=text(adding.RESERVE_IDS),
    hold_keys=text(adding.HOLD_KEYS),
    insert_jobs=text(adding.INSERT_JOBS),
    insert_jobs_in_full=text(adding.INSERT_JOBS_IN_FULL),
    insert_added_events=text(adding.INSERT_ADDED_EVENTS),
    insert_tags=text(adding.INSERT_TAGS),
    find_barriers=text(adding.FIND_BARRIERS),
    record_completions=text(ends.RECORD_COMPLETIONS),
    complete_jobs=None,
    record_endings=text(ends.RECORD_ENDINGS),
    end_jobs=None,
    accepted_ends=None,
    ended_kinds=text(ends.ENDED_KINDS),
    settled=text(ends.SETTLED),
    note_progress=text(notes.NOTE_PROGRESS),
    drop_progress_events=text(notes.DROP_PROGRESS_EVENTS),
    record_progress=text(notes.RECORD_PROGRESS),
    record_prolongs=text(notes.RECORD_PROLONGS),
    give_back=text(ends.GIVE_BACK),
    wished_cancelled=text(notes.WISHED_CANCELLED),
    promote_due=text(claiming.PROMOTE_DUE),
    choose_ready=claiming.choose_ready,
    take_ready=claiming.take_ready,
    claim_jobs=text(claiming.CLAIM_JOBS),
    record_processing=text(claiming.RECORD_PROCESSING),
    waiting_groups=text(looking.WAITING_GROUPS),
    outlook=text(looking.OUTLOOK),
    renew=(text(looking.RENEW),),
    look=text(looking.LOOK),
    jobs_to_free=text(looking.JOBS_TO_FREE),
    jobs_by_id=text(looking.JOBS_BY_ID),
)
