"""The log: its forms, its bound, and journald's own protocol against a real socket."""

from __future__ import annotations

import array
import contextlib
import io
import json
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from jobwarden import events
from jobwarden.clock import SECOND_NS, Clock
from jobwarden.settings import Settings
from jobwarden.supervisor.journal import Journal
from jobwarden.supervisor.log import JOURNAL_VARIABLE, LogLines, is_journal
from jobwarden.supervisor.log_forms import human_line, journal_record
from jobwarden.supervisor.log_stream import LogStream

NOON_US = 1_767_268_800_000_000
ENDED = events.AttemptEnded(job_id=17, job_type="digest", fence=3, outcome="TimedOut", error="it took\ntoo long")
PRINTED = events.JobPrinted(job_id=17, job_type="digest", fence=3, text="one\n\x1b[31mtwo\n")


class Hands(Clock):
    """A clock whose hands the test moves."""

    def __init__(self) -> None:
        self.ns = 0

    def now_us(self) -> int:
        """Noon, always."""
        return NOON_US

    def monotonic_ns(self) -> int:
        """What the test has set."""
        return self.ns


class Listening:
    """A journald that only takes."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "socket")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(30)

    def entry(self) -> dict[str, list[str]]:
        """The next record, read as journald does: from the datagram, or from the memfd that came with it."""
        data, rights, _flags, _from = self.socket.recvmsg(1 << 20, socket.CMSG_SPACE(4))
        for _level, _kind, raw in rights:
            (descriptor,) = array.array("i", raw)
            with os.fdopen(descriptor, "rb") as file:
                data = os.pread(file.fileno(), 1 << 24, 0)
        return parsed(data)


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[Listening]:
    made = Listening(tmp_path)
    yield made
    made.socket.close()


def parsed(data: bytes) -> dict[str, list[str]]:
    """The fields of one record."""
    found: dict[str, list[str]] = {}
    while data:
        line, data = data.split(b"\n", 1)
        name, equals, value = line.partition(b"=")
        if not equals:
            (length,) = struct.unpack_from("<Q", data)
            value, data = data[8 : 8 + length], data[8 + length + 1 :]
        found.setdefault(name.decode(), []).append(value.decode())
    return found


def test_the_journal_gets_a_field_for_each_value() -> None:
    """`journalctl JOB_ID=17 JOBWARDEN_EVENT=attempt_ended` finds it; a value of several lines stays one value."""
    assert parsed(journal_record(ENDED, "warning", NOON_US)) == {
        "MESSAGE": ["attempt_ended job_id=17 job_type=digest fence=3 outcome=TimedOut error=it took\\ntoo long"],
        "PRIORITY": ["4"],
        "SYSLOG_IDENTIFIER": ["jobwarden"],
        "JOBWARDEN_EVENT": ["attempt_ended"],
        "JOB_ID": ["17"],
        "JOB_TYPE": ["digest"],
        "FENCE": ["3"],
        "OUTCOME": ["TimedOut"],
        "ERROR": ["it took\ntoo long"],
    }


def test_what_a_job_printed_is_the_message_and_lists_are_several_values() -> None:
    """So `journalctl` shows the text as it is, and each type can be looked for."""
    printed = parsed(journal_record(PRINTED, "info", NOON_US))
    assert (printed["MESSAGE"], printed["JOB_ID"], "TEXT" in printed) == (["one\n\x1b[31mtwo"], ["17"], False)
    served = events.GenerationServed(generation=1, content_hash="h", types=["a", "b"])
    assert parsed(journal_record(served, "info", NOON_US))["TYPES"] == ["a", "b"]


def test_no_fact_takes_a_field_that_means_something_to_journald() -> None:
    """systemd.journal-fields(7); a fact named so would forge the unit, the time or the importance of its own record."""
    taken = {"MESSAGE", "MESSAGE_ID", "PRIORITY", "SYSLOG_IDENTIFIER", "UNIT", "USER_UNIT", "ERRNO", "OBJECT_PID"}
    facts = [each for each in vars(events).values() if isinstance(each, type) and issubclass(each, events.Fact)]
    names = {field.name.upper() for each in facts for field in msgspec.structs.fields(each)}
    assert len(facts) > 15
    assert names & taken == set()
    assert [name for name in names if name.startswith(("_", "COREDUMP_")) or len(name) > 64] == []


def test_a_record_reaches_the_journal_however_large_it_is(journald: Listening, tmp_path: Path) -> None:
    """What no datagram holds goes as a sealed memfd; where there is no journald the line is written instead."""
    journal = Journal(journald.path)
    assert journal.send(journal_record(ENDED, "warning", NOON_US))
    assert journald.entry()["JOB_ID"] == ["17"]
    large = msgspec.structs.replace(PRINTED, text="x" * 900_000)
    assert journal.send(journal_record(large, "info", NOON_US))
    assert len(journald.entry()["MESSAGE"][0]) == 900_000
    journal.close()
    with contextlib.closing(Journal(str(tmp_path / "nobody"))) as nobody:
        assert not nobody.send(b"MESSAGE=a\n")


def test_the_log_goes_to_the_journal_and_to_standard_error_when_that_is_away(
    journald: Listening, tmp_path: Path
) -> None:
    """It may be gone for a moment: what it would have got is a line of JSON then."""
    file = (tmp_path / "stderr").open("w+")
    log = LogStream(file, journal=Journal(journald.path))
    lines = LogLines(Settings(log_format="journal"), clock=Hands(), stream=log)
    log.start()
    lines(ENDED)
    assert journald.entry()["OUTCOME"] == ["TimedOut"]
    journald.socket.close()
    lines(ENDED)
    log.finish(seconds=60)
    file.seek(0)
    (line,) = file.read().splitlines()
    assert json.loads(line)["job_id"] == 17
    file.close()


def test_the_journal_is_chosen_only_where_systemd_connected_standard_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`JOURNAL_STREAM` is inherited by everybody; whoever redirects the output of one wants it where he said."""
    with (tmp_path / "a").open("w") as ours, (tmp_path / "b").open("w") as other:
        found = os.fstat(ours.fileno())
        monkeypatch.setenv(JOURNAL_VARIABLE, f"{found.st_dev}:{found.st_ino}")
        assert is_journal(ours.fileno())
        assert not is_journal(other.fileno())
        assert not is_journal(-1)
    monkeypatch.delenv(JOURNAL_VARIABLE)
    assert not is_journal(0)


