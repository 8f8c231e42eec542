"""The server that the demo's webhooks go to: loopback only, answers as planned, checks each signature."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

SIGNATURE_HEADER = "X-Jobwarden-Signature"
_MOST_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Post:
    """One request as it came in."""

    path: str
    answered: int
    signed: bool
    """Whether its signature is that of its body, under the shared secret."""


class Receiver:
    """A context manager; it listens while it is entered."""

    def __init__(self) -> None:
        """Bind a free port of the loopback interface and draw a secret."""
        self.secret = secrets.token_hex(16)
        self.posts: list[Post] = []
        self._planned: dict[str, list[int]] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="receiver")

    def plan(self, answers: Mapping[str, tuple[int, ...]]) -> None:
        """Set the statuses that each path gives, request by request; 500 after the last one."""
        self._planned = {path: list(statuses) for path, statuses in answers.items()}

    def url(self, path: str) -> str:
        """The address of a path."""
        return f"http://127.0.0.1:{self._server.server_port}{path}"

    def posts_to(self, path: str) -> list[Post]:
        """What came in at a path, oldest first."""
        return [post for post in self.posts if post.path == path]

    def take(self, path: str, *, body: bytes, signature: str) -> int:
        """Note one request and give the status to answer it with. Called by the server's threads."""
        expected = "sha256=" + hmac.new(self.secret.encode(), body, hashlib.sha256).hexdigest()
        with self._lock:
            left = self._planned.get(path)
            status = left.pop(0) if left else 500
            self.posts.append(Post(path, status, hmac.compare_digest(expected, signature)))
        return status

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler_for(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = min(int(self.headers.get("Content-Length", "0")), _MOST_BYTES)
            signature = self.headers.get(SIGNATURE_HEADER, "")
            status = receiver.take(self.path, body=self.rfile.read(length), signature=signature)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that http.server gives
            """Stay silent: the demo tells what came in."""

    return Handler
