"""The storm: faults by chance and by seed, each kind in each round, while the fleet is tended.

One thread: begins, undoes and waits. A kind that is still at work is not begun a second time.
"""

from __future__ import annotations

import random
import threading
from collections import Counter

from jobwarden.clock import SECOND_NS, SYSTEM_CLOCK
from tests.faults.chaos.faults import Fault, Lasting, NothingToHitError
from tests.faults.chaos.fleet import Fleet

_TURN_SECONDS = 0.05


class Storm:
    """`pause_seconds`: between two faults, in the mean."""

    def __init__(self, fleet: Fleet, faults: list[Fault], random_: random.Random, *, pause_seconds: float) -> None:
        self.happened: Counter[str] = Counter({fault.name: 0 for fault in faults})
        """How often each kind has hit."""
        self._fleet = fleet
        self._faults = faults
        self._random = random_
        self._pause_ns = int(pause_seconds * SECOND_NS)
        self._left: list[Fault] = []
        self._lasting: dict[str, tuple[int, Lasting]] = {}

    def run(self, *, seconds: float, longest_seconds: float) -> None:
        """Rage, longer than `seconds` if some kind has not hit yet; then undo everything that lasts."""
        began_ns = SYSTEM_CLOCK.monotonic_ns()
        until_ns, latest_ns = (began_ns + int(each * SECOND_NS) for each in (seconds, longest_seconds))
        next_ns = 0
        while (now_ns := SYSTEM_CLOCK.monotonic_ns()) < until_ns or (now_ns < latest_ns and not self._all_have_hit):
            if now_ns >= next_ns and self._strike():
                next_ns = now_ns + int(self._random.uniform(0.3, 1.7) * self._pause_ns)
            self._turn(now_ns)
        self.calm()

    def calm(self) -> None:
        """Undo everything now."""
        for _, lasting in self._lasting.values():
            lasting.undo()
        self._lasting.clear()

    @property
    def _all_have_hit(self) -> bool:
        return all(self.happened.values())

    def _turn(self, now_ns: int) -> None:
        for name, (at_ns, lasting) in list(self._lasting.items()):
            if at_ns <= now_ns:
                del self._lasting[name]
                lasting.undo()
        self._fleet.tend()
        threading.Event().wait(_TURN_SECONDS)

    def _strike(self) -> bool:
        fault = self._draw()
        if fault.name in self._lasting:
            return False
        try:
            lasting = fault.begin()
        except NothingToHitError:
            self._left.append(fault)
            return False
        self.happened[fault.name] += 1
        if lasting is not None:
            self._lasting[fault.name] = SYSTEM_CLOCK.monotonic_ns() + int(lasting.seconds * SECOND_NS), lasting
        return True

    def _draw(self) -> Fault:
        if not self._left:
            self._left = [fault for fault in self._faults for _ in range(fault.weight)]
        self._random.shuffle(self._left)
        return self._left.pop()
