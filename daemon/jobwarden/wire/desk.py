"""What people ask of the running daemon at its desk, a socket in its state directory, and what it answers.

One request and one answer on each connection, framed like all else. No database is between them, so it works while that
is away. `supervisor.desk` answers; `cli.desk` asks.
"""

from __future__ import annotations

import msgspec

from jobwarden.wire.messages import HandlerInfo

SOCKET_NAME = "desk.sock"
"""In the state directory; only the daemon's own user and root may write to it."""


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    pass


class Reload(_Message, frozen=True):
    """Do what SIGHUP does and answer when it is known what came of it.

    With a pool named: load only its handlers again, and leave the configuration.
    """

    pool: str | None = None


class TryOut(_Message, frozen=True):
    """Import the handlers in a template that never serves, and say what a reload would change."""

    pool: str | None = None


class PoolAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one pool, or would become of it."""

    name: str
    handlers: str
    """The directory."""
    generation: int | None
    """The one that serves; None: none."""
    before: list[HandlerInfo]
    """What was served when the request came."""
    found: list[HandlerInfo]
    """What is served now; of a trial, what was loaded."""
    problems: list[str]
    """One sentence each. With any, the new code is not served (at a cold start: the files that are named are not)."""
    tried: int | None = None
    """The generation that was loaded for this request; None for a trial, which has no number."""


class Answer(_Message, frozen=True):
    """The answer to every request."""

    pools: list[PoolAnswer] = []
    refused: str | None = None
    """Why nothing was done at all."""
    configuration: list[str] = []
    """What is wrong with the configuration: it stays as it was."""
    notes: list[str] = []
    """What else is worth a line: an option that takes effect with a restart only."""


Request = Reload | TryOut

encode = msgspec.msgpack.Encoder().encode
"""Any of these as bytes, without a frame."""
decode_request = msgspec.msgpack.Decoder(Request).decode
decode_answer = msgspec.msgpack.Decoder(Answer).decode
