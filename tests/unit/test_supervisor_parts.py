"""Capture, mailbox, locks and log lines: the small acting parts, on pipes and files of the test's own."""

from __future__ import annotations

import fcntl
import io
import json
import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobwarden import events
from jobwarden.clock import SYSTEM_CLOCK, Clock, to_datetime, to_us
from jobwarden.errors import StateDirectoryTakenError
from jobwarden.settings import Settings
from jobwarden.store.life import hold_node
from jobwarden.supervisor.capture import Capture
from jobwarden.supervisor.inputs import Rang, TrustBack
from jobwarden.supervisor.locks import hold_state_directory
from jobwarden.supervisor.log import LogLines
from jobwarden.supervisor.mailbox import Mailbox
from jobwarden.wire.messages import end_mark

NONCE = "n0"


class Pipe:
    """A worker's capture pipe with the supervisor's end in a Capture."""

    def __init__(self) -> None:
        reading, self.writing = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(reading, False)
        self.capture = Capture(reading, nonce=NONCE, tail_bytes=100)

    def write(self, data: bytes) -> None:
        """As the worker."""
        os.write(self.writing, data)

    def close(self) -> None:
        """Both ends."""
        os.close(self.writing)
        os.close(self.capture.descriptor)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


def test_each_attempt_gets_its_own_text(pipe: Pipe) -> None:
    """R26: jobs follow each other without a pause; the end marks cut their texts apart, also with equal fences."""
    pipe.write(b"one\n" + end_mark(NONCE, 1) + b"two\n" + end_mark(NONCE, 1) + b"rest")
    assert [pipe.capture.cut(1), pipe.capture.cut(1), pipe.capture.rest()] == ["one\n", "two\n", "rest"]


def test_an_attempt_that_printed_nothing_has_no_text(pipe: Pipe) -> None:
    """Null, not an empty string."""
    pipe.write(end_mark(NONCE, 7))
    assert pipe.capture.cut(7) is None
    assert pipe.capture.rest() is None


def test_a_mark_with_another_nonce_is_text(pipe: Pipe) -> None:
    """User code cannot know the nonce, so it cannot forge the end."""
    pipe.write(b"a" + end_mark("other", 1) + b"b" + end_mark(NONCE, 1))
    text = pipe.capture.cut(1)
    assert text is not None
    assert text.startswith("a")
    assert text.endswith("b")
    assert "\0" not in text


def test_only_the_end_of_a_long_text_is_kept_and_the_rest_is_counted(pipe: Pipe) -> None:
    """A bounded tail, however much an attempt prints."""
    for _ in range(50):
        pipe.write(b"x" * 1_000)
        pipe.capture.read_some()
    pipe.write(b"the end" + end_mark(NONCE, 1))
    text = pipe.capture.cut(1)
    assert text == f"[{50_007 - 100} bytes before this were dropped]\n" + "x" * 93 + "the end"
    pipe.write(b"next" + end_mark(NONCE, 2))
    assert pipe.capture.cut(2) == "next"


def test_text_of_a_dead_worker_is_what_is_in_the_pipe(pipe: Pipe) -> None:
    """It wrote no mark any more; bytes that are no text do not hurt."""
    pipe.write(b"half a\xff\xc3")
    assert pipe.capture.rest() == "half a\ufffd\ufffd"
    assert pipe.capture.rest() is None


def test_the_mailbox_wakes_the_selector_and_keeps_the_order() -> None:
    """Many posts, one wake-up; taken empties it."""
    mailbox = Mailbox()
    try:
        assert mailbox.take() == []
        mailbox.post(Rang())
        mailbox.post(TrustBack())
        assert select.select([mailbox.descriptor], [], [], 0)[0]
        assert mailbox.take() == [Rang(), TrustBack()]
        assert not select.select([mailbox.descriptor], [], [], 0)[0]
    finally:
        os.close(mailbox.descriptor)


def test_a_state_directory_belongs_to_one_daemon(tmp_path: Path) -> None:
    """The second is told who has it; a free one is had at once, and only its owner may look inside."""
    place = tmp_path / "state"
    held = hold_state_directory(place, wait_seconds=0)
    try:
        assert place.stat().st_mode & 0o777 == 0o700
        with pytest.raises(StateDirectoryTakenError, match=f"process {os.getpid()}.*--state-dir"):
            hold_state_directory(place, wait_seconds=0)
    finally:
        os.close(held)
    os.close(hold_state_directory(place, wait_seconds=0))


def test_a_lock_is_held_until_its_last_holder_is_gone(tmp_path: Path) -> None:
    """R3: keeper and supervisor share the descriptor; one of them closing it frees nothing."""
    path = tmp_path / "node.lock"
    supervisors = hold_node(path, inheritable=True)
    assert os.get_inheritable(supervisors)
    keepers = os.dup(supervisors)
    os.close(supervisors)
    looking = os.open(path, os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(looking, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(keepers)
    fcntl.flock(looking, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(looking)


def log_of(*facts: events.Fact, **settings: str) -> list[str]:
    """The lines that these facts make."""
    stream = io.StringIO()
    lines = LogLines(Settings(**settings), clock=Noon(), stream=stream)  # type: ignore[arg-type]
    for fact in facts:
        lines(fact)
    return stream.getvalue().splitlines()


class Noon(Clock):
    """It is always noon."""

    def now_us(self) -> int:
        """Of one day."""
        return 1_767_268_800_000_000


def test_a_log_line_is_json_unless_a_person_reads_it() -> None:
    """One object per line, with time, level and the fact's own name and fields."""
    (line,) = log_of(events.Alerted(text="a\nb"), log_format="json")
    assert json.loads(line) == {
        "at": "2026-01-01T12:00:00Z",
        "level": "warning",
        "event": "alerted",
        "text": "a\nb",
        "pool": None,
    }
    (line,) = log_of(events.WorkerBorn(slot=1, pid=2, generation=3), log_format="human", log_level="debug")
    assert line == "12:00:00 debug   worker_born slot=1 pid=2 generation=3"


@pytest.mark.parametrize(("level", "lines"), [("debug", 3), ("info", 2), ("warning", 1), ("error", 0)])
def test_a_level_hides_what_is_below_it(level: str, lines: int) -> None:
    """The births of workers are details; what an operator must know is a warning."""
    facts = (
        events.WorkerBorn(slot=1, pid=2, generation=3),
        events.Leaving(signal="SIGTERM"),
        events.Alerted(text="a"),
    )
    assert len(log_of(*facts, log_level=level, log_format="json")) == lines


def test_a_closed_log_does_not_hurt_the_daemon() -> None:
    """P5: whoever reads the log may go away."""
    stream = io.StringIO()
    lines = LogLines(Settings(), clock=Noon(), stream=stream)
    stream.close()
    lines(events.Alerted(text="a"))
    assert stream.closed


def test_wall_time_survives_the_way_through_a_date_exactly() -> None:
    """Integers of microseconds, no float in between."""
    for us in (0, 1, 1_700_000_000_123_457, 253_402_300_799_999_999):
        assert to_us(to_datetime(us)) == us


def test_a_date_without_a_time_zone_is_refused() -> None:
    """Whose midnight?"""
    with pytest.raises(ValueError, match="time zone"):
        to_us(to_datetime(0).replace(tzinfo=None))


def test_the_clocks_do_not_go_back() -> None:
    """Monotonic, boot time and CPU time; nothing else may be assumed of them."""
    for read in (SYSTEM_CLOCK.monotonic_ns, SYSTEM_CLOCK.boottime_ns, SYSTEM_CLOCK.thread_ns):
        first = read()
        assert read() >= first
