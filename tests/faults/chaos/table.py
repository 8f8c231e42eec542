"""The table of a chaos run, for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tests.faults.chaos.campaign import Plan, Report

_WIDTH = 64
_MOST_SHOWN = 20


def table_of(plan: Plan, report: Report) -> str:
    """All of it, as text."""
    head = f"chaos on {plan.store}: {plan.seconds:g} s, {plan.daemons} daemons, seed {plan.seed}"
    parts = [
        head,
        "",
        *_section("faults", report.faults),
        f"{'all faults':{_WIDTH}}{report.faults.total():>8}",
        *(f"left out: {each}" for each in report.left_out),
        "",
        *_section("ends of daemons, by exit code", {str(code): n for code, n in sorted(report.exits.items())}),
        "",
        *_section("outcomes of attempts", report.outcomes),
        "",
        *_section("accounting", report.numbers),
        "",
        f"{len(report.findings)} violations",
        *(f"  {each}" for each in report.findings[:_MOST_SHOWN]),
    ]
    return "\n".join(parts)


def _section(name: str, numbers: Mapping[str, object]) -> Iterable[str]:
    return [f"{name}:", *(f"  {key:{_WIDTH - 2}}{value:>8}" for key, value in numbers.items())]
