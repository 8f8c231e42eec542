"""Sets up the desk: what it may have done by the loop, and what it sees of the pools. Called by `service`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobwarden import events
from jobwarden.errors import InvalidSettingsError
from jobwarden.settings import load_settings
from jobwarden.supervisor.desk import Desk
from jobwarden.supervisor.reconfiguring import CONFIGURATION_STAYS
from jobwarden.supervisor.slot import SlotState
from jobwarden.supervisor.trial import Trials
from jobwarden.supervisor.visits import Configuration, Office

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from jobwarden.clock import Clock
    from jobwarden.supervisor.generations import Generations
    from jobwarden.supervisor.handover import Handover
    from jobwarden.supervisor.killer import Killer
    from jobwarden.supervisor.launcher import Launcher
    from jobwarden.supervisor.loop import Loop
    from jobwarden.supervisor.pool import Pool


def open_desk(
    state_dir: Path,
    loop: Loop,
    launchers: Mapping[str, Launcher],
    *,
    killer: Killer,
    handover: Handover,
    clock: Clock,
) -> Desk:
    """A desk that is looked at after each of the loop's turns; where no socket can be, one to which nobody comes."""
    trials = Trials(launchers, killer, loop.selector, clock=clock)
    office = Office(
        pools={name: _View(pool, launchers[name]) for name, pool in loop.pools.by_name.items()},
        hindrance=lambda: _hindrance(loop.pools.all[0]),
        reload=lambda pool: _reload(loop, pool),
        read_configuration=lambda: _read_configuration(handover),
        try_out=trials.begin,
    )
    desk = Desk(state_dir, loop.selector, office=office)
    try:
        desk.open()
    except OSError as error:
        why = f"{error.strerror}; SIGHUP reloads all the same"
        events.emit(events.Alerted(text=f"nobody can ask this daemon with `jobwarden reload`: {why}"))
    loop.after_turn = desk.look
    return desk


class _View:
    """One pool, for the desk."""

    def __init__(self, pool: Pool, launcher: Launcher) -> None:
        self._launcher = launcher
        self._pool = pool

    @property
    def handlers(self) -> str:
        """The directory that is read next."""
        return str(self._launcher.pool.handlers)

    @property
    def generations(self) -> Generations:
        """Those of the pool."""
        return self._pool.generations

    @property
    def awaits_births(self) -> bool:
        """True until the first worker of the serving generation is ready or has failed, if one is being born."""
        own = [slot for slot in self._pool.workers.slots.values() if slot.generation == self.generations.serving]
        being_born = any(slot.state is SlotState.SPAWNING for slot in own)
        return being_born and self.birth_problem is None and not any(slot.state is SlotState.READY for slot in own)

    @property
    def birth_problem(self) -> str | None:
        """What the last birth failed of."""
        return self._pool.workers.births.problem


def _hindrance(pool: Pool) -> str | None:
    if pool.stopping:
        return "the daemon was told to stop, so it loads nothing any more"
    if not pool.standing.good:
        return "the daemon has lost its lease and loads nothing now; ask again once `jobwarden status` shows it running"
    return None


def _reload(loop: Loop, pool: str | None) -> Configuration:
    """What the daemon says of the configuration while it reads it, it says to the log as well as to us."""
    told: list[str] = []

    def hear(fact: events.Fact) -> None:
        if isinstance(fact, events.Alerted):
            told.append(fact.text)

    end = events.listen(hear)
    try:
        loop.reload(pool)
    finally:
        end()
    problems = [each.removeprefix(CONFIGURATION_STAYS) for each in told if each.startswith(CONFIGURATION_STAYS)]
    return Configuration(problems, [each for each in told if not each.startswith(CONFIGURATION_STAYS)])


def _read_configuration(handover: Handover) -> Configuration:
    try:
        load_settings(config=handover.config_path, flags=handover.flags)
    except InvalidSettingsError as error:
        return Configuration(error.problems)
    return Configuration()
