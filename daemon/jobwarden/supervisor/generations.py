"""Which generation of the handlers is served, and when a template is started or tried again. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobwarden.jobs.claim import TypeTerms
from jobwarden.supervisor.patience import Patience

if TYPE_CHECKING:
    from collections.abc import Collection

    from jobwarden.supervisor.inputs import TemplateReady
    from jobwarden.wire.messages import HandlerInfo

_FIRST_PAUSE_NS = 250_000_000
_LONGEST_PAUSE_NS = 30_000_000_000


class Generations:
    """The numbers of generations: the serving one, the loading one, and those with the same code."""

    def __init__(self, *, default_timeout_ms: int | None, first: int = 1, step: int = 1) -> None:
        """Nothing is loaded, nothing was asked for. The default limit serves types that declare none.

        Generations get the numbers first, first + step, and so on.
        """
        self.default_timeout_ms = default_timeout_ms
        self.last = 0
        """0 before the first one."""
        self._next, self._step = first, step
        self.loading: int | None = None
        self.template: int | None = None
        """The template that can fork now."""
        self.serving: int | None = None
        self.content_hash: str | None = None
        self.handlers: tuple[HandlerInfo, ...] = ()
        self.terms: tuple[TypeTerms, ...] = ()
        self.types: frozenset[str] = frozenset()
        """The job types that are served."""
        self.broken: frozenset[str] = frozenset()
        """The files that serve nothing, or not all of theirs."""
        self.same_code: set[int] = set()
        self.problems: tuple[str, ...] = ()
        """Why the last load did not become the serving generation, or which of its files do not serve."""
        self._loads = Patience(first_ns=_FIRST_PAUSE_NS, longest_ns=_LONGEST_PAUSE_NS)

    def change_default_timeout(self, ms: int | None) -> None:
        """Of what is claimed from now on."""
        self.default_timeout_ms = ms
        self.terms = tuple(self._terms(each) for each in self.handlers)

    @property
    def problem(self) -> str | None:
        """The first of its problems."""
        return self.problems[0] if self.problems else None

    def begin(self) -> int:
        """The number of the generation that is to be loaded next."""
        self.loading = self.last = self._next
        self._next += self._step
        return self.last

    def would_break(self, fact: TemplateReady, *, left_out: Collection[str]) -> bool:
        """Whether serving this instead would break a file that works now, or take a type from one that works partly."""
        if not self.types or not (fact.problems or left_out):
            return False
        broken = {*fact.broken, *left_out}
        lost = {each.job_type for each in self.handlers if each.file in broken}
        lost.difference_update(each.job_type for each in fact.handlers)
        return not broken or bool(broken - self.broken) or bool(lost)

    def may_lack(self, file: str) -> bool:
        """Whether nothing is lost if this file serves nothing."""
        return not self.types or (file in self.broken and all(each.file != file for each in self.handlers))

    def adopt(
        self,
        generation: int,
        content_hash: str,
        handlers: tuple[HandlerInfo, ...],
        *,
        broken: frozenset[str] = frozenset(),
        afresh: bool = False,
    ) -> int | None:
        """This template serves from now on; returns the one that it replaces, if any.

        With `afresh`, also workers of the same code are old ones: something else that they imported may be newer.
        """
        replaced = self.template
        if afresh or content_hash != self.content_hash:
            self.same_code.clear()
        self.same_code.add(generation)
        self.loading = None
        self.template = self.serving = generation
        self.content_hash = content_hash
        self.handlers = handlers
        self.broken = broken
        self.terms = tuple(self._terms(each) for each in handlers)
        self.types = frozenset(each.job_type for each in handlers)
        self.problems = ()
        self._loads.succeed()
        return replaced

    def fail(self, generation: int, problems: tuple[str, ...], *, now_ns: int) -> int | None:
        """A template failed; returns the pause in ns before the next try, or None if an older one serves on."""
        self.problems = problems
        if self.loading == generation:
            self.loading = None
        if self.template == generation:
            self.template = None
        return None if self.template is not None else self.pause(now_ns)

    def pause(self, now_ns: int) -> int:
        """How long to wait, in ns, before another try of what may work then; longer each time."""
        return self._loads.fail(now_ns)

    def is_current(self, generation: int) -> bool:
        """Whether a worker of this generation runs the code that is served."""
        return generation in self.same_code

    def _terms(self, handler: HandlerInfo) -> TypeTerms:
        return TypeTerms(
            job_type=handler.job_type,
            timeout_ms=handler.timeout_ms or self.default_timeout_ms,
            max_attempts=handler.max_attempts,
            retry_delay=handler.retry_delay,
            heartbeat_timeout_ms=handler.heartbeat_timeout_ms,
            max_per_node=handler.max_concurrency,
        )
