"""What `jobwarden doctor` says: a finding is what is so, why it matters, and what to do about it.

Data only. Made by `store.checkup` and the dialects (the database and what stands in it) and by `supervisor.checkup`
(this host); shown by `cli.doctor`. No finding contains a payload, a password or the text of somebody's query.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Severity(StrEnum):
    """How much it matters; only a problem makes `doctor` fail."""

    PROBLEM = "problem"
    WARNING = "warning"
    NOTICE = "notice"
    OK = "ok"


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that was looked at. `why` and `do` are None only for what is ok."""

    severity: Severity
    subject: str
    """What was looked at, in one or two words joined by a hyphen; stays the same between versions."""
    what: str
    why: str | None = None
    do: str | None = None


def counted(number: int, noun: str) -> str:
    """`1 job`, `2,000 jobs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def ok(subject: str, what: str) -> Finding:
    """It was looked at and is as it should be."""
    return Finding(severity=Severity.OK, subject=subject, what=what)


def notice(subject: str, what: str, *, why: str, do: str) -> Finding:
    """Good to know; nothing breaks because of it."""
    return Finding(severity=Severity.NOTICE, subject=subject, what=what, why=why, do=do)


def warning(subject: str, what: str, *, why: str, do: str) -> Finding:
    """It will hurt if it stays so."""
    return Finding(severity=Severity.WARNING, subject=subject, what=what, why=why, do=do)


def problem(subject: str, what: str, *, why: str, do: str) -> Finding:
    """It is broken, or data is in danger."""
    return Finding(severity=Severity.PROBLEM, subject=subject, what=what, why=why, do=do)
