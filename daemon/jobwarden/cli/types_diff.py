"""What a reload changes about the job types, as data and in words. Pure; used by `jobwarden reload`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from pydantic.alias_generators import to_camel

from jobwarden.cli.printing import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jobwarden.wire.messages import HandlerInfo

_NAME = "job_type"
_NOT_SHOWN = {"schema": "another payload schema"}
"""Options whose values are too long for a line."""


@dataclass(frozen=True, kw_only=True)
class TypesDiff:
    """Two sets of job types compared; every list is in the order of the names."""

    added: list[HandlerInfo]
    removed: list[HandlerInfo]
    changed: dict[str, dict[str, tuple[object, object]]]
    """Job type -> option -> before and after."""

    @property
    def empty(self) -> bool:
        """Whether both serve the same with the same options."""
        return not (self.added or self.removed or self.changed)

    def as_json(self) -> dict[str, object]:
        """Names with files for what came and went; before and after of each option that changed."""
        return {
            "added": [{"jobType": each.job_type, "file": each.file} for each in self.added],
            "removed": [{"jobType": each.job_type, "file": each.file} for each in self.removed],
            "changed": {
                name: {to_camel(option): {"before": before, "after": after} for option, (before, after) in each.items()}
                for name, each in self.changed.items()
            },
        }

    def lines(self) -> Iterator[str]:
        """One for each difference."""
        yield from (printable(f"  + {each.job_type} ({each.file})") for each in self.added)
        for each in self.removed:
            yield printable(f"  - {each.job_type} (was in {each.file}); its jobs stay pending")
        for name, options in self.changed.items():
            told = ", ".join(_told(option, before, after) for option, (before, after) in options.items())
            yield printable(f"  ~ {name}: {told}")


def compare_types(before: Iterable[HandlerInfo], after: Iterable[HandlerInfo]) -> TypesDiff:
    """What is new, gone or different in `after`."""
    old = {each.job_type: each for each in before}
    new = {each.job_type: each for each in after}
    changed = {name: _options(old[name], new[name]) for name in sorted(old.keys() & new.keys())}
    return TypesDiff(
        added=[new[name] for name in sorted(new.keys() - old.keys())],
        removed=[old[name] for name in sorted(old.keys() - new.keys())],
        changed={name: options for name, options in changed.items() if options},
    )


def _options(old: HandlerInfo, new: HandlerInfo) -> dict[str, tuple[object, object]]:
    before, after = msgspec.structs.asdict(old), msgspec.structs.asdict(new)
    return {name: (before[name], after[name]) for name in before if name != _NAME and before[name] != after[name]}


def _told(option: str, before: object, after: object) -> str:
    if option in _NOT_SHOWN:
        return _NOT_SHOWN[option]
    old, new = ("none" if each is None else each for each in (before, after))
    return f"{option} {old} -> {new}"
