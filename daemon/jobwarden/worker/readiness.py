"""What a worker does before its first job and after its last one: the hooks of the handler files (decision 023).

User code at the edge of the process: nothing that a hook raises goes further than this. What hooks print is captured
like an attempt's, under `HOOKS_FENCE`. Runs in the worker.
"""

from __future__ import annotations

from types import CoroutineType
from typing import TYPE_CHECKING

from setproctitle import setproctitle

from jobwarden.clock import SYSTEM_CLOCK
from jobwarden.wire.messages import HOOKS_FENCE
from jobwarden.worker.attempt import print_traceback
from jobwarden.worker.hooks import HookKind
from jobwarden.worker.problems import problem_of

if TYPE_CHECKING:
    from jobwarden.wire.messages import Problem
    from jobwarden.worker.attempt import Attempts
    from jobwarden.worker.capture import Capture
    from jobwarden.worker.hooks import Hook
    from jobwarden.worker.loader import LoadedCode


class Readiness:
    """The hooks of one worker."""

    def __init__(self, code: LoadedCode, *, attempts: Attempts, capture: Capture, title: str) -> None:
        """`title` is how the process is called, without what it does."""
        self._root = code.root
        self._starts = [each for each in code.hooks if each.hook.kind is HookKind.START]
        self._stops = [each for each in reversed(code.hooks) if each.hook.kind is HookKind.STOP]
        self._attempts = attempts
        self._capture = capture
        self._title = title
        self.marked = False
        """An end mark was written behind what the hooks printed at the start."""

    @property
    def takes_leave(self) -> bool:
        """Whether there is something to be done when the worker is not needed any more."""
        return bool(self._stops)

    def begin(self) -> Problem | None:
        """Call the hooks of the start, in their order; what went wrong with the first that failed."""
        if not self._starts:
            return None
        began_ns = SYSTEM_CLOCK.monotonic_ns()
        problem = self._start()
        self.marked = self._capture.finish(HOOKS_FENCE, lived_ns=SYSTEM_CLOCK.monotonic_ns() - began_ns)
        return problem

    def _start(self) -> Problem | None:
        for each in self._starts:
            try:
                self._call(each.hook, each.file)
            except BaseException as error:  # noqa: BLE001 - user code at the edge of the process
                print_traceback(error)
                doing = f"@{each.hook.kind} {each.hook.name} failed: "
                return problem_of(each.file, error, root=self._root, doing=doing)
        return None

    def end(self) -> None:
        """Call the hooks of the end, the last first. What one of them raises is printed, and the next one called."""
        for each in self._stops:
            try:
                self._call(each.hook, each.file)
            except BaseException as error:  # noqa: BLE001 - as above
                print_traceback(error)

    def _call(self, hook: Hook, file: str) -> None:
        setproctitle(f"{self._title} [{hook.kind} {file}:{hook.line}]")
        value = hook.function()
        if type(value) is CoroutineType:
            self._attempts.await_(value)
