"""The desk: its socket, whoever comes there, and the visits, with real pools behind it and no process."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.desk import Desk
from jobwarden.supervisor.generations import Generations
from jobwarden.supervisor.office import hindrance_of
from jobwarden.supervisor.pools import Pools
from jobwarden.supervisor.visits import Configuration, Found, Office
from jobwarden.wire import desk as wire
from jobwarden.wire.frames import FrameReader, frame
from jobwarden.wire.messages import HandlerInfo
from tests.support.pool_world import TERMS

NOW = seen.Moment(1, 1)
GREET = HandlerInfo(job_type="greet", file="a.py")
WAVE = HandlerInfo(job_type="wave", file="b.py")


class View:
    """A pool as the desk sees it."""

    def __init__(self, name: str, generations: Generations) -> None:
        self.handlers = f"code of {name}"
        self.generations = generations
        self.awaits_births = False
        self.birth_problem: str | None = None


class PlayedTrial:
    """A trial whose end the test decides."""

    def __init__(self, pool: str) -> None:
        self.pool = pool
        self.handlers = f"code of {pool}"
        self.found: Found | None = None
        self.abandoned = False

    def look(self) -> Found | None:
        """What the test has put there."""
        return self.found

    def abandon(self) -> None:
        """Remember it."""
        self.abandoned = True


class Stage:
    """A desk in a folder, with two real pools that the test tells what happens to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        terms = [msgspec.structs.replace(TERMS, name=name) for name in ("quick", "heavy")]
        self.pools = Pools(terms, jitter=lambda: 1.0)
        self.views = {name: View(name, pool.generations) for name, pool in self.pools.by_name.items()}
        self.hindrance: str | None = None
        self.holds_back = False
        self.configuration = Configuration()
        self.trials: list[PlayedTrial] = []
        self._callers: list[socket.socket] = []
        self.selector = selectors.DefaultSelector()
        office = Office(
            pools=self.views,
            hindrance=lambda: self.hindrance,
            reload=self._reload,
            read_configuration=lambda: self.configuration,
            try_out=self._try_out,
        )
        self.desk = Desk(folder, self.selector, office=office)
        self.desk.open()

    def _reload(self, pool: str | None) -> Configuration:
        if not self.holds_back:
            self.pools.handle(seen.ReloadAsked(pool), NOW)
        return self.configuration

    def _try_out(self, pool: str) -> PlayedTrial | None:
        if any(trial.found is None and not trial.abandoned for trial in self.trials):
            return None
        self.trials.append(PlayedTrial(pool))
        return self.trials[-1]

    def load(self, name: str, *handlers: HandlerInfo, problems: tuple[str, ...] = ()) -> None:
        """What this pool is loading is loaded now."""
        loading = self.pools.by_name[name].generations.loading
        assert loading is not None
        self.pools.handle(seen.TemplateReady(loading, f"hash {loading}", handlers, problems), NOW)

    def serve(self, name: str, *handlers: HandlerInfo) -> None:
        """This pool serves these."""
        self.pools.handle(seen.ReloadAsked(name), NOW)
        self.load(name, *handlers)

    def turn(self) -> None:
        """As the loop does, until nothing is to be read."""
        self.desk.look()
        while ready := self.selector.select(0):
            for key, _events in ready:
                key.data()
            self.desk.look()

    def come(self) -> socket.socket:
        """Somebody at the desk."""
        caller = socket.socket(socket.AF_UNIX)
        self._callers.append(caller)
        caller.settimeout(10)
        caller.connect(str(self.folder / wire.SOCKET_NAME))
        return caller

    def ask(self, request: wire.Request) -> Callable[[], wire.Answer | None]:
        """Ask; what is returned looks for the answer."""
        caller = self.come()
        caller.sendall(frame(wire.encode(request)))
        self.turn()
        return lambda: self.answer_to(caller)

    def answer_to(self, caller: socket.socket) -> wire.Answer | None:
        """The answer, if there is one."""
        reader = FrameReader()
        caller.settimeout(0)
        try:
            while True:
                self.turn()
                for message in reader.feed(caller.recv(65_536)):
                    return wire.decode_answer(message)
        except BlockingIOError:
            return None

    def close(self) -> None:
        """Give all back."""
        self.desk.close()
        self.selector.close()
        for caller in self._callers:
            caller.close()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Both pools serve: `quick` greets, `heavy` nothing."""
    made = Stage(tmp_path)
    made.serve("quick", GREET)
    made.serve("heavy")
    yield made
    made.close()


def pools_of(answer: wire.Answer | None) -> list[wire.PoolAnswer]:
    """Of an answer that has come."""
    assert answer is not None
    return answer.pools


def test_a_reload_is_answered_when_all_pools_have_loaded(stage: Stage) -> None:
    """Not before, and with what each served before and serves now."""
    answer = stage.ask(wire.Reload())
    stage.load("heavy", WAVE)
    assert answer() is None
    stage.load("quick", GREET)
    quick, heavy = pools_of(answer())
    assert (quick.generation, quick.tried, quick.before, quick.found) == (3, 3, [GREET], [GREET])
    assert (heavy.name, heavy.before, heavy.found, heavy.problems) == ("heavy", [], [WAVE], [])


def test_a_reload_that_has_not_begun_is_not_over(stage: Stage) -> None:
    """What served when the request came is no answer, though nothing is being loaded."""
    stage.holds_back = True
    answer = stage.ask(wire.Reload(pool="quick"))
    assert answer() is None
    stage.serve("quick", WAVE)
    (quick,) = pools_of(answer())
    assert quick.found == [WAVE]


def test_a_reload_of_one_pool_leaves_the_others(stage: Stage) -> None:
    """Only that pool loads and is told of."""
    answer = stage.ask(wire.Reload(pool="heavy"))
    assert stage.pools.by_name["quick"].generations.loading is None
    stage.load("heavy", WAVE)
    assert [each.name for each in pools_of(answer())] == ["heavy"]


def test_a_broken_generation_is_answered_with_all_its_problems(stage: Stage) -> None:
    """What serves on has the lower number."""
    answer = stage.ask(wire.Reload(pool="quick"))
    stage.load("quick", problems=("a.py:1: no", "b.py:2: no"))
    (quick,) = pools_of(answer())
    assert (quick.generation, quick.tried, quick.problems) == (1, 3, ["a.py:1: no", "b.py:2: no"])
    assert quick.found == [GREET]


def test_a_load_that_was_overtaken_is_answered_with_what_came_of_the_later_one(stage: Stage) -> None:
    """A save while a reload is under way begins another one."""
    answer = stage.ask(wire.Reload(pool="quick"))
    stage.pools.handle(seen.ReloadAsked("quick"), NOW)
    assert answer() is None
    stage.load("quick", WAVE)
    (quick,) = pools_of(answer())
    assert (quick.tried, quick.found) == (5, [WAVE])


def test_workers_that_cannot_start_on_new_code_are_a_problem_of_the_reload(stage: Stage) -> None:
    """Code that loads but whose on_worker_start fails does not serve; the answer waits for the first worker."""
    stage.views["quick"].awaits_births = True
    answer = stage.ask(wire.Reload(pool="quick"))
    stage.load("quick", GREET)
    assert answer() is None
    stage.views["quick"].awaits_births = False
    stage.views["quick"].birth_problem = "a.py:9: on_worker_start: no database"
    (quick,) = pools_of(answer())
    assert quick.problems == ["a.py:9: on_worker_start: no database"]


def test_nothing_is_asked_of_pools_that_may_not_load(stage: Stage) -> None:
    """A daemon that is told to stop or has lost its lease refuses; whoever waits by then hears it too."""
    waiting = stage.ask(wire.Reload(pool="quick"))
    stage.hindrance = "it was told to stop"
    for request in (wire.Reload(), wire.TryOut()):
        answer = stage.ask(request)()
        assert answer is not None
        assert answer.refused == "it was told to stop"
    told = waiting()
    assert told is not None
    assert told.refused == "it was told to stop"
    assert stage.pools.by_name["heavy"].generations.last == 2
    assert stage.trials == []


def test_a_pool_that_leaves_or_has_lost_the_lease_hinders_a_reload(stage: Stage) -> None:
    """Each for a reason of its own; a renewed lease ends the one."""
    pool = stage.pools.by_name["quick"]
    assert hindrance_of(pool) is None
    stage.pools.handle(seen.TrustLost(), NOW)
    assert "has lost its lease" in (hindrance_of(pool) or "")
    stage.pools.handle(seen.TrustBack(), NOW)
    assert hindrance_of(pool) is None
    stage.pools.handle(seen.StopAsked(now=False), NOW)
    assert "was told to stop" in (hindrance_of(pool) or "")


def test_what_is_said_of_the_configuration_is_in_the_answer(stage: Stage) -> None:
    """Problems and notes both."""
    stage.configuration = Configuration(["key x"], ["restart needed for y"])
    answer = stage.ask(wire.Reload(pool="quick"))
    stage.load("quick", GREET)
    told = answer()
    assert told is not None
    assert (told.configuration, told.notes) == (["key x"], ["restart needed for y"])


def test_a_trial_of_all_pools_tries_one_after_the_other(stage: Stage) -> None:
    """So that there is never more than one more template; nothing changes in the pools."""
    answer = stage.ask(wire.TryOut())
    (first,) = stage.trials
    first.found = Found([GREET, WAVE], [])
    assert answer() is None
    _, second = stage.trials
    second.found = Found([], ["c.py:1: no"])
    quick, heavy = pools_of(answer())
    assert (quick.before, quick.found, quick.tried) == ([GREET], [GREET, WAVE], None)
    assert heavy.problems == ["c.py:1: no"]
    assert stage.pools.by_name["quick"].generations.last == 1


def test_two_trials_take_turns(stage: Stage) -> None:
    """The second begins when the first one's template is gone."""
    first, second = stage.ask(wire.TryOut(pool="quick")), stage.ask(wire.TryOut(pool="heavy"))
    assert [trial.pool for trial in stage.trials] == ["quick"]
    stage.trials[0].found = Found([], [])
    assert first() is not None
    stage.turn()
    stage.trials[1].found = Found([], [])
    assert [each.name for each in pools_of(second())] == ["heavy"]


