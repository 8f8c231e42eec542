"""What is remembered: the database, behind verbs. `open_store` is the way in.

The only room that knows SQL. Imports jobs, clock and errors, nothing above.
"""

from jobwarden.store.bell import Bell
from jobwarden.store.reading import RETRYING, RunningJob
from jobwarden.store.store import Store, open_store
from jobwarden.store.work import (
    Claim,
    GiveBack,
    NodeStart,
    NodeView,
    ProgressNote,
    Receipts,
    Refusal,
    Wish,
    Work,
)
from jobwarden.store.writer import Writer

__all__ = [
    "RETRYING",
    "Bell",
    "Claim",
    "GiveBack",
    "NodeStart",
    "NodeView",
    "ProgressNote",
    "Receipts",
    "Refusal",
    "RunningJob",
    "Store",
    "Wish",
    "Work",
    "Writer",
    "open_store",
]
