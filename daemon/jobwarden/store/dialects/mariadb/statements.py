"""The statements of MariaDB: one JSON array in, taken apart by JSON_TABLE; rows or one JSON array back.

Tables are joined in the order in which they are written and by the named index: the optimizer's other choices would
lock rows that are none of ours. Every SET reads the row as it was (sql_mode SIMULTANEOUS_ASSIGNMENT), and is written so
that it would also come out right from left to right.
"""

from __future__ import annotations

from sqlalchemy import text

from jobwarden.store.dialects.mariadb import adding, claiming, ends, looking, notes
from jobwarden.store.statements import Statements

_LONGEST_SET = 7 * 1024 * 1024
"""PyMySQL escapes each quote and backslash of it: at worst it is twice as long in a packet of SMALLEST_PACKET."""

STATEMENTS = Statements(
    longest_set_bytes=_LONGEST_SET,
    reserve_ids=text(adding.RESERVE_IDS),
    lock_keys=text(adding.LOCK_KEYS),
    hold_keys=text(adding.HOLD_KEYS),
    insert_jobs=text(adding.INSERT_JOBS),
    insert_jobs_in_full=text(adding.INSERT_JOBS_IN_FULL),
    insert_added_events=text(adding.INSERT_ADDED_EVENTS),
    insert_tags=text(adding.INSERT_TAGS),
    find_barriers=text(adding.FIND_BARRIERS),
    record_completions=text(ends.RECORD_COMPLETIONS),
    complete_jobs=text(ends.COMPLETE_JOBS),
    record_endings=text(ends.RECORD_ENDINGS),
    end_jobs=text(ends.END_JOBS),
    accepted_ends=None,
    ended_kinds=text(ends.ENDED_KINDS),
    settled=text(ends.SETTLED),
    lock_attempts=text(ends.LOCK_ATTEMPTS),
    note_progress=text(ends.NOTE_PROGRESS),
    drop_progress_events=text(ends.DROP_PROGRESS_EVENTS),
    record_progress=text(ends.RECORD_PROGRESS),
    record_prolongs=text(notes.RECORD_PROLONGS),
    give_back=text(ends.GIVE_BACK),
    wished_cancelled=text(ends.WISHED_CANCELLED),
    promote_due=text(claiming.PROMOTE_DUE),
    choose_ready=claiming.choose_ready,
    take_ready=None,
    claim_jobs=text(claiming.CLAIM_JOBS),
    record_processing=text(claiming.RECORD_PROCESSING),
    waiting_groups=text(claiming.WAITING_GROUPS),
    outlook=text(looking.OUTLOOK),
    renew=(text(looking.RENEW), text(looking.OBSERVE)),
    look=text(looking.LOOK),
    jobs_to_free=text(looking.JOBS_TO_FREE),
    jobs_by_id=text(looking.JOBS_BY_ID),
)
