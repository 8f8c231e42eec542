"""The one line that a service manager shows of the daemon (sd_notify(3), STATUS=), made of its report. Pure.

What is wrong comes first, because the line is cut by whoever shows it. For whoever notifies the service manager.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LONGEST = 240
"""Characters."""


def status_line(report: Mapping[str, Any]) -> str:
    """From what `report_of` gives: one line of printable text, with file, line and error of code that does not load."""
    text = " ".join(_sentence(report).split())
    line = "".join(each if each.isprintable() else "?" for each in text)
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def _sentence(report: Mapping[str, Any]) -> str:
    busy = sum(slot["job_id"] is not None for slot in report["slots"])
    if report["stopping"]:
        return f"stopping; {_counted(busy, 'job')} still running"
    if not report["trusted"]:
        return f"has lost its lease and starts no jobs; {_serving(report['pools'])}"
    work = f"{busy} of {_counted(sum(pool['workers'] for pool in report['pools']), 'worker')} busy"
    broken = [pool for pool in report["pools"] if pool["problems"]]
    if not broken:
        return f"{_serving(report['pools'])}; {work}"
    return f"{_broken(broken[0], alone=len(report['pools']) == 1)}; {_serving(report['pools'])}; {work}"


def _broken(pool: Mapping[str, Any], *, alone: bool) -> str:
    problems: list[str] = pool["problems"]
    first, more = problems[0], problems[1:]
    where = "" if alone else f"pool {pool['name']}: "
    return where + first + (f" (and {_counted(len(more), 'problem')} more)" if more else "")


def _serving(pools: Sequence[Mapping[str, Any]]) -> str:
    types = _counted(sum(len(pool["types"]) for pool in pools), "job type")
    serving = [pool for pool in pools if pool["generation"] is not None]
    if len(pools) > 1:
        return f"{len(serving)} of {len(pools)} pools serve {types}"
    return f"generation {serving[0]['generation']} serves {types}" if serving else "nothing is served"


def _counted(number: int, name: str) -> str:
    return f"{number} {name}{'s' * (number != 1)}"
