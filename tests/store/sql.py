"""SQL of tests that every database reads the same."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from sqlalchemy import Connection, Engine, TextClause, bindparam, create_engine, text

from jobwarden.store import StoreOptions
from jobwarden.store.dialects import dialect_for
from jobwarden.store.moments import Instant


def engine_of_a_caller(url: str) -> Engine:
    """An engine as an application has it that adds jobs in its own transactions: none of the store's settings."""
    dialect = dialect_for(url, StoreOptions())
    drivers_url = dialect.engine.url
    dialect.close()
    return create_engine(drivers_url)


MOMENTS = ("now", "later")
"""Parameters of these names are moments, in microseconds."""


def portable(connection: Connection, words: str, names: Iterable[str] = ()) -> TextClause:
    """The statement with its quoted names as this database quotes them; `names` are those of its parameters."""
    return _made(words, connection.dialect.identifier_preparer.initial_quote, frozenset(names))


@cache
def _made(words: str, quote: str, names: frozenset[str]) -> TextClause:
    statement = text(words.replace('"', quote))
    return statement.bindparams(*(bindparam(name, type_=Instant) for name in MOMENTS if name in names))
