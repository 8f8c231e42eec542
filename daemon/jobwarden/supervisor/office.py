"""Sets up the desk: what it may have done by the loop, and what it sees of the pools. Called by `service`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobwarden import events
from jobwarden.supervisor.desk import Desk
from jobwarden.supervisor.slot import SlotState
from jobwarden.supervisor.trial import Trials
from jobwarden.supervisor.visits import Configuration, Office

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from jobwarden.clock import Clock
    from jobwarden.settings.pool import PoolSettings
    from jobwarden.supervisor.generations import Generations
    from jobwarden.supervisor.killer import Killer
    from jobwarden.supervisor.launcher import Launcher
    from jobwarden.supervisor.loop import Loop
    from jobwarden.supervisor.pool import Pool
    from jobwarden.supervisor.reconfiguring import Reading, Reconfiguring


def open_desk(
    state_dir: Path,
    loop: Loop,
    launchers: Mapping[str, Launcher],
    *,
    killer: Killer,
    reconfiguring: Reconfiguring,
    make_launcher: Callable[..., Launcher],
    clock: Clock,
) -> Desk:
    """A desk that is looked at after each of the loop's turns; where no socket can be, one to which nobody comes."""

    def launcher_of_trial(name: str) -> Launcher:
        return make_launcher(_pool_of(name, reconfiguring.look(), launchers[name].pool), serves=False)

    trials = Trials(launcher_of_trial, killer, loop.selector, clock=clock)
    office = Office(
        pools={name: _View(pool, launchers[name]) for name, pool in loop.pools.by_name.items()},
        hindrance=lambda: hindrance_of(loop.pools.all[0]),
        reload=lambda pool: _reload(loop, pool, reconfiguring),
        read_configuration=lambda: _told_of(reconfiguring.look()),
        try_out=trials.begin,
        clean=loop.redaction.texts,
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


def hindrance_of(pool: Pool) -> str | None:
    """Why this pool, and so every other one of the node, loads nothing now; None: it does."""
    if pool.stopping:
        return "the daemon was told to stop, so it loads nothing any more"
    if not pool.standing.good:
        return "the daemon has lost its lease and loads nothing now; ask again once `jobwarden status` shows it running"
    return None


def _reload(loop: Loop, pool: str | None, reconfiguring: Reconfiguring) -> Configuration:
    loop.reload(pool)
    return Configuration() if pool is not None else _told_of(reconfiguring.last)


def _told_of(reading: Reading) -> Configuration:
    return Configuration(reading.problems, reading.restarts)


def _pool_of(name: str, reading: Reading, serving: PoolSettings) -> PoolSettings:
    """With which settings a reload would load this pool."""
    pools = () if reading.settings is None else reading.settings.pools
    return next((each for each in pools if each.name == name), serving)
