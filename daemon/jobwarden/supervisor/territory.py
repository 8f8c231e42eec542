"""Which pool serves which job type, where two of them claim one. Pure; a part of the pools.

A type belongs to one pool: whoever loads it second does not get it, and is told which file has it. While the other pool
is just loading, the answer may be about to change (a file was moved from one directory to the other): then new code
waits, if the pool has older code that serves meanwhile. And whoever was refused loads again once the type is free.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from jobwarden.supervisor.inputs import TemplateReady
    from jobwarden.supervisor.pool import Pool
    from jobwarden.wire.messages import HandlerInfo


class Territory:
    """The claims of all pools of a node."""

    def __init__(self, pools: Sequence[Pool]) -> None:
        """Nothing is loaded."""
        self._pools = pools
        self._waiting: dict[str, TemplateReady] = {}
        """Generations that have loaded, by pool."""
        self._refused: dict[str, frozenset[str]] = {}
        """The types that a pool's latest code claims in vain."""

    def hold(self, pool: Pool, fact: TemplateReady) -> bool:
        """Whether this generation has to wait; `due` gives it back."""
        if pool.generations.template is None or not any(self._is_loading(other) for other in self._rivals(pool, fact)):
            return False
        self._waiting[pool.name] = fact
        return True

    def judge(self, pool: Pool, fact: TemplateReady) -> TemplateReady:
        """The generation without what another pool has, which is among its problems."""
        taken = {
            info.job_type: (other, info) for other in self._others(pool) for info in self._claims(other, pool, fact)
        }
        double = [info for info in fact.handlers if info.job_type in taken]
        self._refused[pool.name] = frozenset(info.job_type for info in double)
        if not double:
            return fact
        problems = []
        for info in double:
            other, theirs = taken[info.job_type]
            problems.append(claimed_twice(info, pool.name, other.name, theirs.file))
        return msgspec.structs.replace(
            fact,
            handlers=tuple(info for info in fact.handlers if info.job_type not in taken),
            problems=(*fact.problems, *problems),
            broken=(*fact.broken, *(info.file for info in double)),
        )

    def end(self, pool: Pool, generation: int) -> bool:
        """Its template is gone; whether it was waiting."""
        waited = self._waiting.get(pool.name)
        if waited is None or waited.generation != generation:
            return False
        del self._waiting[pool.name]
        return True

    def due(self) -> Iterator[tuple[Pool, TemplateReady]]:
        """Generations that need not wait any longer, one at a time."""
        for pool in self._pools:
            fact = self._waiting.get(pool.name)
            if fact is None:
                continue
            is_over = pool.stopping or pool.generations.loading != fact.generation
            if is_over or not any(self._is_loading(other) for other in self._rivals(pool, fact)):
                del self._waiting[pool.name]
                yield pool, fact

    def freed(self) -> Iterator[Pool]:
        """Pools that may have what they were refused."""
        for pool in self._pools:
            wanted = self._refused.get(pool.name)
            if wanted and pool.generations.loading is None and not wanted & self._types_of_others(pool):
                del self._refused[pool.name]
                yield pool

    def _others(self, pool: Pool) -> list[Pool]:
        return [other for other in self._pools if other is not pool]

    def _rivals(self, pool: Pool, fact: TemplateReady) -> list[Pool]:
        types = _types(fact.handlers)
        return [other for other in self._others(pool) if types & _types(self._claims(other, pool, fact))]

    def _claims(self, other: Pool, pool: Pool, fact: TemplateReady) -> list[HandlerInfo]:
        """What this generation of `pool` cannot have because of the other; what `pool` serves already, it keeps."""
        waiting = self._waiting.get(other.name)
        sure = waiting is not None and self._will_serve(other, waiting, beside=pool, fact=fact)
        claims = waiting.handlers if waiting is not None and sure else self._all_claims(other)
        return [info for info in claims if info.job_type not in pool.generations.types]

    def _will_serve(self, other: Pool, waiting: TemplateReady, *, beside: Pool, fact: TemplateReady) -> bool:
        """Whether code that waits will be adopted for certain, so that what it gives up is free."""
        thirds = [each for each in self._others(other) if each is not beside]
        rivals = _types(fact.handlers).union(*(_types(self._all_claims(each)) for each in thirds))
        return not (waiting.problems or waiting.starts or _types(waiting.handlers) & rivals)

    def _all_claims(self, pool: Pool) -> list[HandlerInfo]:
        """What it serves, and all that it may be about to serve."""
        waiting = self._waiting.get(pool.name)
        return [*pool.generations.handlers, *(() if waiting is None else waiting.handlers), *pool.on_trial]

    def _types_of_others(self, pool: Pool) -> set[str]:
        return {info.job_type for other in self._others(pool) for info in self._all_claims(other)}

    def _is_loading(self, pool: Pool) -> bool:
        """And not just waiting for another one."""
        return pool.generations.loading is not None and pool.name not in self._waiting


def _types(handlers: Iterable[HandlerInfo]) -> set[str]:
    return {info.job_type for info in handlers}


def claimed_twice(info: HandlerInfo, pool: str, other: str, file: str) -> str:
    """The sentence about a job type that two pools claim; `info` is what came second."""
    return (
        f"{info.file} (pool {pool}): the job type {info.job_type!r} is served by {file} of the pool {other} already; "
        "rename one of the two job types, or remove it from one of the files"
    )
