"""The bytes between the processes: frames, messages, the shared page."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobwarden.errors import FrameError
from jobwarden.supervisor import keeper
from jobwarden.wire import messages, page
from jobwarden.wire.frames import FrameReader, frame

DONE = messages.Done(1, 2, 3, 4, 5, 6, marked=True, output="[1]", failure=None, left_behind=["a (1)"], retire=True)


@settings(max_examples=100, deadline=None, database=None, derandomize=True)
@given(st.lists(st.binary(max_size=50), max_size=8), st.lists(st.integers(0, 500), max_size=8))
def test_messages_come_out_of_a_stream_as_they_went_in_however_it_is_cut(sent: list[bytes], cuts: list[int]) -> None:
    """A stream socket keeps no borders; the frames do."""
    stream = b"".join(frame(message) for message in sent)
    reader, received, at = FrameReader(), list[bytes](), 0
    for cut in [*sorted(cuts), len(stream)]:
        received += reader.feed(stream[at:cut])
        at = max(at, cut)
    assert received == sent
    assert reader.pending == 0


def test_half_a_message_is_pending() -> None:
    """At the end of a stream it means that its writer died writing."""
    reader = FrameReader()
    assert reader.feed(frame(b"abc")[:-1]) == []
    assert reader.pending == 6


def test_an_impossible_length_is_garbage_and_not_a_message_of_that_size() -> None:
    """P5: a worker that writes anything on its socket does not make the supervisor wait for 4 GB."""
    with pytest.raises(FrameError, match="claims 4294967295 bytes"):
        FrameReader().feed(b"\xff\xff\xff\xff")
    assert FrameReader(largest=3).feed(frame(b"abc")) == [b"abc"]


@pytest.mark.parametrize(
    ("message", "decode"),
    [
        (messages.Fork(1, "n"), messages.decode_to_template),
        (messages.Forked(1, 2), messages.decode_from_template),
        (messages.ForkFailed(1, "e"), messages.decode_from_template),
        (messages.Loaded(1, "h", [], [], []), messages.decode_from_template),
        (messages.Run(1, 2, "t", "null", 1, 3, None, heartbeat_timeout_ms=5), messages.decode_to_worker),
        (messages.Answer(3, None, "no", "UnknownJobError"), messages.decode_to_worker),
        (messages.Stop(1, 2, "timeout"), messages.decode_talk),
        (messages.Prolonged(1, 2, granted=True), messages.decode_talk),
        (messages.Prolong(1, 2, None), messages.decode_prolong),
        (messages.Heartbeat(2), messages.decode_from_worker),
        (messages.Ask(2, 3, "get_job", "{}"), messages.decode_from_worker),
        (messages.Hello(1, 2), messages.decode_from_worker),
        (messages.Progress(2, 50.0), messages.decode_from_worker),
        (DONE, messages.decode_from_worker),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, msgspec.Struct) else "",
)
def test_each_message_survives_the_wire(message: msgspec.Struct, decode: object) -> None:
    """Encoded and decoded by the other side's decoder it is the same."""
    assert decode(messages.encode(message)) == message  # type: ignore[operator]


@pytest.mark.parametrize("garbage", [b"", b"\x00", b"\xff" * 20, messages.encode([1, 2]), messages.encode(["Done", 1])])
def test_what_is_no_message_is_refused(garbage: bytes) -> None:
    """A ValueError, which the reader of the socket expects; nothing half decoded gets through."""
    with pytest.raises(ValueError, match=r".*"):
        messages.decode_from_worker(garbage)


