"""Which dialect speaks to a database URL: by its scheme, ours or one that another package offers.

A package offers a store under the entry-point group `jobwarden.stores`: the name is the scheme, the object is called
with (sqlalchemy.URL, StoreOptions) and gives a `Dialect`. Ours cannot be replaced. Touches no database.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, cast

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from jobwarden.errors import InvalidSettingsError
from jobwarden.settings.address import STORES

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import URL

    from jobwarden.store.dialects.dialect import Dialect
    from jobwarden.store.dialects.options import StoreOptions

    Factory = Callable[[URL, StoreOptions], Dialect]

_POSTGRESQL = ("jobwarden.store.dialects.postgresql.engine", "PostgreSQLDialect", "psycopg", "postgres")
_MARIADB = ("jobwarden.store.dialects.mariadb.engine", "MariaDBDialect", "pymysql", "mysql")
_OURS = {
    "sqlite": ("jobwarden.store.dialects.sqlite.engine", "SQLiteDialect", None, None),
    "postgresql": _POSTGRESQL,
    "postgres": _POSTGRESQL,
    "mysql": _MARIADB,
    "mariadb": _MARIADB,
}
_EXAMPLES = "sqlite:///jobs.db, postgresql://user@host/database or mariadb://user@host/database"


def dialect_for(url: str, options: StoreOptions) -> Dialect:
    """The dialect that speaks to `url`. Raises InvalidSettingsError if there is none, or no driver."""
    if problem := unsupported(url):
        raise InvalidSettingsError([f"database_url: {problem}"])
    parsed = make_url(url)
    return _factory(parsed.get_backend_name())(parsed, options)


def unsupported(url: str) -> str | None:
    """Why there is no dialect for `url`, and the way out; None if there is one. Touches nothing."""
    try:
        url.encode()  # a path from the shell may hold bytes that are no text
        parsed = make_url(url)
    except (ArgumentError, UnicodeEncodeError):
        return f"this is no database URL; write one such as {_EXAMPLES}"
    scheme = parsed.get_backend_name()
    if scheme not in _OURS and scheme not in _offered():
        return f"no store for {scheme}:// is installed; write one such as {_EXAMPLES}"
    return _missing_driver(scheme)


def _missing_driver(scheme: str) -> str | None:
    _module, _name, driver, extra = _OURS.get(scheme, (None, None, None, None))
    if driver is None:
        return None
    try:
        import_module(driver)
    except ImportError:
        return f"{scheme}:// needs the package {driver}; install it with: pip install 'jobwarden[{extra}]'"
    return None


def _factory(scheme: str) -> Factory:
    if scheme in _OURS:
        module, name, _driver, _extra = _OURS[scheme]
        return cast("Factory", getattr(import_module(module), name))
    try:
        factory = _offered()[scheme]()
    except Exception as error:
        raise _broken(scheme, f"it cannot be loaded ({type(error).__name__}: {error})") from error
    if not callable(factory):
        raise _broken(scheme, f"it offers {factory!r}, which nobody can call")
    return cast("Factory", factory)


def _broken(scheme: str, problem: str) -> InvalidSettingsError:
    told = f"the package that offers a store for {scheme}:// is broken: {problem}; install it anew, or tell its makers"
    return InvalidSettingsError([f"database_url: {told}"])


def _offered() -> dict[str, Callable[[], object]]:
    """Scheme -> what loads the factory of another package."""
    return {point.name: point.load for point in entry_points(group=STORES)}
