"""The error tree: every class carries its data and builds its own sentence.

A class exists only where somebody catches it differently. Nothing here imports any other room.
"""

from __future__ import annotations


class JobwardenError(Exception):
    """The root of everything that jobwarden raises on purpose."""


class InvalidJobError(JobwardenError):
    """A job, an option or a payload that cannot be accepted; nothing was stored.

    `field` is the public name of the option, `problem` says what is wrong and what would be right.
    """

    def __init__(self, field: str, problem: str) -> None:
        """Build the sentence from the field and its problem."""
        self.field = field
        self.problem = problem
        super().__init__(f"{field}: {problem}")


class UnknownJobError(JobwardenError):
    """There is no job with this id in the store."""

    def __init__(self, job_id: int) -> None:
        """Name the id that was asked for."""
        self.job_id = job_id
        super().__init__(f"there is no job {job_id} in this store")


class JobStateError(JobwardenError):
    """The job is in a state in which the asked-for change is not possible; nothing was changed."""

    def __init__(self, job_id: int, status: str, wanted: str) -> None:
        """Say what was wanted and which state forbids it."""
        self.job_id = job_id
        self.status = status
        super().__init__(f"job {job_id} is {status}, so it cannot be {wanted}")


class NotHeldError(JobwardenError):
    """A `JobQueue` was to end a job that it does not hold: never dequeued by it, already ended, or taken away."""

    def __init__(self, job_id: int, why: str) -> None:
        """`why` says what became of it, as far as that is known."""
        self.job_id = job_id
        super().__init__(f"job {job_id} is not held by this queue: {why}")


class WaitTimeoutError(JobwardenError, TimeoutError):
    """`wait` gave up; the job has not ended yet and goes on."""

    def __init__(self, job_id: int, seconds: float) -> None:
        """Name the job and the limit."""
        self.job_id = job_id
        super().__init__(f"job {job_id} has not ended within {seconds:g} s; it goes on")


class StoreError(JobwardenError):
    """The root of what goes wrong between us and a database."""


class StoreUnavailableError(StoreError):
    """The store cannot be reached or written now (away, locked, full, read-only). Nothing was changed."""

    def __init__(self, where: str, problem: str, *, passes: bool = False) -> None:
        """`where` is the URL without its password; `problem` says what happened and the way out.

        `passes` tells that waiting may help: nothing has to be changed on our side.
        """
        self.where = where
        self.problem = problem
        self.passes = passes
        super().__init__(f"{where}: {problem}")


class StoreContendedError(StoreUnavailableError):
    """Another transaction was in the way (a deadlock) and this one was undone: the same again will most likely do."""


class CommitUnknownError(StoreError):
    """The connection broke after COMMIT was sent, so nobody knows whether it took effect."""

    def __init__(self, where: str) -> None:
        """`where` is the URL without its password."""
        self.where = where
        super().__init__(
            f"{where}: the answer to the commit was lost, so nobody knows whether it was done; "
            "repeat it (jobs are added once only if they carry the same idempotency key)"
        )


class SchemaMismatchError(StoreError):
    """The database has another schema revision than this program."""

    def __init__(
        self, where: str, found: str | None, wanted: str, *, versions: tuple[str, str] | None = None, told: str = ""
    ) -> None:
        """`found` and `wanted` are migration revisions; `found` is None for an empty database.

        `versions` are that which made the schema, as far as it is known, and this program's; `told` takes the
        sentence's place.
        """
        self.found = found
        self.wanted = wanted
        theirs, ours = versions or ("", "")
        way_out = (
            "run `jobwarden migrate`"
            if found is None or found < wanted
            else "install the jobwarden version that made this database, or a newer one"
        )
        there = f"schema is {found or 'missing'}" + (f", of jobwarden {theirs}" if theirs else "")
        here = f"this version{f', {ours},' if ours else ''} needs {wanted}"
        super().__init__(f"{where}: {told or f'{there}, {here}; {way_out}'}")


