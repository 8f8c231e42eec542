"""For the tests of an application: run its jobs now, with its real handlers, and come back when they have ended.

`run_jobs` is `jobwarden run --burst` (or `--once`) in a process of its own: hard limits, retries, dead letters and
crashes are those of a daemon. It imports no handler into the calling process and keeps nothing between calls.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from jobwarden.client import arguments
from jobwarden.errors import ErrandFailedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["ErrandFailedError", "run_jobs"]

_LAST_SECONDS = 10.0


def run_jobs(
    url: str,
    *,
    handlers: str | Path,
    limit: int | None = None,
    types: Iterable[str] | None = None,
    burst: bool = True,
    workers: int = 2,
    timeout: float | None = 60,
    settings: Mapping[str, object] | None = None,
) -> int:
    """Run the ready jobs of the database `url` and return how many attempts came to an end, well or badly.

    With `burst` it goes on until nothing is ready, jobs that were added meanwhile included; without, it makes one
    claim. `limit` is the most jobs that are claimed, `types` are the only job types. What is due later is not waited
    for. Handlers can import what the calling process can. `settings` are further options of `jobwarden run` by their
    names, as in `{"default_timeout_ms": 500}`; variables that begin with JOBWARDEN_ do not count.

    Raises ErrandFailedError, which holds the daemon's log, when jobs cannot be run, or after `timeout` seconds (None:
    never); what runs then is killed and given back. Raises InvalidJobError for types or a time that cannot be right.
    """
    options = {"database_url": url, "handlers": handlers, "workers": workers, "log_format": "human", **(settings or {})}
    words = ["--burst" if burst else "--once"]
    words += [] if limit is None else [f"--limit={limit}"]
    words += [f"--type={each}" for each in arguments.checked_types(types) or ()]
    words += [f"--{name.replace('_', '-')}={_text(value)}" for name, value in options.items()]
    seconds = arguments.checked_seconds(timeout, name="timeout")
    process = subprocess.Popen(
        [sys.executable, "-m", "jobwarden", "run", *words],
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        return _await(process, seconds=seconds)


def _text(value: object) -> str:
    """As a flag has it: names of a list with commas between."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _await(process: subprocess.Popen[bytes], *, seconds: float | None) -> int:
    try:
        out, log = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as error:
        problem = f"it has not ended within {error.timeout:g} s"
        raise ErrandFailedError(problem, _end(process)) from error
    except BaseException:
        _end(process)
        raise
    if process.returncode:
        problem = f"it ended with exit code {process.returncode}"
        raise ErrandFailedError(problem, log.decode(errors="replace"))
    return int(json.loads(out)["processed"])


def _end(process: subprocess.Popen[bytes]) -> str:
    """Kill what runs, at once but in order; what the daemon said."""
    process.send_signal(signal.SIGQUIT)
    try:
        _, log = process.communicate(timeout=_LAST_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        _, log = process.communicate()
    return log.decode(errors="replace")


def _environment() -> dict[str, str]:
    """Ours without jobwarden's variables, and with a path on which handlers find what we find."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JOBWARDEN_")}
    return {**kept, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}
