"""Every message between supervisor, template and worker. Frozen, tagged, checked when decoded.

Payloads and outputs travel as raw JSON text: checked where they are made, not parsed on the way.
Times are CLOCK_MONOTONIC nanoseconds, which all processes of one machine share.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

WIRE_VERSION = 2

# What a handler's own process writes may be anything: numbers that no store or clock can hold are no messages.
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_Stamp = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
_Time = Annotated[int, msgspec.Meta(ge=1, le=2**40)]
_Number = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"\A[^\0]*\Z")]


class _Message(msgspec.Struct, frozen=True, array_like=True, tag=True):
    pass


# supervisor -> template, on the template's control stream


class Fork(_Message, frozen=True):
    """Fork a worker for this slot; the descriptors of `FORK_DESCRIPTORS` come with it (SCM_RIGHTS)."""

    slot: int
    nonce: str
    """Goes into the end marks that the worker writes into its capture pipe."""


FORK_DESCRIPTORS = ("control", "queue", "talk", "capture", "dump", "latch")
"""The worker's ends, in this order: control stream, job queue and deadline talk (SEQPACKET), the write end of the
capture pipe, the memfd for stack dumps, a pipe at whose end of file the worker may go on."""


# template -> supervisor, on the template's control stream


class HandlerInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One job type that the generation serves."""

    job_type: _Name
    file: str
    """Relative to the handlers directory."""
    timeout_ms: _Time | None = None
    max_attempts: _Number | None = None
    retry_delay: Annotated[float, msgspec.Meta(ge=0, le=2**31)] | None = None
    heartbeat_timeout_ms: _Time | None = None
    max_concurrency: _Number | None = None
    """How many jobs of this type one node runs at once."""
    schema: str | None = None
    """JSON Schema of the payload as JSON text, where it is typed."""
    secret: Annotated[tuple[_Name, ...], msgspec.Meta(max_length=200)] = ()
    """Names of payload fields that people are not shown."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Why one handler file cannot be served: shown in `check`, the log and `status`."""

    file: str
    line: int | None
    error: str
    way_out: str = ""


class Began(_Message, frozen=True):
    """Sent once: the code was read from the disk, or from the memory of an earlier template, and is imported now."""

    content_hash: str


class Importing(_Message, frozen=True):
    """This file's own code begins to run: whatever happens to the template next is its doing."""

    file: str


class Loaded(_Message, frozen=True):
    """Sent once: the generation was read and imported. With no handlers at all it is useless but not broken."""

    generation: int
    content_hash: str
    handlers: list[HandlerInfo]
    problems: list[Problem]
    threads: list[str]
    """Python threads that handler modules started at import; with any, this template does not fork."""
    wire_version: int = WIRE_VERSION
    threads_of: str | None = None
    """The first file that started one."""
    starts: bool = False
    """There are functions with `on_worker_start`."""


class Unfit(_Message, frozen=True):
    """Instead of Loaded, from what should have become a template: its user or its interpreter is not fit for that.

    `supervisor.runas` and `supervisor.entrance` write it by hand: they cannot import this.
    """

    kind: str
    """`identity`, `interpreter` (it cannot be executed), `python` (too old), `missing` or `broken` (its jobwarden), or
    `version` (its jobwarden has another WIRE_VERSION)."""
    detail: str
    """What the system said, or the other version."""


class Forked(_Message, frozen=True):
    """The worker lives and is the supervisor's child; its pidfd comes with this message."""

    slot: int
    pid: int


class ForkFailed(_Message, frozen=True):
    """No worker was born for this slot."""

    slot: int
    error: str


HOOKS_FENCE = 0
"""Stands in the end mark of what `on_worker_start` printed; attempts count from 1."""


# supervisor -> worker


class Run(_Message, frozen=True):
    """Run this job. On the queue, one message per job; over `LARGEST_QUEUED` bytes on the control stream."""

    job_id: int
    fence: int
    job_type: str
    payload: str
    attempt: int
    max_attempts: int
    timeout_ms: int | None
    force_kill_on_timeout: bool = False
    heartbeat_timeout_ms: int | None = None


class Answer(_Message, frozen=True):
    """On the control stream: the answer to the `Ask` with this number, after its commit."""

    number: int
    value: str | None
    """Raw JSON text; with an error, an object of what the error carries."""
    error: str | None = None
    """One sentence."""
    error_kind: str = ""
    """The class of the error in `jobwarden.errors`, for the worker to raise the same."""


class Retire(_Message, frozen=True):
    """On the control stream of an idle worker that takes leave: it is not needed any more, and ends by itself."""


LARGEST_QUEUED = 65_536
LARGEST_ASKED = 16 * 1024 * 1024
"""Bytes of one `Ask`, and of one `Answer`."""
MOST_ASKED = 8
"""Questions that one worker has under way at once; its further threads wait, so that other workers get their turn."""


