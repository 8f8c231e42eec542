"""The statements of SQLite: one JSON array in, UPDATE ... FROM, one JSON array back.

Three habits of SQLite shape them. `json_each` builds its `value` anew at each mention, so entries are materialized
before they are taken apart (half the time of a bulk insert). Status values are literals, because a bound one would
hide the partial indexes from the planner. An INSERT begins with INSERT, not WITH, or sqlite3 reports no row count.
"""

from __future__ import annotations

from sqlalchemy import text

from jobwarden.store.dialects.sqlite import adding, claiming, ends, notes
from jobwarden.store.statements import Statements

STATEMENTS = Statements(
    reserve_ids=text(adding.RESERVE_IDS),
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
    accepted_ends=text(ends.ACCEPTED_ENDS),
    ended_kinds=text(ends.ENDED_KINDS),
    settled=text(ends.SETTLED),
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
    outlook=text(claiming.OUTLOOK),
    renew=(),
    look=text(claiming.LOOK),
    jobs_to_free=text(claiming.JOBS_TO_FREE),
    jobs_by_id=text(claiming.JOBS_BY_ID),
)
