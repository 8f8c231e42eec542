"""What contradicts itself in settings of which each value is right by itself: pools that are in each other's way.

Pure; paths are compared as they are written, without a look at the disk. Called by `Settings`, which judges itself.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jobwarden.settings.pool import PoolSettings

_OWN_FOLDER = "give each pool a folder of its own"


class Contradiction(NamedTuple):
    """One thing that cannot be."""

    field: str
    """The option, or `name`, that is to be changed."""
    pool: int | None
    """The place of the pool that is to be changed, from 0; None: it is the daemon's own option."""
    sentence: str


def contradictions(state_dir: Path, pools: Sequence[PoolSettings], *, named: bool) -> Iterator[Contradiction]:
    """All of them; each names the later one of two pools. `named`: the file speaks of pools."""
    for place, pool in enumerate(pools):
        for other in pools[:place]:
            if pool.name == other.name:
                sentence = "is the name of another pool too; give each pool a name of its own"
                yield Contradiction("name", place, sentence)
            elif problem := _overlap(pool, other):
                yield Contradiction("handlers", place, problem)
    for pool in pools:
        if _absolute(state_dir).is_relative_to(_absolute(pool.handlers)):
            whose = f' of the pool "{pool.name}"' if named else ""
            yield Contradiction(
                "state_dir",
                None,
                f"lies inside the folder `handlers`{whose}, where each write would look like new handler code; "
                "put it somewhere else",
            )


def _overlap(pool: PoolSettings, other: PoolSettings) -> str | None:
    mine, theirs = _absolute(pool.handlers), _absolute(other.handlers)
    if mine == theirs:
        return f'is the folder of the pool "{other.name}" too; {_OWN_FOLDER}'
    if mine.is_relative_to(theirs):
        return f'lies inside the folder of the pool "{other.name}", which would load its files too; {_OWN_FOLDER}'
    if theirs.is_relative_to(mine):
        return f'contains the folder of the pool "{other.name}", whose files it would load too; {_OWN_FOLDER}'
    return None


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - `x/../y` is y, whether it is there or not