class SchemaInUseError(SchemaMismatchError):
    """The schema cannot be changed now: older programs work on it, and cannot work with the new one."""

    def __init__(self, where: str, found: str, wanted: str, *, users: list[str]) -> None:
        """`users` says of each program its version and where it runs."""
        self.users = users
        way_out = "stop those first (with their own version: `jobwarden drain`, then stop the service), then migrate"
        told = f"jobwarden {', '.join(users)} works with schema {found} and cannot with {wanted}, which this one needs"
        super().__init__(where, found, wanted, told=f"{told}; {way_out}")


class BackupError(StoreError):
    """A copy of the database was not made."""

    def __init__(self, where: str, problem: str) -> None:
        """`where` is a file or a URL without its password; `problem` says why, and the way out."""
        super().__init__(f"{where}: {problem}")


class InvalidSettingsError(JobwardenError):
    """One or more settings are wrong; all of them are listed, one sentence each."""

    def __init__(self, problems: list[str]) -> None:
        """Join the sentences of all problems."""
        self.problems = problems
        super().__init__("\n".join(problems))


class DistrustedError(JobwardenError):
    """Somebody who is not trusted can change this file or folder (`strict_modes`)."""

    def __init__(self, path: str, problem: str, way_out: str) -> None:
        """`problem` says who, `way_out` names the command."""
        self.path = path
        self.problem = problem
        self.way_out = way_out
        super().__init__(f"{path}: {problem}; {way_out}")


class StateDirectoryTakenError(JobwardenError):
    """Another daemon holds the state directory."""

    def __init__(self, path: str, holder: str) -> None:
        """`holder` says who holds it, as far as the lock file tells."""
        super().__init__(f"{path}: another jobwarden daemon is using it ({holder}); give this one its own --state-dir")


class NoDaemonError(JobwardenError):
    """No daemon runs with the state directory where one was to be asked."""

    def __init__(self, path: str) -> None:
        """Name the directory and where to look for the right one."""
        super().__init__(
            f"{path}: no daemon runs with this state directory; name the daemon's own with --state-dir or --config "
            "(`jobwarden status --json` tells the `stateDir` of each)"
        )


class DeskError(JobwardenError):
    """The running daemon cannot be asked, or refuses; nothing was done."""


class AnswerLostError(DeskError):
    """The running daemon was asked, but what came of it is not known."""


class UnsupportedKernelError(JobwardenError):
    """The kernel lacks what proving a process tree dead needs."""

    def __init__(self) -> None:
        """Name the option and the way out."""
        super().__init__(
            "this kernel was built without CONFIG_PROC_CHILDREN, so the end of a job's processes cannot be proved; "
            "use a kernel that has it (all large distributions do)"
        )


class ErrandFailedError(JobwardenError):
    """`jobwarden.testing.run_jobs` could not run the jobs; `log` is what the daemon said, line by line."""

    def __init__(self, problem: str, log: str) -> None:
        """`problem` says what happened; the log is shown below it."""
        self.problem = problem
        self.log = log
        super().__init__(f"the jobs could not be run: {problem}; the daemon said:\n{log}")


class FrameError(JobwardenError):
    """Bytes on a socket that are no frame of ours; whoever sent them is not to be trusted further."""


# What handler code may raise or receive (re-exported by `jobwarden`).


class FailPermanently(JobwardenError):  # noqa: N818 - an instruction to the pool, not a report of an error
    """Raise it in a handler: the job fails now and is not retried, whatever attempts are left."""


class RetryLater(JobwardenError):  # noqa: N818 - an instruction to the pool, not a report of an error
    """Raise it in a handler: this attempt failed, the next one is due in `after_seconds`."""

    def __init__(self, after_seconds: float, reason: str = "the handler asked to be retried later") -> None:
        """`after_seconds` replaces the job's own retry delay for this one time."""
        self.after_seconds = after_seconds
        super().__init__(reason)


class JobStopped(BaseException):
    """The root of what the pool raises inside a running handler to make it end."""


class JobTimeout(JobStopped):
    """The job has passed its `timeoutMs`; clean up within `kill_grace_seconds`, then the process is killed."""


class JobCancelled(JobStopped):
    """Somebody cancelled the running job; clean up within `kill_grace_seconds`, then the process is killed."""
