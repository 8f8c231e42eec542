"""What a ringer says and hears on one connection: LISTEN as somebody wants it, NOTIFY as somebody owes it.

First it tests itself: a NOTIFY that another connection sends must arrive here. It does not where a pooler gives each
transaction another connection of the server, nor is that seen in any other way. Then everybody looks by himself, and
the mode says so; rings still go out, for those who are connected straight.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Protocol

from jobwarden.clock import SECOND_NS, SYSTEM_CLOCK
from jobwarden.store.dialects.postgresql.orders import DEAF, POOLED, UNTESTED, WORKING

if TYPE_CHECKING:
    import psycopg

    from jobwarden.store.dialects.postgresql.line import Line
    from jobwarden.store.dialects.postgresql.orders import Orders

PAUSE_SECONDS = 0.02
"""Between two NOTIFYs of a process."""
_ECHO_SECONDS, _POOLED_ECHO_SECONDS = 5.0, 2.0
"""How long a NOTIFY to oneself may take; it takes some milliseconds."""
_TEST_AGAIN_SECONDS = 60.0
_REST_SECONDS = 30.0
"""The longest sleep while nobody listens."""

# Channels are those of one database; what their names end in is the schema that our tables lie in.
_HOME = "SELECT coalesce((SELECT relnamespace FROM pg_class WHERE oid = to_regclass('job')), 0)::bigint"


class Reach(Protocol):
    """The two ways to the server that a ringer needs."""

    def connect(self) -> Line:
        """A connection of its own. Raises the driver's errors."""

    def notify(self, channel: str) -> None:
        """Ring this channel, at once, on any other connection."""


class Exchange:
    """One per connection."""

    def __init__(self, line: Line, orders: Orders, reach: Reach) -> None:
        self._line = line
        self._orders = orders
        self._reach = reach
        self._heard: dict[str, str] = {}
        """Channel -> kind, of those that we listen to."""
        self._next_ring_ns = 0
        self._echo: str | None = None
        """The channel on which we wait to hear ourselves."""
        self._echo_until_ns = 0
        self._test_ns: int | None = 0
        """When to test; None: not on this connection any more."""
        line.add_notify_handler(self._hear)
        self._home = line.execute(_HOME, prepare=False).fetchall()[0][0]
        orders.become(UNTESTED)

    def turn(self) -> None:
        """Do what is to be done, and sleep until there is more. Raises the driver's errors."""
        self._listen_as_wanted()
        self._ring_what_is_owed()
        self._test()
        self._take_notifications()
        if self._orders.are_over():  # what was owed when they were closed is out: nobody would wake us
            return
        seconds = self._patience()
        if (seconds is None or seconds > 0) and self._orders.sleep(seconds=seconds, beside=self._line.fileno()):
            self._line.pgconn.consume_input()
            self._take_notifications()

    def _listen_as_wanted(self) -> None:
        wanted = {self._channel(kind): kind for kind in self._orders.wanted()}
        if wanted == self._heard:
            return
        news = [channel for channel in wanted if channel not in self._heard]
        if self._orders.mode not in {POOLED, DEAF}:
            words = [f'LISTEN "{channel}"' for channel in news]
            words += [f'UNLISTEN "{channel}"' for channel in self._heard if channel not in wanted]
            self._say(words)
        self._heard = wanted
        self._orders.pass_on([wanted[channel] for channel in news])  # what was rung before the server knew of us
        self._orders.know(frozenset(wanted.values()))

    def _ring_what_is_owed(self) -> None:
        now_ns = SYSTEM_CLOCK.monotonic_ns()
        if self._orders.owed and now_ns >= self._next_ring_ns:
            self._next_ring_ns = now_ns + int(PAUSE_SECONDS * SECOND_NS)
            self._say([f'NOTIFY "{self._channel(kind)}"' for kind in self._orders.take_owed()])

    def _test(self) -> None:
        now_ns = SYSTEM_CLOCK.monotonic_ns()
        if self._echo is not None and now_ns >= self._echo_until_ns:
            self._be_deaf(now_ns)
        elif self._echo is None and self._heard and self._test_ns is not None and now_ns >= self._test_ns:
            seconds = _POOLED_ECHO_SECONDS if self._line.is_pooled else _ECHO_SECONDS
            self._echo, self._echo_until_ns = (
                f"jobwarden_echo_{secrets.token_hex(8)}",
                now_ns + int(seconds * SECOND_NS),
            )
            self._say([f'LISTEN "{channel}"' for channel in (self._echo, *self._heard)])
            self._reach.notify(self._echo)

    def _be_deaf(self, now_ns: int) -> None:
        """Through a pooler, LISTEN reached a connection that others use as well; it is taken back as far as it goes."""
        self._echo = None
        self._test_ns = None if self._line.is_pooled else now_ns + int(_TEST_AGAIN_SECONDS * SECOND_NS)
        self._say(["UNLISTEN *"])
        self._orders.become(POOLED if self._line.is_pooled else DEAF)

    def _hear(self, ring: psycopg.Notify) -> None:
        if ring.channel == self._echo:
            self._echo, self._test_ns = None, None
            self._orders.become(WORKING)
        elif ring.channel in self._heard:
            self._orders.pass_on([self._heard[ring.channel]])

    def _take_notifications(self) -> None:
        """Those that came with the answer to something else are there already, without the socket being readable."""
        pgconn = self._line.pgconn
        while (ring := pgconn.notifies()) is not None:
            if pgconn.notify_handler is not None:
                pgconn.notify_handler(ring)

    def _patience(self) -> float | None:
        """Seconds until there is something to do without being told."""
        moments = [self._echo_until_ns] if self._echo is not None else []
        if self._orders.owed:
            moments.append(self._next_ring_ns)
        if self._echo is None and self._heard and self._test_ns is not None:
            moments.append(self._test_ns)
        if not moments:
            return None if self._heard else _REST_SECONDS
        return (min(moments) - SYSTEM_CLOCK.monotonic_ns()) / SECOND_NS

    def _say(self, words: list[str]) -> None:
        """In one round trip and one transaction."""
        if words:
            self._line.execute("; ".join(words), prepare=False)

    def _channel(self, kind: str) -> str:
        return f"jobwarden_{kind}_{self._home}"