class Stop(_Message, frozen=True):
    """On the talk socket, before the soft signal: end this attempt. `why` is timeout, stalled or cancel."""

    job_id: int
    fence: int
    why: str


class Prolonged(_Message, frozen=True):
    """On the talk socket: the answer to `Prolong`, in their order. A granted one takes back an earlier `Stop`.

    Not granted: the attempt has ended, is being killed, or is to end for another reason than its limit.
    """

    job_id: int
    fence: int
    granted: bool


# worker -> supervisor, on the talk socket


class Prolong(_Message, frozen=True):
    """The limit of the running attempt is to be `ms` from now; None is its own `timeoutMs` once more."""

    job_id: int
    fence: int
    ms: Annotated[int, msgspec.Meta(ge=1, le=2**40)] | None


# worker -> supervisor, on the control stream


class Hello(_Message, frozen=True):
    """The worker is ready for its first job."""

    slot: int
    pid: int
    wire_version: int = WIRE_VERSION
    marked: bool = False
    """`on_worker_start` may have printed: the end mark of HOOKS_FENCE stands in the capture pipe."""
    takes_leave: bool = False
    """There is an `on_worker_stop` to call: where there is time, `Retire` comes before the kill."""
    memory_kb: _Count = 0
    """What it and what its hooks started have in memory, most of it the template's; 0 where no bound asks for it."""
    processes: _Count = 1
    """Itself, and what its hooks have started."""


class Unready(_Message, frozen=True):
    """Instead of Hello: `on_worker_start` failed, so this is no worker. It ends by itself."""

    problem: Problem
    marked: bool
    """As in Hello."""


class Progress(_Message, frozen=True):
    """The running job reports its progress, 0 to 100."""

    fence: int
    percent: Annotated[float, msgspec.Meta(ge=0, le=100)]


class Heartbeat(_Message, frozen=True):
    """The running job says that it is alive; a progress says so too."""

    fence: int


class Ask(_Message, frozen=True):
    """The running job asks the store for something; answered by `Answer`."""

    fence: int
    number: int
    """Counts up in each worker."""
    verb: str
    arguments: str
    """Raw JSON text: an object of the verb's keyword arguments."""


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """Why a handler did not succeed. `kind` is one of the constants below."""

    kind: str
    message: str
    """One sentence for the error history; the traceback is in the captured output."""
    retry_after: Annotated[float, msgspec.Meta(ge=0)] | None = None
    """Seconds, from RetryLater."""


HANDLER_ERROR = "handler_error"
PERMANENT = "permanent"
INVALID_PAYLOAD = "invalid_payload"
NO_HANDLER = "no_handler"
TIMEOUT = "timeout"
CANCELLED = "cancelled"
MEMORY = "memory_limit"
"""A MemoryError under a memory limit."""


class Done(_Message, frozen=True):
    """The handler of this attempt has ended, one way or the other. Written in full before the next job is taken."""

    job_id: int
    fence: int
    started_ns: _Stamp
    ended_ns: _Stamp
    cpu_us: _Count
    peak_rss_kb: _Count
    marked: bool
    """An end mark with this fence was written into the capture pipe before this message."""
    output: str | None = None
    """Raw JSON text."""
    failure: Failure | None = None
    left_behind: list[str] = []
    """`name (pid)` of child processes that were still alive; the worker waits to be killed with them."""
    retire: bool = False
    """The worker must not run another job (it was stopped softly, ran out of memory, or left children behind)."""
    memory_kb: _Count = 0
    """As in Hello, after the job."""


FromWorker = Hello | Unready | Progress | Heartbeat | Ask | Done
FromTemplate = Began | Importing | Loaded | Unfit | Forked | ForkFailed
ToTemplate = Fork
ToWorker = Run | Answer | Retire
ToTalk = Stop | Prolonged

_encoder = msgspec.msgpack.Encoder()
encode = _encoder.encode
"""Any message as bytes, without a frame."""

decode_from_worker = msgspec.msgpack.Decoder(FromWorker).decode
decode_from_template = msgspec.msgpack.Decoder(FromTemplate).decode
decode_to_template = msgspec.msgpack.Decoder(ToTemplate).decode
decode_run = msgspec.msgpack.Decoder(Run).decode
decode_to_worker = msgspec.msgpack.Decoder(ToWorker).decode
decode_talk = msgspec.msgpack.Decoder(ToTalk).decode
decode_prolong = msgspec.msgpack.Decoder(Prolong).decode


def end_mark(nonce: str, fence: int) -> bytes:
    """What the worker writes into its capture pipe after the last byte of an attempt."""
    return b"\x00jobwarden:%s:%d\n" % (nonce.encode(), fence)