def test_people_see_no_control_characters_and_no_forged_lines() -> None:
    """A job's error and its output come from strangers: a terminal must not obey them."""
    assert human_line(ENDED, "warning", NOON_US) == (
        "12:00:00 warning attempt_ended job_id=17 job_type=digest fence=3 outcome=TimedOut error=it took\\ntoo long"
    )
    assert human_line(PRINTED, "info", NOON_US).split("\n") == [
        "12:00:00 info    job_printed job_id=17 job_type=digest fence=3",
        "    | one",
        "    | \\x1b[31mtwo",
    ]


def test_output_of_jobs_is_logged_only_if_wanted() -> None:
    """It is kept with the attempt in any case, and may be what nobody else should read."""
    assert [each["event"] for each in logged(PRINTED, ENDED)] == ["attempt_ended"]
    assert [each["event"] for each in logged(PRINTED, ENDED, log_job_output=True)] == ["job_printed", "attempt_ended"]


def logged(*facts: events.Fact, **settings: object) -> list[dict[str, object]]:
    """The lines that these facts make."""
    stream = io.StringIO()
    lines = LogLines(Settings(log_format="json", **settings), clock=Hands(), stream=stream)  # type: ignore[arg-type]
    for fact in facts:
        lines(fact)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_lines_about_jobs_are_bounded_and_those_about_the_daemon_are_not() -> None:
    """A burst of four seconds' worth passes; an alert behind a thousand failed jobs is still there."""
    alert = events.Alerted(text="the disk is full")
    found = [each["event"] for each in logged(*[ENDED] * 100, alert, log_lines_per_second=5)]
    assert found == ["attempt_ended"] * 20 + ["alerted"]
    assert len(logged(*[ENDED] * 100, log_lines_per_second=None)) == 100


def test_what_was_left_out_is_counted_and_told_when_there_is_room_again() -> None:
    """At most once a second; nothing is left out silently."""
    stream, clock = io.StringIO(), Hands()
    lines = LogLines(Settings(log_format="json", log_lines_per_second=1), clock=clock, stream=stream)
    for _ in range(10):
        lines(ENDED)
    clock.ns += 2 * SECOND_NS
    lines(ENDED)
    told = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [each["event"] for each in told] == ["attempt_ended"] * 4 + ["lines_left_out", "attempt_ended"]
    assert told[4] == {"at": "2026-01-01T12:00:00Z", "level": "warning", "event": "lines_left_out", "number": 6}


def test_what_was_left_out_is_told_although_nothing_more_is_said(tmp_path: Path) -> None:
    """By the log's own thread, when it has been silent for a while, and at the end."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as reader, os.fdopen(writing, "w") as writer:
        log = LogStream(writer, journal=Journal(str(tmp_path / "nobody")))
        lines = LogLines(Settings(log_format="json", log_lines_per_second=1), clock=Hands(), stream=log)
        log.start()
        for _ in range(6):
            lines(ENDED)
        told = [json.loads(reader.readline()) for _ in range(5)]
        assert (told[4]["event"], told[4]["number"]) == ("lines_left_out", 2)
        lines(ENDED)
        log.finish(seconds=60)
        assert json.loads(reader.readline())["number"] == 1
