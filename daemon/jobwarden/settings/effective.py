"""Which values are in force, and from which place each of them comes: what `jobwarden config show` prints.

Passwords are masked here already: nothing that leaves this module holds one. Pure.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jobwarden.settings.address import mask_password
from jobwarden.settings.model import OPTIONS
from jobwarden.settings.pool import PoolOptions
from jobwarden.settings.storage import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jobwarden.settings.found import Found
    from jobwarden.settings.load import Traced
    from jobwarden.settings.pool import PoolSettings

DEFAULT = "default"
MASKED = "***"


class Effective(NamedTuple):
    """One option."""

    name: str
    value: object
    """As JSON has it; a password is `***`."""
    source: str
    """The place in words: `--workers`, `my.toml, key workers`, `default`."""


def of_the_top(traced: Traced) -> Iterator[Effective]:
    """Every option, in the order of the pages."""
    for name in OPTIONS:
        yield _effective(name, getattr(traced.settings, name), traced.gathered.options)


def of_pool(pool: PoolSettings, traced: Traced) -> Iterator[Effective]:
    """Every option of this pool; what its table does not say comes from where the top has it."""
    options, tables, said = traced.gathered
    own = next((table.options for table in tables if table.name == pool.name), {})
    places = {**options, **own, **said}
    for name in PoolOptions.model_fields:
        yield _effective(name, getattr(pool, name), places)


def _effective(name: str, value: object, places: Mapping[str, Found]) -> Effective:
    return Effective(name, _shown(name, value), places[name].place if name in places else DEFAULT)


def _shown(name: str, value: object) -> object:
    if name == PASSWORD:
        return None if value is None else MASKED
    if name == "database_url":
        return mask_password(str(value))
    return str(value) if isinstance(value, Path) else value
