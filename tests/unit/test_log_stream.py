"""The log's way out: whoever logs never waits for whoever reads."""

from __future__ import annotations

import os

from jobwarden.supervisor.log_stream import MOST_WAITING, LogStream

LINE = "x" * 99 + "\n"


def test_a_log_that_nobody_reads_holds_nobody_up() -> None:
    """Far more than a pipe and the queue hold is written at once; its reader hears later how much it missed."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as reader, os.fdopen(writing, "w") as writer:
        log = LogStream(writer)
        log.start()
        for _ in range(2 * MOST_WAITING):
            log.write(LINE)  # the pipe is full after 655 lines: this would never return
        while (line := reader.readline()) == LINE:
            pass
        assert line.startswith("jobwarden: ")
        assert line.endswith("lines of the log were dropped, nobody read them\n")
        log.write("end\n")
        while reader.readline() != "end\n":
            pass
        log.finish(seconds=60)


def test_what_waits_is_written_before_the_end() -> None:
    """The last lines say why it ends."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as reader, os.fdopen(writing, "w") as writer:
        log = LogStream(writer)
        log.write("first\n")
        log.write("last\n")
        log.start()
        log.finish(seconds=60)
        assert [reader.readline(), reader.readline()] == ["first\n", "last\n"]
