"""What a request at the desk waits for: a reload whose outcome is known, or a trial that is over.

A visit is looked at after each turn of the loop; it decides nothing about generations, it reads what the pools decided.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Protocol

from jobwarden.supervisor.territory import claimed_twice
from jobwarden.wire import desk as wire

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jobwarden.supervisor.generations import Generations
    from jobwarden.wire.messages import HandlerInfo


class PoolView(Protocol):
    """What is seen of one pool; it goes with the pool's own state."""

    @property
    def handlers(self) -> str:
        """The directory from which the next generation is read."""

    @property
    def generations(self) -> Generations:
        """What is served and loaded."""

    @property
    def awaits_births(self) -> bool:
        """Whether it is not known yet if workers come to life on what is served."""

    @property
    def birth_problem(self) -> str | None:
        """Why the last worker did not become one."""


class Configuration(NamedTuple):
    """What came of reading the configuration again."""

    problems: Sequence[str] = ()
    notes: Sequence[str] = ()


class Found(NamedTuple):
    """What a trial found."""

    handlers: Sequence[HandlerInfo]
    problems: Sequence[str]


class Trial(Protocol):
    """A template that is loaded to be looked at."""

    handlers: str
    """The directory."""

    def look(self) -> Found | None:
        """What was found, once it is known and the template is gone."""

    def abandon(self) -> None:
        """Nobody waits for it any more."""


class Office(NamedTuple):
    """What the desk may have done, and what it sees."""

    pools: Mapping[str, PoolView]
    hindrance: Callable[[], str | None]
    """Why nothing can be loaded now; None: it can."""
    reload: Callable[[str | None], Configuration]
    """Ask for a reload of one pool, or of the configuration and all pools, as SIGHUP does."""
    read_configuration: Callable[[], Configuration]
    """What a reload would say of the configuration, changing nothing."""
    try_out: Callable[[str], Trial | None]
    """Begin a trial of this pool; None: another one is under way."""
    clean: Callable[[list[str]], list[str]] = list
    """Sentences about user code as people may see them."""


class Visit(Protocol):
    """One request that is being worked on."""

    def look(self) -> wire.Answer | None:
        """The answer, once there is one."""

    def abandon(self) -> None:
        """Whoever asked is gone."""


class ReloadVisit:
    """Over when each pool has loaded what it was asked to load, for better or worse."""

    def __init__(self, office: Office, pool: str | None) -> None:
        """Ask for the reload, unless nothing can be loaded."""
        self._office = office
        names = list(office.pools) if pool is None else [pool]
        self._before = {name: _Before.of(office.pools[name].generations) for name in names}
        self._refused = office.hindrance()
        self._configuration = Configuration() if self._refused else office.reload(pool)

    def look(self) -> wire.Answer | None:
        """The answer, once no pool has anything to load."""
        if not self._refused and all(self._is_done(name) for name in self._before):
            return self._answer(None)
        refused = self._refused or self._office.hindrance()
        return self._answer(refused) if refused else None

    def abandon(self) -> None:
        """The reload goes on: it was asked for."""

    def _is_done(self, name: str) -> bool:
        pool = self._office.pools[name]
        is_loaded = pool.generations.last > self._before[name].last and pool.generations.loading is None
        return is_loaded and not pool.awaits_births

    def _answer(self, refused: str | None) -> wire.Answer:
        return wire.Answer(
            pools=[] if refused else [self._of_pool(name, before) for name, before in self._before.items()],
            refused=refused,
            configuration=list(self._configuration.problems),
            notes=list(self._configuration.notes),
        )

    def _of_pool(self, name: str, before: _Before) -> wire.PoolAnswer:
        pool = self._office.pools[name]
        return wire.PoolAnswer(
            name=name,
            handlers=pool.handlers,
            generation=pool.generations.serving,
            tried=pool.generations.last,
            before=list(before.handlers),
            found=list(pool.generations.handlers),
            problems=list(filter(None, [*pool.generations.problems, pool.birth_problem])),
        )


class _Before(NamedTuple):
    last: int
    handlers: tuple[HandlerInfo, ...]

    @classmethod
    def of(cls, generations: Generations) -> _Before:
        return cls(generations.last, generations.handlers)


class TrialVisit:
    """Over when each pool's handlers were tried, one pool after the other."""

    def __init__(self, office: Office, pool: str | None) -> None:
        """Nothing is loaded yet."""
        self._office = office
        self._configuration = office.read_configuration()
        self._left = deque(office.pools if pool is None else [pool])
        self._trial: Trial | None = None
        self._answers: list[wire.PoolAnswer] = []

    def look(self) -> wire.Answer | None:
        """The answer, once all were tried."""
        refused = self._office.hindrance()
        if refused:
            self.abandon()
            return wire.Answer(refused=refused)
        while self._left:
            if self._trial is None:
                self._trial = self._office.try_out(self._left[0])
            found = None if self._trial is None else self._trial.look()
            if self._trial is None or found is None:
                return None
            self._answers.append(self._of_pool(self._left.popleft(), self._trial.handlers, found))
            self._trial = None
        configuration, notes = self._configuration
        return wire.Answer(pools=self._answers, configuration=list(configuration), notes=list(notes))

    def abandon(self) -> None:
        """End what is being tried."""
        if self._trial is not None:
            self._trial.abandon()

    def _of_pool(self, name: str, handlers: str, found: Found) -> wire.PoolAnswer:
        pool = self._office.pools[name]
        return wire.PoolAnswer(
            name=name,
            handlers=handlers,
            generation=pool.generations.serving,
            before=list(pool.generations.handlers),
            found=list(found.handlers),
            problems=self._office.clean([*found.problems, *self._taken(name, found)]),
        )

    def _taken(self, name: str, found: Found) -> list[str]:
        """One job type belongs to one pool."""
        others = {
            each.job_type: (other, each.file)
            for other, pool in self._office.pools.items()
            if other != name
            for each in pool.generations.handlers
        }
        return [claimed_twice(each, name, *others[each.job_type]) for each in found.handlers if each.job_type in others]