@pytest.mark.parametrize(
    "message",
    [
        messages.Progress(2, float("nan")),
        messages.Progress(2, -1.0),
        messages.Prolong(1, 2, 0),
        messages.Prolong(1, 2, 2**63),
        msgspec.structs.replace(DONE, peak_rss_kb=2**64 - 1),
        msgspec.structs.replace(DONE, cpu_us=-1),
        msgspec.structs.replace(DONE, started_ns=-(2**63)),
        msgspec.structs.replace(DONE, failure=messages.Failure("handler_error", "x", float("nan"))),
    ],
)
def test_numbers_that_nobody_could_store_or_read_back_are_no_message(message: msgspec.Struct) -> None:
    """A hostile handler's own costs only its worker; one such row would make a job unreadable for every client."""
    decode = messages.decode_prolong if isinstance(message, messages.Prolong) else messages.decode_from_worker
    with pytest.raises(msgspec.ValidationError):
        decode(messages.encode(message))


@pytest.mark.parametrize(
    "claim",
    [
        {"job_type": "a\0b"},
        {"job_type": "x" * 256},
        {"job_type": "any", "retry_delay": float("nan")},
        {"job_type": "any", "timeout_ms": 2**63},
        {"job_type": "any", "max_attempts": 0},
    ],
)
def test_what_no_store_can_compare_jobs_with_is_no_claim_of_a_template(claim: dict[str, Any]) -> None:
    """The claims of all pools go to one store: what it refuses from one of them would hold up the others."""
    handlers = [messages.HandlerInfo(file="any.py", **claim)]
    loaded = messages.Loaded(generation=1, content_hash="", handlers=handlers, problems=[], threads=[])
    with pytest.raises(msgspec.ValidationError):
        messages.decode_from_template(messages.encode(loaded))


def test_a_message_of_the_wrong_direction_is_refused() -> None:
    """A worker that sends Run is broken."""
    with pytest.raises(msgspec.ValidationError):
        messages.decode_from_worker(messages.encode(messages.Run(1, 2, "t", "null", 1, 3, None)))


def test_a_sealed_page_is_written_by_those_who_have_mapped_it_and_by_nobody_else() -> None:
    """A handler of the daemon's own user, or root's, cannot lengthen the trust that keeps its worker alive."""
    descriptor = os.memfd_create("page", os.MFD_ALLOW_SEALING)
    os.truncate(descriptor, page.PAGE_BYTES)
    writable = page.SharedPage(descriptor, writable=True)
    page.seal(descriptor)
    again = os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR)
    try:
        for each in (descriptor, again):
            attempts: list[Callable[[int], object]] = [_map_for_writing, _write, _cut]
            for attempt in attempts:
                with pytest.raises(PermissionError):
                    attempt(each)
        view = page.SharedPage(again)
    finally:
        os.close(descriptor)
        os.close(again)
    writable[page.TRUSTED_UNTIL] = 7
    assert view[page.TRUSTED_UNTIL] == 7


def _map_for_writing(descriptor: int) -> object:
    return page.SharedPage(descriptor, writable=True)


def _write(descriptor: int) -> object:
    return os.pwrite(descriptor, bytes(8), 0)


def _cut(descriptor: int) -> None:
    os.ftruncate(descriptor, 0)


def test_the_keeper_repeats_the_layout_of_the_page() -> None:
    """It cannot import the package, so the words are written twice; here they are compared."""
    names = ("PAGE_BYTES", "TRUSTED_UNTIL", "ALIVE", "SWEEP_BEGAN", "SWEEP_ENDED", "STOPPING")
    assert [getattr(keeper, name) for name in names] == [getattr(page, name) for name in names]


def test_what_is_written_on_the_page_is_seen_by_all_and_written_by_one_side() -> None:
    """A read-only view reads the other's words and cannot write."""
    descriptor = os.memfd_create("page")
    try:
        os.truncate(descriptor, page.PAGE_BYTES)
        writable, view = page.SharedPage(descriptor, writable=True), page.SharedPage(descriptor)
    finally:
        os.close(descriptor)
    writable[page.TRUSTED_UNTIL] = 2**62
    assert [view[word] for word in range(5)] == [2**62, 0, 0, 0, 0]
    with pytest.raises(TypeError):
        view[page.ALIVE] = 1
