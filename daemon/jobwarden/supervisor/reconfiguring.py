"""Reads the configuration again and lets it take effect: at once, with the next generation, or not before a restart.

A configuration with a mistake changes nothing (P6): it is valid as a whole, or it stays as it was. Called in the loop's
thread, for SIGHUP and for whoever asks at the desk; each call is followed by a reload of the handlers, with which the
new interpreter, user, environment and bounds of a pool go live.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from jobwarden import events
from jobwarden.errors import InvalidSettingsError
from jobwarden.settings import load_settings
from jobwarden.settings.changes import restarts_needed
from jobwarden.settings.unit import require_time_to_stop
from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.configured import terms_of
from jobwarden.supervisor.guard import require_safe
from jobwarden.supervisor.identity import require_run_as

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jobwarden.settings import Settings
    from jobwarden.supervisor.handover import Handover
    from jobwarden.supervisor.launcher import Launcher

CONFIGURATION_STAYS = "the configuration stays as it was: "
"""How the alerts about a broken configuration begin."""


class Reading(NamedTuple):
    """What came of reading the configuration."""

    settings: Settings | None
    """None: there are mistakes."""
    problems: list[str]
    restarts: list[str]
    """What would need a restart."""


class Reconfiguring:
    """One per supervisor."""

    def __init__(
        self,
        started: Settings,
        handover: Handover,
        *,
        launchers: Mapping[str, Launcher],
        followers: Sequence[Callable[[Settings], object]],
    ) -> None:
        """`started` are the settings of the start; each follower is told of those that are valid from now on."""
        self.remarks: list[str] = []
        """What people are told as long as it is so: mistakes, and what waits for a restart."""
        self.last = Reading(started, [], [])
        self._started = started
        self._handover = handover
        self._launchers = launchers
        self._followers = followers

    def look(self) -> Reading:
        """What the configuration says now; nothing of it takes effect."""
        try:
            settings = load_settings(config=self._handover.config_path, flags=self._handover.flags)
            require_run_as(settings.pools)
            require_time_to_stop(settings, self._handover.unit)
            require_safe(settings, config=self._handover.config_path, flags=self._handover.flags)
        except InvalidSettingsError as error:
            return Reading(None, error.problems, [])
        return Reading(settings, [], list(restarts_needed(self._started, settings)))

    def read_again(self) -> list[seen.TermsChanged]:
        """What the pools are to be told; nothing if there is a mistake."""
        settings, problems, restarts = self.last = self.look()
        self._tell([*(CONFIGURATION_STAYS + problem for problem in problems), *restarts])
        if settings is None:
            return []
        for pool in settings.pools:
            if pool.name in self._launchers:
                self._launchers[pool.name].change(pool)
        for follow in self._followers:
            follow(settings)
        return [seen.TermsChanged(each) for each in terms_of(settings)]

    def _tell(self, remarks: list[str]) -> None:
        self.remarks = remarks
        for each in remarks:
            events.emit(events.Alerted(text=each))
