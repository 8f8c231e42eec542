"""`Store`: the verbs of clients and of people, one transaction each; and the way to a daemon's `Writer`.

Opening it makes or migrates an SQLite file. All verbs raise StoreUnavailableError while the database is away, locked,
full or read-only. Safe to share between threads; every verb takes a connection of its own from the pool.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from jobwarden.errors import SchemaMismatchError, StoreError, StoreUnavailableError
from jobwarden.jobs.filter import JobFilter
from jobwarden.store import migrations
from jobwarden.store.access import Access
from jobwarden.store.adding import add_jobs
from jobwarden.store.dialects import Dialect, StoreOptions, dialect_for
from jobwarden.store.failures import store_errors
from jobwarden.store.forks import watch_lasting
from jobwarden.store.keeping.upkeep import Upkeep
from jobwarden.store.migrations.mark import note_version, noted_version
from jobwarden.store.migrations.older import refuse_over_older, versions_there
from jobwarden.store.people import reading
from jobwarden.store.people.bulk import Bulk
from jobwarden.store.people.changing import cancel_job, retry_job
from jobwarden.store.people.controls import Controls
from jobwarden.store.people.counting import count_jobs
from jobwarden.store.people.feed import Feed
from jobwarden.store.people.paging import NEWEST_FIRST, OLDEST_FIRST
from jobwarden.store.people.ready import Ready
from jobwarden.store.pulse import Pulse
from jobwarden.store.second_look import look_once_more
from jobwarden.store.secret_fields import read_secret_fields
from jobwarden.store.side_files import make_side_folder
from jobwarden.store.transactions import connected
from jobwarden.store.writer import Writer
from jobwarden.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from sqlalchemy import Connection

    from jobwarden.jobs.history import Attempt, JobEvent
    from jobwarden.jobs.options import JobOptions
    from jobwarden.jobs.record import JobRecord
    from jobwarden.jobs.secrecy import SecretFields
    from jobwarden.store.people.reading import RunningJob
    from jobwarden.store.work import NodeView


LONGEST_LOG_BYTES = 64 * 1024 * 1024
"""From here on an add folds the log in; sixteen times what the daemon allows, so that it seldom meets it."""


def open_store(url: str, options: StoreOptions | None = None, *, migrate: bool | None = None) -> Store:
    """Open the store at this database URL.

    `migrate`: None makes and migrates SQLite files and leaves other databases alone. Raises InvalidSettingsError for a
    URL that is not supported, StoreUnavailableError, SchemaMismatchError.
    """
    dialect = dialect_for(url, options or StoreOptions())
    store = Store(dialect)
    try:
        store.check_schema(migrate=dialect.creates_itself if migrate is None else migrate)
    except BaseException:
        store.close()
        raise
    return store


class Store:
    """Made by `open_store`."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._sql = dialect.statements
        self._access = access = Access(dialect)
        self.bulk = Bulk(access)
        """Verbs over many jobs, by filter; edit and remove."""
        self.controls = Controls(access)
        """Pauses, limits and rates; why a job does not run."""
        self.upkeep = Upkeep(access)
        """Expiry, retention, repair."""
        self.feed = Feed(access)
        """Events of all jobs."""
        self.ready = Ready(access)
        """What could be claimed this moment."""
        self.url_shown = dialect.url_shown
        """The URL without its password."""
        self.shares_kernel = dialect.shares_kernel
        """All nodes live on one host: a node's flock is its life."""
        self.bell = access.bell
        """Rung by this class after each commit that gives nodes something to do; None where everybody looks himself."""
        self._watching: Connection | None = None
        self._watching_lock = threading.Lock()

    @property
    def watch_seconds(self) -> float | None:
        """How often who waits for changes asks `data_version` now; None: the renewal brings it."""
        return self._dialect.watch_seconds

    @property
    def connection_mode(self) -> str:
        """How this process hears of changes, for people: "doorbell", "notifications", or "polling: " and why."""
        return self._dialect.connection_mode

    # clients

    def add(self, options: Sequence[JobOptions], *, now_us: int, connection: Connection | None = None) -> list[int]:
        """Add jobs in one transaction; their ids in the order of `options`, a held idempotency key giving its holder's.

        With `connection`, inside the caller's own transaction: nothing is committed and nobody is rung.
        """
        if connection is not None:
            self._dialect.refuse_stranger(connection)
            with store_errors(self.url_shown):
                # Who writes alone holds everybody up in any case.
                own = self.shares_kernel
                return add_jobs(connection, self._sql, options, now_us=now_us, own=own)
        ids = self._access.write(lambda own: add_jobs(own, self._sql, options, now_us=now_us))
        if not self.shares_kernel and any("depends_on" in option.model_fields_set for option in options):
            look_once_more(self._access, ids, now_us=now_us)
        self._keep_log_short()
        return ids

    def get(self, job_id: int) -> JobRecord | None:
        """The job, or None."""
        with self._reading() as connection:
            return reading.job_by_id(connection, job_id)

    def find(
        self,
        *,
        status: str | None = None,
        job_type: str | None = None,
        tags: Sequence[str] | None = None,
        limit: int = 100,
        offset: int = 0,
        newest_first: bool = True,
    ) -> list[JobRecord]:
        """Jobs that match everything given; `tags` means all of them, `status` may also be "retrying" or "ended".

        `bulk.find` knows more. Raises InvalidJobError for what can be no filter.
        """
        wanted = JobFilter.parse(
            status=None if status is None else [status], job_type=None if job_type is None else [job_type], tags=tags
        )
        order = NEWEST_FIRST if newest_first else OLDEST_FIRST
        return self.bulk.find(wanted, order=order, limit=limit, offset=offset).jobs

    def events(self, job_id: int) -> list[JobEvent]:
        """What happened to the job, oldest first; empty for an unknown one."""
        with self._reading() as connection:
            return reading.events_of(connection, job_id)

    def attempts(self, job_id: int) -> list[Attempt]:
        """The job's ended attempts, oldest first."""
        with self._reading() as connection:
            return reading.attempts_of(connection, job_id)

    def has_ended(self, job_id: int) -> bool | None:
        """Whether the job has ended; None if there is none. Cheap: reads one column."""
        with self._reading() as connection:
            return reading.has_ended(connection, job_id)

    def cancel(self, job_id: int, *, now_us: int, reason: str | None = None) -> str:
        """Cancel: "cancelled" at once for a job that is not running, "asked" for a running one.

        Raises UnknownJobError, or JobStateError for a job that has ended.
        """
        return self._access.write(
            lambda connection: cancel_job(connection, self._sql, job_id, now_us=now_us, reason=reason)
        )

    def retry(self, job_id: int, *, now_us: int, with_dependents: bool = False) -> None:
        """Run a failed, cancelled or retrying job again, now; with all that ended because of it, if asked to.

        Raises UnknownJobError, JobStateError.
        """
        self._access.write(
            lambda connection: retry_job(connection, self._sql, job_id, now_us=now_us, with_dependents=with_dependents)
        )

    # people

    def counts(self) -> dict[str, dict[str, int]]:
        """Job type -> status -> number; a retrying job is counted under "retrying", not under "failed"."""
        with self._reading() as connection:
            return count_jobs(connection)

    def running(self) -> list[RunningJob]:
        """What is processing now, the longest-running first."""
        with self._reading() as connection:
            return reading.running_jobs(connection)

    def nodes(self) -> list[NodeView]:
        """The nodes' rows."""
        with self._reading() as connection:
            return reading.all_nodes(connection)

    def secret_fields(self) -> SecretFields:
        """Which payload fields people are not shown; for `jobs.secrecy`."""
        with self._reading() as connection:
            return read_secret_fields(connection)

    # daemons

    def writer(self) -> Writer:
        """A connection of its own, for the ledger's thread; closed by its user."""
        return Writer(self._dialect)

    def pulse(self) -> Pulse | None:
        """What renews a node's lease, for its renewal thread; None where the flock is the lease."""
        return Pulse(self._dialect) if self._sql.renew else None

    def data_version(self) -> int:
        """A number that changes when any other connection (our writer's too) has committed. Cheap enough to poll."""
        with store_errors(self.url_shown), self._watching_lock:
            if self._watching is None:
                self._watching = watch_lasting(self._dialect.lasting())
            return self._dialect.data_version(self._watching)

    def side_dir(self, name: str) -> Path | None:
        """The folder `<database>.<name>`, for whoever may use the database; None for a database that is no file."""
        folder = self._dialect.side_path(name)
        if folder is not None:
            try:
                make_side_folder(folder)
            except OSError as error:
                problem = f"cannot make {folder}: {error.strerror}"
                raise StoreUnavailableError(self.url_shown, problem) from None
        return folder

    # the schema

    def schema_revision(self) -> str | None:
        """The revision of the database; None for an empty one."""
        with self._reading() as connection:
            return migrations.revision_of(connection)

    def migrate(self) -> list[str]:
        """Bring the schema to this program's revision; the revisions applied.

        Raises SchemaMismatchError if it is newer, SchemaInUseError if older daemons live that could not go on.
        """
        with connected(self._dialect, writing=True) as connection:
            self._dialect.upgrade(connection)
            found = migrations.revision_of(connection)
            if found == migrations.HEAD:
                return []
            if found is not None and found > migrations.HEAD:
                raise self._mismatch(connection, found)
            if found is not None:
                locks = self._dialect.side_path("nodes")
                refuse_over_older(connection, where=self.url_shown, found=found, head=migrations.HEAD, locks=locks)
            applied = migrations.upgrade(connection)
            note_version(connection)
            return applied

    def check_schema(self, *, migrate: bool) -> None:
        """Raise SchemaMismatchError unless the schema is ours, or can be made so with `migrate`."""
        found = self.schema_revision()
        if found == migrations.HEAD:
            return
        if not migrate:
            with self._reading() as connection:
                raise self._mismatch(connection, found)
        self.migrate()

    def close(self) -> None:
        """Close all connections but those of writers."""
        if self._watching is not None:
            self._watching.close()
            self._watching = None
        self._dialect.close()

    def _mismatch(self, connection: Connection, found: str | None) -> SchemaMismatchError:
        theirs = "" if found is None else noted_version(connection) or ", ".join(versions_there(connection))
        return SchemaMismatchError(self.url_shown, found, migrations.HEAD, versions=(theirs, __version__))

    def _reading(self) -> AbstractContextManager[Connection]:
        return self._access.reading()

    def _keep_log_short(self) -> None:
        """Checkpointing is the daemon's work; while none runs, those who add must not let the log grow for ever."""
        if self._dialect.log_bytes() > LONGEST_LOG_BYTES:
            with contextlib.suppress(StoreError), store_errors(self.url_shown), self._dialect.engine.connect() as own:
                self._dialect.checkpoint_if_long(own, longest_bytes=LONGEST_LOG_BYTES)
