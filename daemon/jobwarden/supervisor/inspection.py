"""Loads the handlers in a throw-away template and says what it found; used by `jobwarden check`."""

from __future__ import annotations

import contextlib
import os
import select
from typing import TYPE_CHECKING

from jobwarden.supervisor.census import Census
from jobwarden.supervisor.cgroup import Leaves
from jobwarden.supervisor.identity import require_run_as
from jobwarden.supervisor.launcher import Launcher
from jobwarden.supervisor.refusal import describe, failure_of
from jobwarden.wire.desk import PoolAnswer
from jobwarden.wire.messages import Loaded, Problem, Unfit
from jobwarden.wire.page import PAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jobwarden.settings import Settings
    from jobwarden.settings.pool import PoolSettings
    from jobwarden.supervisor.launcher import Template

_DEATH_SECONDS = 1.0
"""For one that has closed its stream: what it dies of is wanted, not of our kill."""


def inspect_handlers(pool: PoolSettings, *, state_dir: Path) -> Loaded:
    """What a daemon would serve in this pool. A load that dies or hangs becomes a Problem of the directory."""
    require_run_as([pool])
    page = os.memfd_create("jobwarden-page", os.MFD_CLOEXEC)
    os.truncate(page, PAGE_BYTES)
    launcher = Launcher(
        pool, state_dir=state_dir, node_id="check", page=page, census=Census(), leaves=Leaves(None), serves=False
    )
    snapshot = os.memfd_create("jobwarden-code", os.MFD_CLOEXEC)
    try:
        template = launcher.start_template(1, snapshot=snapshot)
    except OSError as error:
        return _failed(pool, launcher.why_not_started(error), way_out="")
    try:
        try:
            loaded = _await_loaded(template, launcher)
        finally:
            exit_code = _end(template)
        return loaded or _broken(failure_of(template, exit_code=exit_code, handlers=pool.handlers))
    finally:
        template.close()
        os.close(page)
        os.close(snapshot)


def _await_loaded(template: Template, launcher: Launcher) -> Loaded | None:
    """What it has loaded; None if it ends without, or takes too long."""
    pool = launcher.pool
    while select.select([template.control], [], [], pool.load_seconds)[0]:
        found, ended = template.receive()
        for message in found:
            if isinstance(message, Loaded):
                return message
            if isinstance(message, Unfit):
                return _failed(pool, launcher.why_unfit(message), way_out="")
        if ended:
            select.select([template.pidfd], [], [], _DEATH_SECONDS)
            return None
    template.ended_because = f"it did not load within {pool.load_seconds:g} s"
    return None


def _end(template: Template) -> int:
    """Its exit code, once it is gone."""
    with contextlib.suppress(ProcessLookupError):
        template.kill()
    return os.waitstatus_to_exitcode(os.waitpid(template.pid, 0)[1])


def inspect_pools(settings: Settings, *, only: str | None = None) -> Iterator[PoolAnswer]:
    """What a daemon with these settings would serve, pool by pool, or in one pool only. Raises OSError."""
    for pool in settings.pools:
        if only in {None, pool.name}:
            loaded = inspect_handlers(pool, state_dir=settings.state_dir)
            yield PoolAnswer(
                name=pool.name,
                handlers=str(pool.handlers),
                generation=None,
                before=[],
                found=loaded.handlers,
                problems=[describe(each) for each in loaded.problems],
            )


def _failed(pool: PoolSettings, error: str, *, way_out: str) -> Loaded:
    return _broken(Problem(file=str(pool.handlers), line=None, error=error, way_out=way_out))


def _broken(problem: Problem) -> Loaded:
    return Loaded(generation=1, content_hash="", handlers=[], problems=[problem], threads=[])
