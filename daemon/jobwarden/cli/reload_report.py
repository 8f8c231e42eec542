"""What came of a reload, or would come of it, as a document and in words. Pure; used by `jobwarden reload`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobwarden.cli.types_diff import compare_types

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobwarden.cli.types_diff import TypesDiff
    from jobwarden.wire.desk import Answer, PoolAnswer


def is_well(answer: Answer) -> bool:
    """Whether all of it serves, or would serve."""
    return not answer.configuration and not any(each.problems for each in answer.pools)


def as_document(answer: Answer, *, check: bool) -> dict[str, object]:
    """The document of `--json`; `tried` is the number that the new generation got, None for a check."""
    return {
        "ok": is_well(answer),
        "check": check,
        "configuration": answer.configuration,
        "notes": answer.notes,
        "pools": [_pool_document(each) for each in answer.pools],
    }


def in_words(answer: Answer, *, check: bool) -> Iterator[str]:
    """Lines for people."""
    stays = "the configuration has a problem" if check else "the configuration stays as it was"
    yield from (f"{stays}: {problem}" for problem in answer.configuration)
    yield from answer.notes
    for pool in answer.pools:
        name = f"pool {pool.name}: " if len(answer.pools) > 1 else ""
        diff = compare_types(pool.before, pool.found)
        yield name + (_broken(pool, check=check) if pool.problems else _served(pool, diff, check=check))
        yield from (f"  {problem}" for problem in pool.problems)
        if not pool.problems or pool.tried == pool.generation:
            yield from diff.lines()


def _pool_document(pool: PoolAnswer) -> dict[str, object]:
    return {
        "name": pool.name,
        "handlers": pool.handlers,
        "generation": pool.generation,
        "tried": pool.tried,
        "types": sorted(each.job_type for each in pool.found),
        **compare_types(pool.before, pool.found).as_json(),
        "problems": pool.problems,
    }


def _served(pool: PoolAnswer, diff: TypesDiff, *, check: bool) -> str:
    number = len(pool.found)
    types = f"{number} job type{'s' * (number != 1)}"
    same = ", the same as before" if diff.empty else ""
    if not check:
        return f"generation {pool.generation} serves {types} of {pool.handlers}{same}"
    return f"{pool.handlers} is well, with {types}{same}"


def _broken(pool: PoolAnswer, *, check: bool) -> str:
    serves_on = "nothing serves" if pool.generation is None else f"generation {pool.generation} serves on"
    if check:
        return f"{pool.handlers} is broken" + (f"; {serves_on}" if pool.generation is not None else "")
    if pool.tried == pool.generation:
        return f"generation {pool.generation} serves, but not all of {pool.handlers}"
    return f"generation {pool.tried} is broken, {serves_on}"
