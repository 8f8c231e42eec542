"""Moments in columns: wall microseconds on the Python side everywhere, the database's own type of time inside it.

SQLite keeps the integers as they are, with nothing in between. PostgreSQL keeps `timestamptz`, MariaDB `datetime(6)`
in UTC. Statements that a dialect writes itself convert in SQL; Core gets it from the column's type.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, ColumnElement, DateTime
from sqlalchemy.dialects import mysql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.visitors import InternalTraversal
from sqlalchemy.types import TypeDecorator

from jobwarden.clock import to_datetime, to_us

if TYPE_CHECKING:
    from sqlalchemy import Dialect
    from sqlalchemy.sql.compiler import SQLCompiler


class _WithZone(TypeDecorator[int]):
    """`timestamptz`."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's
        return None if value is None else to_datetime(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        return None if value is None else to_us(value)


class _WithoutZone(TypeDecorator[int]):
    """`datetime(6)`, always UTC."""

    impl = mysql.DATETIME(fsp=6)
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's
        return None if value is None else to_datetime(value).replace(tzinfo=None)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        return None if value is None else to_us(value.replace(tzinfo=UTC))


Instant = BigInteger().with_variant(_WithZone(), "postgresql").with_variant(_WithoutZone(), "mysql", "mariadb")
"""The type of every moment."""


class later(ColumnElement[int]):  # noqa: N801 - reads as a function of SQL
    """A moment and so many microseconds: plain `+` is not defined where moments have a type of their own."""

    inherit_cache = True
    type = Instant

    def __init__(self, moment: ColumnElement[Any], microseconds: ColumnElement[Any]) -> None:
        self.moment = moment
        self.microseconds = microseconds

    _traverse_internals = [  # noqa: RUF012 - SQLAlchemy's
        ("moment", InternalTraversal.dp_clauseelement),
        ("microseconds", InternalTraversal.dp_clauseelement),
    ]


@compiles(later)
def _plain(element: later, compiler: SQLCompiler, **kw: Any) -> str:
    return f"({compiler.process(element.moment, **kw)} + {compiler.process(element.microseconds, **kw)})"


@compiles(later, "postgresql")
def _postgresql(element: later, compiler: SQLCompiler, **kw: Any) -> str:
    moment, span = compiler.process(element.moment, **kw), compiler.process(element.microseconds, **kw)
    return f"({moment} + ({span}) * interval '1 microsecond')"


@compiles(later, "mysql", "mariadb")
def _mariadb(element: later, compiler: SQLCompiler, **kw: Any) -> str:
    moment, span = compiler.process(element.moment, **kw), compiler.process(element.microseconds, **kw)
    return f"({moment} + INTERVAL ({span}) MICROSECOND)"
