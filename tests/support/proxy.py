"""A network between a program and its database server that breaks when a test says so.

    with Proxy(("127.0.0.1", 5432)) as proxy:          # or the path of a Unix socket
        url = proxy.url("postgresql://postgres@/jobs?host=/tmp/x")   # the same database, by way of the proxy
        proxy.cut()                    # silence: nothing passes, sockets stay open, new ones get no answer
        proxy.refuse()                 # all connections are reset, new ones refused
        proxy.resume()                 # as if nothing had been; what was held back by `cut` passes now
        proxy.drop()                   # all connections are reset, new ones pass
        cut = proxy.lose_answer(b"COMMIT", within=b"UPDATE job")   # done by the server, never heard by the client
        cut = proxy.lose_request(b"COMMIT")                        # never heard by the server either
        cut.wait()                     # until it has happened (once, then the proxy is harmless again)

`lose_*` read the PostgreSQL protocol (simple queries, and Parse, Bind, Execute, also of prepared statements). The
statement must contain the bytes, whatever their case; with `within`, an earlier statement of the same transaction, or
this one, must contain those. Words are matched whole: COMMIT is not in READ COMMITTED. The connection is reset then;
with `silent=True` it stays open and dumb instead. The threads share the test's process: whoever asks the server without
giving up the GIL (libpq's own PQgetResult) waits for ever. None of them holds a lock while it waits for a peer.
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from sqlalchemy import make_url

from tests.support.waiting import LIMIT_SECONDS

Address = tuple[str, int] | str
"""Host and port, or the path of a Unix socket."""

_CHUNK = 65_536
_HEADER = 5
_NO_ENCRYPTION = {80877103, 80877104}
"""SSLRequest and GSSENCRequest: answered with N here, or nothing could be read."""
_CANCEL = 80877102


class Cut:
    """One thing that shall happen at a moment; made by `Proxy.lose_answer` and `Proxy.lose_request`."""

    def __init__(self, statement: bytes, *, within: bytes, before: bool, silent: bool) -> None:
        self._statement = _words(statement)
        self._within = _words(within)
        self.before = before
        self.silent = silent
        self.statements: list[bytes] = []
        """Those of the transaction that was cut, in order, in lower case."""
        self._happened = threading.Event()

    @property
    def happened(self) -> bool:
        """Whether it has."""
        return self._happened.is_set()

    def wait(self, *, seconds: float = LIMIT_SECONDS) -> None:
        """Until it has happened; fails after the limit."""
        assert self._happened.wait(seconds), f"nothing was cut at {self._statement.pattern!r} within {seconds:g} s"

    def fits(self, statement: bytes, transaction: list[bytes]) -> bool:
        """Whether this is the moment."""
        return bool(self._statement.search(statement)) and any(map(self._within.search, transaction))

    def happen(self, transaction: list[bytes]) -> None:
        """Called by the connection."""
        self.statements = list(transaction)
        self._happened.set()


class Proxy:
    """Listens on a loopback port of its own as soon as it is made; `close` it, or use it as a context."""

    def __init__(self, server: Address) -> None:
        self._server = server
        self._reserved = _bound(0)
        self.port: int = self._reserved.getsockname()[1]
        self._changed = threading.Condition()
        self._silent = False
        self._closed = False
        self._listener: socket.socket | None = None
        self._connections: set[_Connection] = set()
        self._cuts: list[Cut] = []
        self.accepted = 0
        """How many connections have been made through it."""
        self._listen()

    def url(self, url: str) -> str:
        """The same database by way of this proxy; a host given in the query goes."""
        made = make_url(url)
        kept = {name: value for name, value in made.query.items() if name not in {"host", "port"}}
        return made.set(host="127.0.0.1", port=self.port, query=kept).render_as_string(hide_password=False)

    @property
    def open_connections(self) -> int:
        """How many there are now."""
        with self._changed:
            return len(self._connections)

    def cut(self) -> None:
        """Silence, in both directions, until `resume`."""
        with self._changed:
            self._silent = True

    def refuse(self) -> None:
        """Reset all connections and refuse new ones, until `resume`."""
        with self._changed:
            listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.drop()

    def resume(self) -> None:
        """Everything passes again."""
        if self._listener is None:
            self._listen()
        with self._changed:
            self._silent = False
            self._changed.notify_all()

    def drop(self) -> None:
        """Reset all connections that there are."""
        with self._changed:
            dropped = list(self._connections)
        for connection in dropped:
            connection.reset()

    def lose_answer(self, statement: bytes, *, within: bytes = b"", silent: bool = False) -> Cut:
        """The next such statement is done by the server (its whole answer has come), and nobody hears of it."""
        return self._wait_for(Cut(statement, within=within, before=False, silent=silent))

    def lose_request(self, statement: bytes, *, within: bytes = b"", silent: bool = False) -> Cut:
        """The next such statement never reaches the server."""
        return self._wait_for(Cut(statement, within=within, before=True, silent=silent))

    def close(self) -> None:
        """Reset everything and give the port back."""
        with self._changed:
            self._closed = True
        self.refuse()
        with self._changed:
            self._silent = False
            self._changed.notify_all()
        self._reserved.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # for the connections

    def pass_gate(self) -> None:
        """Return when something may pass."""
        with self._changed:
            self._changed.wait_for(lambda: not self._silent)

    def fitting_cut(self, statement: bytes, transaction: list[bytes]) -> Cut | None:
        """The cut whose moment this is; it is used up with that."""
        with self._changed:
            for cut in self._cuts:
                if cut.fits(statement, transaction):
                    self._cuts.remove(cut)
                    return cut
        return None

    def forget(self, connection: _Connection) -> None:
        """It has ended."""
        with self._changed:
            self._connections.discard(connection)

    def _wait_for(self, cut: Cut) -> Cut:
        with self._changed:
            self._cuts.append(cut)
        return cut

    def _listen(self) -> None:
        listener = _bound(self.port)
        listener.listen(128)
        with self._changed:
            self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), name="proxy", daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _address = listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(client,), name="proxy-connection", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self.pass_gate()
        try:
            server = _connected(self._server)
        except OSError:
            _reset(client)
            return
        connection = _Connection(self, client, server)
        with self._changed:
            self.accepted += 1
            self._connections.add(connection)
            late = self._closed or self._listener is None
        if late:
            connection.reset()
        connection.run()


class _Connection:
    """A client's connection and ours to the server, with a thread for each direction."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._statements = _Statements()
        self._lock = threading.Lock()
        self._owed = 0
        """ReadyForQuery that the server has still to send."""
        self._cut: Cut | None = None
        self._heard_until = 0
        """With a cut: how many of these the client still hears."""

    def run(self) -> None:
        """Until one of both sides ends it, or the proxy does."""
        backward = threading.Thread(target=self._guarded, args=(self._backward,), name="proxy-answers", daemon=True)
        backward.start()
        self._guarded(self._forward)
        backward.join()
        self._client.close()
        self._server.close()
        self._proxy.forget(self)

    def reset(self) -> None:
        """As when the network says that nobody is there."""
        for side in (self._client, self._server):
            with contextlib.suppress(OSError):
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def _guarded(self, pump: Callable[[], None]) -> None:
        with contextlib.suppress(OSError, EOFError):
            pump()
        self.reset()

    def _forward(self) -> None:
        self._start()
        while True:
            message = _message(self._client)
            if self._goes_on(message):
                self._proxy.pass_gate()
                self._server.sendall(message)
            elif self._cut is not None and not self._cut.silent:
                return

    def _start(self) -> None:
        """Startup messages have no type."""
        while True:
            size = _exactly(self._client, 4)
            rest = _exactly(self._client, struct.unpack("!i", size)[0] - 4)
            self._proxy.pass_gate()
            code = struct.unpack("!i", rest[:4])[0]
            if code in _NO_ENCRYPTION:
                self._client.sendall(b"N")
                continue
            self._server.sendall(size + rest)
            if code == _CANCEL:
                raise EOFError
            return

    def _goes_on(self, message: bytes) -> bool:
        """Whether the server shall hear it."""
        with self._lock:
            statement = self._statements.begun_by(message)
            if self._cut is None and statement is not None:
                self._cut = self._proxy.fitting_cut(statement, self._statements.transaction)
                self._heard_until = self._owed
                if self._cut is not None and self._cut.before:
                    self._cut.happen(self._statements.transaction)
            if self._cut is not None and self._cut.happened:
                return False
            self._owed += message[:1] in {b"Q", b"S"}
        return True

    def _backward(self) -> None:
        while True:
            message = _message(self._server)
            self._proxy.pass_gate()
            if self._is_heard(message):
                self._client.sendall(message)
            elif self._cut is not None and self._cut.happened and not self._cut.silent:
                return

    def _is_heard(self, message: bytes) -> bool:
        """Whether the client shall hear it; the end of the answer that is to be lost makes the cut."""
        with self._lock:
            ready = message[:1] == b"Z" and self._owed > 0
            self._owed -= ready
            if self._cut is not None and not self._heard_until:
                if ready and not self._cut.happened:
                    self._cut.happen(self._statements.transaction)
                return False
            if self._cut is not None:
                self._heard_until -= ready
            elif ready and message[_HEADER:] == b"I":
                self._statements.transaction.clear()
        return True


