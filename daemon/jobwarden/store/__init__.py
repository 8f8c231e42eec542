"""What is remembered: the database, behind verbs. `open_store` is the way in.

The only room that knows SQL. Imports jobs, clock and errors, nothing above.
"""

from jobwarden.jobs.filter import RETRYING
from jobwarden.store.bell import Bell
from jobwarden.store.dialects import StoreOptions
from jobwarden.store.matching import Changed
from jobwarden.store.people.paging import Page
from jobwarden.store.people.reading import RunningJob
from jobwarden.store.store import Store, open_store
from jobwarden.store.work import (
    Claim,
    GiveBack,
    NodeStart,
    NodeView,
    ProgressNote,
    ProlongNote,
    Receipts,
    Refusal,
    Wish,
    Work,
)
from jobwarden.store.writer import Writer

__all__ = [
    "RETRYING",
    "Bell",
    "Changed",
    "Claim",
    "GiveBack",
    "NodeStart",
    "NodeView",
    "Page",
    "ProgressNote",
    "ProlongNote",
    "Receipts",
    "Refusal",
    "RunningJob",
    "Store",
    "StoreOptions",
    "Wish",
    "Work",
    "Writer",
    "open_store",
]
