"""What a side file may say: the options of `@handler`, judged by the same checks.

Exit codes stand where the decorator has exception classes, and there is no `delay`, which is a function. Called by
whoever loads executables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobwarden.wire.messages import Problem
from jobwarden.worker.declaring import InvalidHandlerError, check_name, check_number, checked_names
from jobwarden.worker.exit_codes import LARGEST_CODE, NO_EXIT_RULES, ExitRules
from jobwarden.worker.handler import LARGEST_TIMEOUT_MS, MOST_ATTEMPTS, MOST_CONCURRENT
from jobwarden.worker.rules import LONGEST_DELAY_SECONDS

if TYPE_CHECKING:
    from jobwarden.sources.side_file import SideFile

ALL = "all"
_NUMBERS: dict[str, dict[str, Any]] = {
    "timeout_ms": {"high": LARGEST_TIMEOUT_MS},
    "max_attempts": {"high": MOST_ATTEMPTS},
    "retry_delay": {"low": 0, "high": LONGEST_DELAY_SECONDS, "whole": False},
    "heartbeat_timeout_ms": {"high": LARGEST_TIMEOUT_MS},
    "max_concurrency": {"high": MOST_CONCURRENT},
}
KEYS = ("job_type", *_NUMBERS, "secret", "retry_on", "fail_on")
_NOT_HERE = {
    "delay": "give `retry_delay`, or write `retry SECONDS` to descriptor 3 before exit code 75",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SideOptions:
    """Checked. None leaves the daemon's default, as in the decorator."""

    job_type: str
    timeout_ms: int | None = None
    max_attempts: int | None = None
    retry_delay: float | None = None
    heartbeat_timeout_ms: int | None = None
    max_concurrency: int | None = None
    secret: tuple[str, ...] = ()
    rules: ExitRules = NO_EXIT_RULES


def side_options(side: SideFile | None, *, job_type: str) -> tuple[SideOptions, list[Problem]]:
    """The options of an executable whose file name says `job_type`, and everything that is wrong with its side file."""
    if side is None:
        return SideOptions(job_type=job_type), []
    problems: list[Problem] = []
    for name, value in side.values.items():
        try:
            _check(job_type, name, value)
        except InvalidHandlerError as error:
            problems.append(
                Problem(file=side.relative, line=side.lines[name], error=error.problem, way_out=error.way_out)
            )
    return (SideOptions(job_type=job_type) if problems else _options(side.values, job_type)), problems


def _options(values: dict[str, Any], job_type: str) -> SideOptions:
    numbers = {name: values[name] for name in _NUMBERS if name in values}
    rules = ExitRules(retry_on=_codes(values.get("retry_on")), fail_on=_codes(values.get("fail_on")))
    secret = checked_names(job_type, "secret", values.get("secret", ()))
    return SideOptions(job_type=values.get("job_type", job_type), secret=secret, rules=rules, **numbers)


def _check(job_type: str, name: str, value: object) -> None:
    if name in _NUMBERS:
        check_number(job_type, name, value, **_NUMBERS[name])  # type: ignore[arg-type]  # anything may stand there
    elif name == "job_type":
        check_name(value)
    elif name == "secret":
        checked_names(job_type, name, value)
    elif name in KEYS:
        _check_codes(job_type, name, value)
    else:
        way_out = _NOT_HERE.get(name, f"the options are {', '.join(KEYS)}")
        raise InvalidHandlerError(job_type, problem=f"{name} is no option of a side file", way_out=way_out)


def _check_codes(job_type: str, name: str, value: object) -> None:
    if value == ALL and name == "retry_on":
        return
    codes = value if isinstance(value, list) else [value]
    if not codes or not all(type(each) is int and 1 <= each <= LARGEST_CODE for each in codes):
        way_out = f"give exit codes from 1 to {LARGEST_CODE}, as in {name} = [2, 64]"
        if name == "retry_on":
            way_out += f', or "{ALL}"'
        raise InvalidHandlerError(job_type, problem=f"{name} = {value!r:.60} is not possible", way_out=way_out)


def _codes(value: Any) -> frozenset[int] | None:
    if value is None:
        return None
    if value == ALL:
        return frozenset(range(1, LARGEST_CODE + 1))
    return frozenset(value if isinstance(value, list) else [value])
