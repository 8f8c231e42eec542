"""For tests of files that may not be read: root may read all, so it becomes nobody for a moment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65_534


@contextmanager
def without_roots_rights(place: str) -> Iterator[None]:
    """Within this block files are reached as nobody, who may write into the folder `place`; nothing new for others."""
    before = os.geteuid()
    if before == 0:
        Path(place).chmod(0o777)
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)
