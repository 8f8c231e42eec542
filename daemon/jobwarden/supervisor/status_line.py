"""The one line that a service manager shows of the daemon (sd_notify(3), STATUS=), made of its report. Pure.

What is wrong comes first, because the line is cut by whoever shows it. For whoever notifies the service manager.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

LONGEST = 240
"""Characters."""


def status_line(
    report: Mapping[str, Any], *, depth: int | None = None, most: int | None = None, store_problem: str | None = None
) -> str:
    """From what `report_of` gives: one line of printable text, with file, line and error of code that does not load.

    `depth`: how many jobs wait in the store, if that is known, counted up to `most`; `store_problem`: why the store
    does not answer.
    """
    text = "; ".join(_parts(report, depth=depth, most=most, store_problem=store_problem))
    line = "".join(each if each.isprintable() else "?" for each in " ".join(text.split()))
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def _parts(
    report: Mapping[str, Any], *, depth: int | None, most: int | None, store_problem: str | None
) -> Iterator[str]:
    busy = sum(slot["job_id"] is not None for slot in report["slots"])
    if store_problem is not None:
        yield f"the database does not answer: {store_problem}"
    if report["stopping"]:
        yield f"stopping; {_counted(busy, 'job')} still running"
        return
    if not report["trusted"]:
        yield f"has lost its lease and starts no jobs; {_serving(report['pools'])}"
        return
    yield from _first_of(report.get("problems", ()))
    for pool in report["pools"]:
        yield from _first_of(pool["problems"], where="" if len(report["pools"]) == 1 else f"pool {pool['name']}: ")
    yield _serving(report["pools"])
    yield f"{busy} of {_counted(sum(pool['workers'] for pool in report['pools']), 'worker')} busy"
    if depth is not None:
        yield _waiting(depth, most=most)


def _first_of(problems: Sequence[str], *, where: str = "") -> Iterator[str]:
    for first in problems[:1]:
        more = len(problems) - 1
        yield where + first + (f" (and {_counted(more, 'problem')} more)" if more else "")


def _waiting(depth: int, *, most: int | None) -> str:
    if most is not None and depth >= most:
        return f"{depth} jobs or more wait"
    return f"{depth} job waits" if depth == 1 else f"{depth} jobs wait"


def _serving(pools: Sequence[Mapping[str, Any]]) -> str:
    types = _counted(sum(len(pool["types"]) for pool in pools), "job type")
    serving = [pool for pool in pools if pool["generation"] is not None]
    if len(pools) > 1:
        return f"{len(serving)} of {len(pools)} pools serve {types}"
    return f"generation {serving[0]['generation']} serves {types}" if serving else "nothing is served"


def _counted(number: int, name: str) -> str:
    return f"{number} {name}{'s' * (number != 1)}"
