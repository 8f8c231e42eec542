"""What the service manager's limits mean for the settings: a drain must end before the whole service is killed. Pure.

`supervisor.own_unit` asks systemd for them; who knows none has nothing to compare.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from jobwarden.errors import InvalidSettingsError

if TYPE_CHECKING:
    from jobwarden.settings.model import Settings

MARGIN_SECONDS = 5
"""For what follows the last job: its outcome's commit, the node's row, the end of the processes."""


class UnitLimits(NamedTuple):
    """What a unit says of itself."""

    unit: str
    """`jobwarden.service`."""
    stop_seconds: float | None
    """TimeoutStopSec=; None is no limit."""


def require_time_to_stop(settings: Settings, limits: UnitLimits | None) -> None:
    """Raise InvalidSettingsError if systemd would kill what still drains."""
    problem = None if limits is None else stop_problem(settings, limits)
    if problem:
        raise InvalidSettingsError([problem])


def stop_problem(settings: Settings, limits: UnitLimits) -> str | None:
    """Why these settings do not fit the unit, and the two ways out."""
    rest = max(pool.kill_grace_seconds for pool in settings.pools) + MARGIN_SECONDS
    needed = settings.drain_seconds + rest
    if limits.stop_seconds is None or needed <= limits.stop_seconds:
        return None
    most = math.floor(limits.stop_seconds - rest)
    lower = f"lower it to {most} at most, or " if most >= 0 else ""
    return (
        f"drain_seconds: {settings.drain_seconds:g} s, and {rest:g} s for kill_grace_seconds and the end, are more "
        f"than the {limits.stop_seconds:g} s after which systemd kills {limits.unit} (TimeoutStopSec=); {lower}set "
        f"TimeoutStopSec={math.ceil(needed)} with `systemctl edit {limits.unit}`"
    )
