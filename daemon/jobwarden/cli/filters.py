"""The options that say which jobs are meant: the same for `list`, `cancel`, `retry`, `replay`, `edit` and `clear`.

They become a `JobFilter`, which judges them. Bounds are written as `">=5"` or `"<2030-01-01T00:00:00Z"`. A command
that changes many jobs must be told which: it takes at least one of these, or `--all`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobwarden.cli.reading import read_moment
from jobwarden.cli.signatures import extended, option
from jobwarden.errors import InvalidJobError

if TYPE_CHECKING:
    import inspect
    from collections.abc import Callable
    from datetime import datetime

    from jobwarden.jobs import JobFilter

All = Annotated[bool, typer.Option("--all", help="All jobs; needed where no filter is given.")]
AnyJobId = Annotated[int | None, typer.Argument(metavar="ID", help="The job's id.", show_default=False)]

_OPERATORS = {"<=": "lte", ">=": "gte", "<": "lt", ">": "gt", "=": "eq"}
"""Longer ones first: they begin with the shorter ones."""
_TEXTS, _NUMBERS = list[str] | None, list[int] | None

_OPTIONS: tuple[tuple[str, Any, str, str | None, str], ...] = (
    ("ids", _NUMBERS, "id", "ID", "Only this job; repeat it for more."),
    ("job_type", _TEXTS, "type", "TYPE", "Only this type; repeat it for more."),
    ("status", _TEXTS, "status", "STATUS", "Only this status, or retrying, or ended; repeat it for more."),
    ("tags", _TEXTS, "tag", "TAG", "Only jobs with this tag; repeat it to ask for several."),
    ("tag_mode", str | None, "tag-mode", "MODE", "How several tags are meant: all (default), any, none, exact."),
    ("group_id", str | None, "group", "GROUP", "Only this group."),
    ("priority", _TEXTS, "priority", "BOUND", 'As in 5, ">=5", "<9"; repeat it for two bounds.'),
    ("run_at", _TEXTS, "run-at", "BOUND", 'As in ">+1h", "<2030-01-01T00:00:00Z"; repeat it for two bounds.'),
    ("created_at", _TEXTS, "created-at", "BOUND", 'As in "<-7d"; repeat it for two bounds.'),
)
_CLASHING = {"tag", "group", "priority", "run-at"}
"""Options of `edit` that say what a job is to become."""


def with_filters(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that takes `**given` one option per field of a filter."""
    return extended(command, (_option(*each) for each in _OPTIONS))


def where_options() -> list[inspect.Parameter]:
    """The same for `edit`, whose own options have some of these names: `--where-tag`, and so on."""
    return [_option(*each, where=True) for each in _OPTIONS]


def filter_of(given: dict[str, Any]) -> JobFilter:
    """The filter that was given; it matches everything if nothing was. Raises InvalidJobError."""
    from jobwarden.jobs import JobFilter

    fields = {name: value for name, value in given.items() if value not in (None, [])}
    if "tag_mode" in fields and "tags" not in fields:
        raise InvalidJobError("tag-mode", "says how tags are meant, but there are none; add --tag")
    if "priority" in fields:
        fields["priority"] = _bounds(fields["priority"], _number, name="priority")
    for name, shown in (("run_at", "run-at"), ("created_at", "created-at")):
        if name in fields:
            fields[name] = _bounds(fields[name], _moment, name=shown)
    return JobFilter.parse(**fields)


def demanded_filter(given: dict[str, Any], *, everything: bool, command: str) -> JobFilter:
    """As `filter_of`, but something must have been given, or `--all`."""
    wanted = filter_of(given)
    if not wanted.model_fields_set and not everything:
        raise InvalidJobError(command, "say which jobs: give an id, a filter such as --type or --status, or --all")
    return wanted


def one_or_many(job_id: int | None, given: dict[str, Any], *, everything: bool, command: str) -> int | JobFilter:
    """The one job that is named, else the filter. Raises InvalidJobError for both or neither."""
    if job_id is None:
        return demanded_filter(given, everything=everything, command=command)
    if everything or filter_of(given).model_fields_set:
        raise InvalidJobError(command, "is given an id and a filter; give one of them")
    return job_id


def changed_sentence(verb: str, *, ids: int, running: int = 0, fate: str = "left alone") -> str:
    """What a command did to many jobs, for people: `3 jobs cancelled, 1 running job left alone`."""
    rest = f", {_jobs(running, 'running ')} {fate}" if running else ""
    return f"{_jobs(ids)} {verb}{rest}"


def _jobs(number: int, kind: str = "") -> str:
    return f"{number} {kind}job{'' if number == 1 else 's'}"


def _option(
    field: str, kind: Any, flag: str, metavar: str | None, about: str, *, where: bool = False
) -> inspect.Parameter:
    flags = [f"--where-{flag}"] if where else []
    if not where or flag not in _CLASHING:
        flags.append(f"--{flag}")
    return option(f"where_{field}" if where else field, kind, *flags, about=about, metavar=metavar)


def _bounds(texts: list[str], read: Callable[..., object], *, name: str) -> dict[str, object]:
    bounds: dict[str, object] = {}
    for text in texts:
        sign = next((each for each in _OPERATORS if text.startswith(each)), "")
        operator = _OPERATORS.get(sign, "eq")
        if operator in bounds:
            raise InvalidJobError(name, f"has the same bound ({sign or '='}) twice; give it once")
        bounds[operator] = read(text.removeprefix(sign).strip(), name=name)
    return bounds


def _number(text: str, *, name: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidJobError(name, f'{text[:60]!r} is no integer; write for example ">=5"') from None


def _moment(text: str, *, name: str) -> datetime | None:
    return read_moment(text, name=name)
