"""What a running daemon cannot take over when its configuration was read again; everything else applies live. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobwarden.settings.model import Settings

ONLY_AT_A_START = (
    "database_url",
    "database_password",
    "synchronous",
    "busy_timeout_seconds",
    "state_dir",
    "lease_seconds",
    "hung_seconds",
)
"""Options on which the parts of a daemon were built: its connections, its locks, its lease, its keeper."""


def restarts_needed(started: Settings, now: Settings) -> Iterator[str]:
    """One sentence for each thing that differs from what the daemon was started with; none shows a value."""
    for name in ONLY_AT_A_START:
        if getattr(started, name) != getattr(now, name):
            yield f"restart needed for {name}: until then this daemon goes on with what it was started with"
    before, after = ({pool.name for pool in settings.pools} for settings in (started, now))
    for name in sorted(after - before):
        yield f'restart needed for [[pool]] "{name}": it is new, and until then it runs nothing'
    for name in sorted(before - after):
        yield f'restart needed for [[pool]] "{name}": it is gone from the configuration, and until then it runs on'
