"""`deliver_webhook` against a real HTTP server on loopback."""

from __future__ import annotations

import hashlib
import hmac
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pydantic import ValidationError

from handlers.deliver_webhook import LARGEST_ANSWER_BYTES, Delivery, NotDelivered, deliver_webhook
from jobwarden import FailPermanently, JobContext, RetryLater


@dataclass
class Receiver:
    """A server that answers what it is told and keeps what it gets."""

    port: int = 0
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    answer: bytes = b"ok"
    silent: bool = False
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def delivery(self, **fields: object) -> Delivery:
        values = {"url": f"http://127.0.0.1:{self.port}/hook", "body": {"ü": 1}, **fields}
        return Delivery.model_validate(values)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    told = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.requests.append((self.path, dict(self.headers), body))
            if told.silent:
                told.done.wait()
                return
            self.send_response(told.status)
            for name, value in told.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(told.answer)

        def date_time_string(self, timestamp: float | None = None) -> str:  # noqa: ARG002 - the parent's signature
            return "Sat, 01 Jan 2000 00:00:00 GMT"

        def log_message(self, *_: object) -> None:
            """Nothing: the test's output is for failures."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        told.port = server.server_port
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield told
        told.done.set()
        server.shutdown()
        thread.join()


def test_a_delivery_is_signed_and_names_its_job(receiver: Receiver) -> None:
    """The signature is the HMAC of exactly the bytes that were sent."""
    delivery = receiver.delivery(secret="key", headers={"X-Mine": "1"})
    assert deliver_webhook(delivery, JobContext(job_id=17)) == {"status": 200, "body": "ok"}
    ((path, headers, body),) = receiver.requests
    assert (path, body) == ("/hook", '{"ü":1}'.encode())
    signature = f"sha256={hmac.new(b'key', body, hashlib.sha256).hexdigest()}"
    got = {name.lower(): value for name, value in headers.items()}
    assert got["x-jobwarden-signature"] == signature
    assert (got["x-jobwarden-job-id"], got["x-mine"], got["content-type"]) == ("17", "1", "application/json")


def test_without_a_secret_nothing_is_signed(receiver: Receiver) -> None:
    """No key, no signature header."""
    deliver_webhook(receiver.delivery(), JobContext())
    assert "X-Jobwarden-Signature".lower() not in {name.lower() for name in receiver.requests[0][1]}


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_answers_that_may_change_are_retried(receiver: Receiver, status: int) -> None:
    """Without Retry-After the job's own delay applies; with it, what it says."""
    receiver.status = status
    with pytest.raises(NotDelivered, match=f"127.0.0.1 answered {status}"):
        deliver_webhook(receiver.delivery(), JobContext())
    receiver.headers = {"Retry-After": "7"}
    with pytest.raises(RetryLater, match=f"127.0.0.1 answered {status}") as caught:
        deliver_webhook(receiver.delivery(), JobContext())
    assert caught.value.after_seconds == 7


@pytest.mark.parametrize("status", [301, 307, 400, 401, 404, 410, 422])
def test_answers_that_will_not_change_fail_for_good(receiver: Receiver, status: int) -> None:
    """Also redirects: a POST is not sent to where somebody else points."""
    receiver.status = status
    receiver.headers = {"Location": f"http://127.0.0.1:{receiver.port}/elsewhere"}
    with pytest.raises(FailPermanently, match=str(status)):
        deliver_webhook(receiver.delivery(), JobContext())
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ("Sat, 01 Jan 2000 00:01:30 GMT", 90),
        ("Fri, 31 Dec 1999 00:00:00 GMT", 0),
        ("1" * 9, 86_400),
        ("1" * 400, 86_400),
    ],
)
def test_retry_after_may_be_a_date_and_is_bounded(receiver: Receiver, date: str, seconds: float) -> None:
    """A date counts from the answer's own date, so that no clock needs to be right; a day is the most."""
    receiver.status, receiver.headers = 503, {"Retry-After": date}
    with pytest.raises(RetryLater) as caught:
        deliver_webhook(receiver.delivery(), JobContext())
    assert caught.value.after_seconds == seconds


def test_a_retry_after_that_is_no_date_is_not_honoured(receiver: Receiver) -> None:
    """The job's own delay holds then, and the answer is still what is told."""
    receiver.status, receiver.headers = 503, {"Retry-After": f"Mon, 01 Jan {'9' * 14} 00:00:00 GMT"}
    with pytest.raises(NotDelivered, match="answered 503"):
        deliver_webhook(receiver.delivery(), JobContext())


def test_no_connection_and_no_answer_are_retried(receiver: Receiver) -> None:
    """A server that is away or silent may be there at the next attempt."""
    receiver.silent = True
    with pytest.raises(NotDelivered, match="timed out"):
        deliver_webhook(receiver.delivery(timeout_seconds=0.05), JobContext())
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        with pytest.raises(NotDelivered, match="could not be reached"):
            deliver_webhook(receiver.delivery(url=url), JobContext())


def test_the_answer_is_kept_within_bounds(receiver: Receiver) -> None:
    """A long or odd answer must not fail the job that was delivered."""
    receiver.answer = b"\0\xff" + b"x" * (2 * LARGEST_ANSWER_BYTES)
    body = deliver_webhook(receiver.delivery(), JobContext())["body"]
    assert isinstance(body, str)
    assert len(body) == LARGEST_ANSWER_BYTES
    assert "\0" not in body


@pytest.mark.parametrize("url", ["ftp://a/", "file:///etc/passwd", "http://", "a", ""])
def test_only_http_urls_are_payloads(url: str) -> None:
    """Anything else is refused as an invalid payload, before the handler runs."""
    with pytest.raises(ValidationError, match="must begin with http"):
        Delivery(url=url, body=1)


def test_a_header_that_would_split_the_request_fails_for_good(receiver: Receiver) -> None:
    """No line breaks in headers."""
    with pytest.raises(FailPermanently, match="X-Mine"):
        deliver_webhook(receiver.delivery(headers={"X-Mine": "a\r\nX-Other: b"}), JobContext())


@pytest.mark.parametrize("name", ["", "X Mine", "X-Mine:"])
def test_a_header_that_has_no_possible_name_fails_for_good(receiver: Receiver, name: str) -> None:
    """It would be as wrong at the next attempt."""
    with pytest.raises(FailPermanently, match="no header may have"):
        deliver_webhook(receiver.delivery(headers={name: "a"}), JobContext())


@pytest.mark.parametrize("place", ["me:s3cret@a/", "a:http/", "a:99999/", "a/b c", "a/ü", "a/\r\nX: y"])
def test_a_url_that_cannot_work_is_refused_at_once_and_its_password_not_told(place: str) -> None:
    """No attempt is spent on it; a password in it was shown in the error history."""
    with pytest.raises(ValidationError) as refusal:
        Delivery(url=f"https://{place}", body=1)
    assert "s3cret" not in str(refusal.value.errors(include_input=False, include_url=False, include_context=False))
