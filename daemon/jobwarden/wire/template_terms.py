"""What a template is told at its start: one JSON text, the only argument of `python -m jobwarden.worker.template`.

Everybody on the machine can read a command line: nothing secret may stand here. Written by the launcher.
"""

from __future__ import annotations

import msgspec


class WorkerBounds(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a worker and its jobs may use; None sets no bound."""

    memory_limit_bytes: int | None = None
    """Of all processes of a job together, beyond what the template shares with them."""
    max_open_files: int | None = None
    """Of each process."""
    user_processes: int | None = None
    """Of all workers and jobs of the pool's user together, where it has one of its own; threads count as well."""
    measured: bool = False
    """The pool wants to know what a worker has in memory at its birth and after each job."""


NO_BOUNDS = WorkerBounds()


class TemplateTerms(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One template's orders. Descriptors are numbers in the template."""

    control_fd: int
    page_fd: int
    snapshot_fd: int
    """A memfd for the generation's bytes."""
    handlers: str
    """The handlers directory."""
    generation: int
    supervisor_pid: int
    max_output_bytes: int
    pool: str = "default"
    copies: str | None = None
    """Where the pool keeps copies of its executables; None for one that never forks: nothing will run."""
    restore: bool = False
    """Load what the snapshot holds instead of what is on the disk."""
    without: tuple[str, ...] = ()
    """Files that are not to be imported, relative to the handlers directory."""
    dump_fd: int | None = None
    """A memfd for the stack of a load that crashes, or takes longer than `load_seconds`."""
    load_seconds: float = 3_600.0
    bounds: WorkerBounds = NO_BOUNDS
    trusted: tuple[int, ...] | None = None
    """The users that may own the handlers, and no others may write them; None: whoever does."""


_encoder = msgspec.json.Encoder()


def write_terms(terms: TemplateTerms) -> str:
    """As the command line has it."""
    return _encoder.encode(terms).decode()


def read_terms(text: str) -> TemplateTerms:
    """Raises msgspec.MsgspecError: another version of jobwarden wrote it, or a person."""
    return msgspec.json.decode(text, type=TemplateTerms)
