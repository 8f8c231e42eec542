"""`deliver_webhook`: POST a JSON body to a URL, signed, and retried only where that can help.

    jobwarden add deliver_webhook '{"url": "https://example.org/hook", "body": {"paid": true}, "secret": "…"}'

With a secret, the receiver finds `X-Jobwarden-Signature: sha256=…`, the HMAC-SHA256 of the body's bytes. It may get
the same delivery twice (a job runs at least once); `X-Jobwarden-Job-Id` tells it so.

| answer | what happens |
|---|---|
| 2xx | done |
| 408, 425, 429, 5xx, no connection, no answer in time | retried; `Retry-After` is honoured, else the job's own delay |
| anything else, redirects included | fails for good |
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import re
import urllib.error
import urllib.request
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, JsonValue, SecretStr, field_validator

from jobwarden import FailPermanently, JobContext, RetryLater, handler

if TYPE_CHECKING:
    from email.message import Message

RETRIED = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
LARGEST_ANSWER_BYTES = 16_384
LONGEST_RETRY_AFTER_SECONDS = 86_400.0

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


class Delivery(BaseModel):
    """The payload."""

    model_config = ConfigDict(extra="forbid")

    url: str
    body: JsonValue
    secret: SecretStr | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    timeout_seconds: float = Field(default=10, gt=0, le=300)
    """For each step of the exchange; the job's `timeoutMs` limits the whole."""

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            message = "must begin with http:// or https:// and name a host"
            raise ValueError(message)
        if "@" in parts.netloc:
            message = "must not hold a name or a password; send them as a header"
            raise ValueError(message)
        if not url.isascii() or not url.isprintable() or " " in url:
            message = "has characters that no URL may have; percent-encode them"
            raise ValueError(message)
        _ = parts.port  # raises ValueError for what is no port
        return url


class NotDelivered(Exception):  # noqa: N818 - named like the sentence that it makes
    """This attempt failed; the job's own retry rules decide about the next."""


@handler("deliver_webhook", timeout_ms=60_000, max_attempts=8, retry_delay=5)
def deliver_webhook(payload: Delivery, ctx: JobContext) -> dict[str, object]:
    """Give the answer's status, and the beginning of its body as text."""
    host = urlsplit(payload.url).hostname
    try:
        with _OPENER.open(_request(payload, ctx), timeout=payload.timeout_seconds) as response:
            answer = response.read(LARGEST_ANSWER_BYTES)
            status = response.status
    except urllib.error.HTTPError as error:
        with error:
            _judge(f"{host} answered {error.code} {error.reason}", error.code, error.headers)
        raise
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        problem = f"{host} could not be reached: {reason or type(reason).__name__}"
        raise NotDelivered(problem) from None
    return {"status": status, "body": answer.decode(errors="replace").replace("\0", "\ufffd")}


def _request(payload: Delivery, ctx: JobContext) -> urllib.request.Request:
    body = json.dumps(payload.body, separators=(",", ":"), ensure_ascii=False).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "jobwarden", **payload.headers}
    headers["X-Jobwarden-Job-Id"] = str(ctx.job_id)
    if payload.secret is not None:
        key = payload.secret.get_secret_value().encode()
        headers["X-Jobwarden-Signature"] = f"sha256={hmac.new(key, body, hashlib.sha256).hexdigest()}"
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not value.isprintable() or not value.isascii():
            problem = f"the header {name!r} has characters that no header may have"
            raise FailPermanently(problem)
    return urllib.request.Request(payload.url, data=body, headers=headers, method="POST")  # noqa: S310 - checked above


def _judge(sentence: str, status: int, headers: Message) -> None:
    """Raise what the answer means."""
    if status not in RETRIED and status < HTTPStatus.INTERNAL_SERVER_ERROR:
        raise FailPermanently(sentence)
    seconds = _retry_after_seconds(headers)
    if seconds is not None:
        raise RetryLater(min(seconds, LONGEST_RETRY_AFTER_SECONDS), sentence)
    raise NotDelivered(sentence)


def _retry_after_seconds(headers: Message) -> float | None:
    """`Retry-After` in either of its forms; a date is compared with the answer's own, not with our clock."""
    value = headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        wanted, sent = parsedate_to_datetime(value), parsedate_to_datetime(headers.get("Date", ""))
        return max(0.0, (wanted - sent).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """urllib would turn a redirected POST into a GET without a body."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """None: do not follow."""


_OPENER = urllib.request.build_opener(_NoRedirect)
