"""The folder in which a pool keeps copies of its executables (`sources.copies`), made before its first template.

It belongs to whoever the pool runs as, and the way to it may be walked, but not listed, by everybody. Another user gets
another folder: jobs of the former one may still run. Where that cannot be had nothing fails here: the template says
what is wrong, with the file that needs it. Called at the start, and when the configuration was read again.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from jobwarden.supervisor.identity import Identity

_FOLDER = "copies"
_OWN = 0o700
_PASSABLE = stat.S_IXGRP | stat.S_IXOTH


def prepare_copies(state_dir: Path, *, pool: str, identity: Identity | None) -> Path:
    """The absolute path of the pool's folder; `identity` is None for the daemon's own user."""
    above = state_dir.resolve() / _FOLDER
    folder = above / (pool if identity is None else f"{pool}~{identity.uid}")
    with suppress(OSError):
        for each in (above.parent, above, folder):
            each.mkdir(mode=_OWN, exist_ok=True)
        if identity is not None:
            for each in (above.parent, above):
                each.chmod(stat.S_IMODE(each.stat().st_mode) | _PASSABLE)
        os.chown(folder, *((-1, -1) if identity is None else (identity.uid, identity.gid)))
    return folder
