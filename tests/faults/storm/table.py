"""The table of a storm, for people."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping

from tests.faults.storm.storm import Plan, Storm

_WIDTH = 52
_MOST_SHOWN = 20
_ROWS = 12


def table_of(plan: Plan, storm: Storm, findings: list[str]) -> str:
    """All of it, as text."""
    report = storm.report
    served = len(storm.daemon.events("generation_served"))
    asked = "SIGHUP" if plan.hup else "the watcher"
    return "\n".join(
        [
            f"storm: {plan.saves} saves, noticed by {asked}, seed {plan.seed}",
            "",
            *_section("saves", report.saves),
            f"{'all':{_WIDTH}}{report.saves.total():>8}",
            "",
            *_section("manners", report.manners),
            "",
            *_section("accounting", {"jobs completed": len(report.accepted), "generations served": served}),
            _served(report.served_ms),
            "",
            "the supervisor: private kB, descriptors, threads, children, files",
            *_states(storm),
            "",
            f"{len(findings)} violations",
            *(f"  {each}" for each in findings[:_MOST_SHOWN]),
        ]
    )


def _section(name: str, numbers: Mapping[str, object]) -> Iterable[str]:
    return [f"{name}:", *(f"  {key:{_WIDTH - 2}}{value!s:>8}" for key, value in sorted(numbers.items()))]


def _served(ms: list[float]) -> str:
    return f"save to served at checkpoints: p50 {statistics.median(ms):.0f} ms, most {max(ms):.0f} ms"


def _states(storm: Storm) -> list[str]:
    states = storm.report.states
    step = max(1, len(states) // _ROWS)
    shown = [*range(0, len(states) - 1, step), len(states) - 1]
    return [f"  {number:>4} " + " ".join(f"{value:>8}" for value in states[number][:-1]) for number in shown]
