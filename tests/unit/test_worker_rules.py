"""Which errors are retried, and when: the rules that a handler declares (`retry_on`, `fail_on`, `delay`)."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from jobwarden.worker.rules import LONGEST_DELAY_SECONDS, NO_RULES, RetryRules

ERROR = ConnectionResetError("gone")


@pytest.mark.parametrize(
    ("rules", "final"),
    [
        (NO_RULES, False),
        (RetryRules(retry_on=(ConnectionError,)), False),
        (RetryRules(retry_on=(ValueError, KeyError)), True),
        (RetryRules(fail_on=(ConnectionError,)), True),
        (RetryRules(fail_on=(ValueError,)), False),
        (RetryRules(retry_on=(ConnectionError,), fail_on=(ConnectionResetError,)), True),
        (RetryRules(retry_on=(OSError,), fail_on=(ValueError,)), False),
    ],
)
def test_fail_on_wins_and_what_retry_on_does_not_name_fails_for_good(rules: RetryRules, *, final: bool) -> None:
    """Classes match as in an `except` clause, parents included."""
    assert rules.is_final(ERROR) is final


@pytest.mark.parametrize(
    ("rules", "final"),
    [
        (NO_RULES, False),
        (RetryRules(retry_on=(ConnectionError, KeyError)), False),
        (RetryRules(retry_on=(ConnectionError,)), True),
        (RetryRules(retry_on=(ExceptionGroup,)), False),
        (RetryRules(fail_on=(KeyError,)), True),
        (RetryRules(fail_on=(ExceptionGroup,)), True),
        (RetryRules(fail_on=(ValueError,)), False),
    ],
)
def test_a_group_is_judged_by_what_it_holds(rules: RetryRules, *, final: bool) -> None:
    """What an asyncio.TaskGroup lets out: one error for good is enough, and all must be named to be retried."""
    group = ExceptionGroup("two", [ERROR, ExceptionGroup("inner", [KeyError("k")])])
    assert rules.is_final(group) is final


def test_a_delay_is_told_the_attempt_and_the_error() -> None:
    """Its answer is taken in seconds; a whole number will do."""
    told: list[tuple[int, BaseException]] = []

    def delay(attempt: int, error: BaseException) -> float:
        told.append((attempt, error))
        return 7

    assert RetryRules(delay=delay).seconds_after(ERROR, attempt=2) == 7.0
    assert told == [(2, ERROR)]


def test_a_delay_longer_than_any_is_cut() -> None:
    """As with RetryLater: 366 days at most."""
    assert RetryRules(delay=lambda _attempt, _error: 10**400).seconds_after(ERROR, attempt=1) == LONGEST_DELAY_SECONDS


def fail(attempt: int, error: BaseException) -> float:
    message = f"{attempt} {error}"
    raise RuntimeError(message)


class UnshownError(Exception):
    def __str__(self) -> str:
        raise SystemExit


def fail_unshown(_attempt: int, _error: BaseException) -> float:
    raise UnshownError


def leave(_attempt: int, _error: BaseException) -> float:
    raise SystemExit


@pytest.mark.parametrize(
    ("delay", "line"),
    [
        (fail, "failed with RuntimeError: 1 gone"),
        (leave, "failed with SystemExit: "),
        (lambda _attempt, _error: None, "gave None, which is no number of seconds"),
        (lambda _attempt, _error: -1, "gave -1, which is no number of seconds"),
        (lambda _attempt, _error: float("nan"), "gave nan, which is no number of seconds"),
        (lambda _attempt, _error: float("inf"), "gave inf, which is no number of seconds"),
        (lambda _attempt, _error: True, "gave True, which is no number of seconds"),
        (lambda _attempt, _error: "3", "gave '3', which is no number of seconds"),
        (fail_unshown, "failed with UnshownError: (cannot be shown: SystemExit)"),
    ],
)
def test_a_delay_that_fails_leaves_the_jobs_own_and_says_so(
    delay: Callable[[int, BaseException], float], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An attempt's outcome is never lost with its delay; the line goes into the captured output."""
    assert RetryRules(delay=delay).seconds_after(ERROR, attempt=1) is None
    said = capsys.readouterr().err
    assert said == f"the handler's delay function {line}; the job's own delay holds\n"


def test_a_delay_that_cannot_complain_still_leaves_the_jobs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The handler may have closed its streams."""
    monkeypatch.setattr(sys, "stderr", None)
    assert RetryRules(delay=fail).seconds_after(ERROR, attempt=1) is None


def test_without_a_delay_nothing_is_said() -> None:
    """The job's own delay holds silently."""
    assert NO_RULES.seconds_after(ERROR, attempt=1) is None