class _Statements:
    """What a client has asked for, as far as statements go."""

    def __init__(self) -> None:
        self._prepared: dict[bytes, bytes] = {}
        self._portals: dict[bytes, bytes] = {}
        self.transaction: list[bytes] = []
        """Since the server was last idle."""

    def begun_by(self, message: bytes) -> bytes | None:
        """The statement that this message runs, in lower case; None if it runs none."""
        kind, body = message[:1], message[_HEADER:]
        if kind == b"P":
            name, text = body.split(b"\0", 2)[:2]
            self._prepared[name] = text.lower()
        elif kind == b"B":
            portal, name = body.split(b"\0", 2)[:2]
            self._portals[portal] = self._prepared.get(name, b"")
        elif kind == b"E":
            return self._note(self._portals.get(body.split(b"\0", 1)[0], b""))
        elif kind == b"Q":
            return self._note(body.rstrip(b"\0").lower())
        return None

    def _note(self, statement: bytes) -> bytes:
        self.transaction.append(statement)
        return statement


def _words(wanted: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"(?<!\w)" + re.escape(wanted.lower()) + rb"(?!\w)")


def _message(source: socket.socket) -> bytes:
    header = _exactly(source, _HEADER)
    return header + _exactly(source, struct.unpack("!i", header[1:])[0] - 4)


def _exactly(source: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = source.recv(min(_CHUNK, size - len(parts)))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


def _bound(port: int) -> socket.socket:
    """Two may be bound to a port of ours: one only holds it while nobody listens."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind(("127.0.0.1", port))
    return made


def _connected(server: Address) -> socket.socket:
    if isinstance(server, str):
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.connect(server)
        except OSError:
            made.close()
            raise
        return made
    return socket.create_connection(server)


def _reset(side: socket.socket) -> None:
    side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    side.close()