def test_a_trial_finds_types_that_another_pool_serves(stage: Stage) -> None:
    """A reload would refuse them as well."""
    answer = stage.ask(wire.TryOut(pool="heavy"))
    stage.trials[0].found = Found([HandlerInfo(job_type="greet", file="mine.py")], [])
    (heavy,) = pools_of(answer())
    assert len(heavy.problems) == 1
    assert "mine.py" in heavy.problems[0]
    assert "a.py of the pool quick" in heavy.problems[0]


def test_a_trial_ends_with_whoever_asked_for_it(stage: Stage) -> None:
    """An interrupted command leaves no template that imports for a minute."""
    caller = stage.come()
    caller.sendall(frame(wire.encode(wire.TryOut(pool="quick"))))
    stage.turn()
    caller.close()
    stage.turn()
    assert stage.trials[0].abandoned


def test_a_pool_that_is_not_there_is_refused_with_those_that_are(stage: Stage) -> None:
    """A slip of the keyboard."""
    answer = stage.ask(wire.Reload(pool="hevy"))()
    assert answer is not None
    assert answer.refused == "there is no pool 'hevy' in this daemon, which has quick, heavy"


@pytest.mark.parametrize(
    "noise", [b"GET / HTTP/1.1\r\n\r\n", frame(b"nothing of ours"), frame(b""), b"\xff\xff\xff\xff"]
)
def test_noise_is_refused_and_hurts_nobody(stage: Stage, noise: bytes) -> None:
    """Another program at the socket gets a sentence, and the next caller an answer."""
    caller = stage.come()
    caller.sendall(noise)
    stage.turn()
    answer = stage.answer_to(caller)
    assert answer is not None
    assert answer.refused is not None
    assert stage.ask(wire.Reload(pool="x"))() is not None


