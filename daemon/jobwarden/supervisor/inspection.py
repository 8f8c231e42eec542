"""Loads the handlers in a throw-away template and says what it found; used by `jobwarden check`."""

from __future__ import annotations

import contextlib
import os
import select
from typing import TYPE_CHECKING

from jobwarden.supervisor.launcher import Launcher
from jobwarden.wire.messages import Loaded, Problem
from jobwarden.wire.page import PAGE_BYTES

if TYPE_CHECKING:
    from jobwarden.settings import Settings


def inspect_handlers(settings: Settings) -> Loaded:
    """What a daemon would serve. A load that dies or hangs becomes a Problem of the directory."""
    page = os.memfd_create("jobwarden-page", os.MFD_CLOEXEC)
    os.truncate(page, PAGE_BYTES)
    launcher = Launcher(settings, node_id="check", page=page)
    snapshot = os.memfd_create("jobwarden-code", os.MFD_CLOEXEC)
    template = launcher.start_template(1, snapshot=snapshot)
    try:
        while select.select([template.control], [], [], settings.load_seconds)[0]:
            found, ended = template.receive()
            for message, _pidfd in found:
                if isinstance(message, Loaded):
                    return message
            if ended:
                return _failed(settings, "its template process died while loading")
        return _failed(settings, f"did not load within {settings.load_seconds:g} s")
    finally:
        with contextlib.suppress(ProcessLookupError):
            template.kill()
        os.waitpid(template.pid, 0)
        template.close()
        os.close(page)
        os.close(snapshot)


def _failed(settings: Settings, error: str) -> Loaded:
    problem = Problem(file=str(settings.handlers), line=None, error=error, way_out="look at its standard error above")
    return Loaded(generation=1, content_hash="", handlers=[], problems=[problem], threads=[])
