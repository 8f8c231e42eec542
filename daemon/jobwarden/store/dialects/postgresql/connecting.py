"""How a connection to PostgreSQL is made: by what arguments, with which timeouts, straight or by way of a pooler.

Timeouts are set once per connection where the server can be told so; a pooler that shares connections refuses or
ignores that (PgBouncer before 1.20 knows no startup `options`), and then every transaction says them anew. What the
database URL says wins over what stands here.
"""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any

import psycopg
from sqlalchemy.exc import DisconnectionError

from jobwarden.store.dialects.postgresql.line import Line

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import URL, Dialect
    from sqlalchemy.pool import ConnectionPoolEntry

    from jobwarden.store.dialects.options import StoreOptions

_FEWEST_CONNECT_SECONDS, _MOST_CONNECT_SECONDS = 2, 10
"""libpq takes anything below two seconds for two."""
_KEEPALIVES = {"keepalives": 1, "keepalives_idle": 10, "keepalives_interval": 3, "keepalives_count": 3}
_SPEECH = {"datestyle": "ISO"}
"""psycopg reads moments in no other style, and a database or a user may have one."""
_SILENCE_SECONDS = 2.0
"""How much longer we wait for an answer than the server may take."""
_REFUSED_BY_POOLER = "unsupported startup parameter"
_ASK = "SELECT pg_backend_pid(), current_setting('statement_timeout')"
_SECRETS = {"password", "sslpassword", "passfile"}


class Connecting:
    """One per dialect."""

    def __init__(self, url: URL, options: StoreOptions) -> None:
        self._url = url
        self._options = options
        self._statement_ms = int(options.statement_timeout_seconds * 1_000)
        self._lock_ms = int(options.lock_timeout_seconds * 1_000)
        self._refuses_options = False

    def creator(self, dialect: Dialect) -> Callable[[], Line]:
        """What makes the engine's connections. Raises psycopg's errors."""
        positional, named = dialect.create_connect_args(self._url)
        arguments = {**self._defaults(), **named, "options": f"{self._startup()} {named.get('options', '')}".strip()}
        return lambda: self._connect(*positional, **arguments)

    @property
    def answer_seconds(self) -> float:
        """The longest that any statement may take, seen from here."""
        return max(self._statement_ms, self._lock_ms) / 1_000 + _SILENCE_SECONDS

    def _connect(self, *positional: Any, **arguments: Any) -> Line:
        if self._refuses_options:
            del arguments["options"]
        try:
            made = Line.connect(*positional, **arguments)
        except psycopg.OperationalError as error:
            if self._refuses_options or _REFUSED_BY_POOLER not in str(error):
                raise
            self._refuses_options = True
            return self._connect(*positional, **arguments)
        try:
            self._look_at(made)
        except BaseException:
            made.close()
            raise
        return made

    def _look_at(self, line: Line) -> None:
        """Whether the server is what we spoke to: a pooler has told us a number that is not the backend's."""
        line.answer_seconds = self.answer_seconds
        line.autocommit = True
        row = line.execute(_ASK, prepare=False).fetchone()
        if row is None or row[0] != line.info.backend_pid or self._refuses_options:
            line.is_pooled = True
            line.prepare_threshold = None
            settings = {**self._timeouts(), **_SPEECH}
            line.each_time = "".join(f"; SET LOCAL {name} = {value}" for name, value in settings.items())

    def _defaults(self) -> dict[str, Any]:
        options = self._options
        connect = math.ceil(options.lock_timeout_seconds)
        return {
            "application_name": options.application,
            "client_encoding": "utf8",
            "connect_timeout": max(_FEWEST_CONNECT_SECONDS, min(connect, _MOST_CONNECT_SECONDS)),
            "tcp_user_timeout": self._network_ms,
            "target_session_attrs": "read-write",
            **_KEEPALIVES,
        }

    @property
    def _network_ms(self) -> int:
        return min(max(self._lock_ms, 1_000), _MOST_CONNECT_SECONDS * 1_000)

    def _timeouts(self) -> dict[str, int]:
        """Milliseconds, by the server's names. An idle transaction is one whose client has gone."""
        return {
            "statement_timeout": self._statement_ms,
            "lock_timeout": self._lock_ms,
            "idle_in_transaction_session_timeout": max(self._statement_ms, self._lock_ms),
        }

    def _startup(self) -> str:
        """For the server: also how soon it notices that we are gone, so that our locks do not outlive us for long."""
        network = {"tcp_keepalives_idle": 10, "tcp_keepalives_interval": 3, "tcp_keepalives_count": 3}
        settings = {**self._timeouts(), **_SPEECH, **network, "tcp_user_timeout": self._network_ms}
        return " ".join(f"-c {name}={value}" for name, value in settings.items())


def shown(url: URL) -> str:
    """The URL without any password, those in its query too."""
    masked = {name: "***" for name in url.query if name in _SECRETS}
    return url.update_query_dict(masked).render_as_string(hide_password=True)


def refuse_dead(line: Any, _entry: ConnectionPoolEntry, _proxy: Any) -> None:
    """The pool's "checkout" event: a connection that has ended while nobody used it is replaced by a new one."""
    if isinstance(line, Line) and not line.is_quiet:
        with contextlib.suppress(psycopg.Error):
            line.close()
        raise DisconnectionError