def test_an_answer_that_is_larger_than_a_socket_takes_goes_in_pieces(stage: Stage) -> None:
    """The loop never waits for a reader."""
    many = tuple(HandlerInfo(job_type=f"type {number}", file="x" * 1_000) for number in range(2_000))
    answer = stage.ask(wire.Reload(pool="heavy"))
    stage.load("heavy", *many)
    (heavy,) = pools_of(answer())
    assert len(heavy.found) == len(many)


def test_too_many_callers_are_sent_away(stage: Stage) -> None:
    """Descriptors have an end; those who were there first keep their places."""
    first = [stage.come() for _ in range(16)]
    stage.turn()
    late = stage.come()
    stage.turn()
    answer = stage.answer_to(late)
    assert answer is not None
    assert answer.refused == "too many people ask this daemon at once; ask again"
    first[0].sendall(frame(wire.encode(wire.Reload(pool="x"))))
    stage.turn()
    assert stage.answer_to(first[0]) is not None


def test_a_dead_daemons_socket_is_replaced_and_a_long_path_is_no_hindrance(tmp_path: Path) -> None:
    """Whoever opens the desk holds the state directory; an address of a socket has 108 bytes."""
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    first = Stage(folder)
    second = Stage(folder)
    assert (folder / wire.SOCKET_NAME).is_socket()
    second.close()
    assert list(folder.iterdir()) == []
    first.close()


def test_whoever_waits_when_the_desk_closes_sees_the_end(stage: Stage) -> None:
    """No caller is left hanging."""
    caller = stage.come()
    caller.sendall(frame(wire.encode(wire.Reload())))
    stage.turn()
    stage.desk.close()
    assert caller.recv(1) == b""
