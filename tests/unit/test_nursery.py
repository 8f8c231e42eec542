"""The registry of templates and workers, where the kernel refuses or a process is already gone."""

from __future__ import annotations

import errno
import os
import selectors
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobwarden.clock import SECOND_NS, SYSTEM_CLOCK
from jobwarden.jobs.claim import ClaimedJob
from jobwarden.settings.pool import PoolSettings
from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.census import Census
from jobwarden.supervisor.cgroup import Leaf, Leaves
from jobwarden.supervisor.channel import Channel
from jobwarden.supervisor.killer import Killer
from jobwarden.supervisor.launcher import Launcher, Template
from jobwarden.supervisor.mailbox import Mailbox
from jobwarden.supervisor.nursery import Nursery
from jobwarden.wire.frames import FrameReader, frame
from jobwarden.wire.messages import (
    HOOKS_FENCE,
    MOST_ASKED,
    Answer,
    Ask,
    Done,
    Forked,
    Prolong,
    Prolonged,
    decode_talk,
    decode_to_worker,
    encode,
    end_mark,
)
from jobwarden.wire.page import PAGE_BYTES, SharedPage
from tests.support.cgroups import delegated
from tests.support.waiting import eventually

JOB = ClaimedJob(1, 1, "any", "null", 1, 3, None, 0, 0.0, 0, None, 0, 0, 0)


class Ward:
    """A nursery of its own, and what it told."""

    def __init__(self, folder: Path, *, python: Path | None = None) -> None:
        self.facts: list[seen.Input] = []
        page = os.memfd_create("page", os.MFD_CLOEXEC)
        os.truncate(page, PAGE_BYTES)
        self.census = Census()
        pool = PoolSettings(handlers=folder, python=python)
        leaves = Leaves(None)
        state_dir = folder.parent / "state"
        launcher = Launcher(pool, state_dir=state_dir, node_id="n", page=page, census=self.census, leaves=leaves)
        killer = Killer(self.census, Mailbox(), clock=SYSTEM_CLOCK, stuck_ns=1)
        selector = self.selector = selectors.DefaultSelector()
        launchers = {pool.name: launcher}
        self.nursery = Nursery(launchers, killer, selector, page=SharedPage(page), feed=self.facts.append)


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    """A nursery without any process."""
    made = Ward(tmp_path / "handlers")
    yield made
    for slot in list(made.nursery.channels):
        made.nursery.forget(slot)
    made.selector.close()


def test_a_job_for_a_worker_that_was_reaped_is_not_sent(ward: Ward) -> None:
    """In one turn of the loop a claim may be answered before the death is told; the job must not be lost with it."""
    channel = ward.nursery.channels[1] = Channel(1, generation=1, tail_bytes=1)
    channel.reaped = True
    with pytest.raises(BlockingIOError):
        ward.nursery.send(1, JOB)
    assert channel.take_back() == ()


def test_what_hooks_printed_is_taken_once(ward: Ward) -> None:
    """A handler may write a second Hello: what its attempt has printed stays the attempt's."""
    channel = ward.nursery.channels[1] = Channel(1, generation=1, tail_bytes=100)
    capture = channel.worker_ends()[3]
    os.write(capture, b"connecting" + end_mark(channel.nonce, HOOKS_FENCE))
    channel.tell_hooks_at_start(marked=True)
    os.write(capture, b"of the job")
    channel.tell_hooks_at_start(marked=True)
    assert channel.last_words() == "of the job"


def channel_in(ward: Ward) -> Channel:
    """A worker's channel whose far ends the test has; no process is behind it."""
    channel = ward.nursery.channels[1] = Channel(1, generation=1, tail_bytes=1)
    return channel


def test_what_a_worker_wrote_before_it_asked_for_time_is_told_first(ward: Ward) -> None:
    """Its last job's end and the next one's prolong come over two sockets; out of order the pool would refuse it."""
    channel = channel_in(ward)
    control, queue, talk = (socket.socket(fileno=os.dup(each)) for each in channel.worker_ends()[:3])
    done = Done(1, 1, 0, 1, 0, 0, marked=False)
    with control, queue, talk:
        control.sendall(frame(encode(done)))
        talk.send(encode(Prolong(2, 1, 500)))
        ward.nursery.hear_talk(channel)
        assert ward.facts == [seen.Reported(1, done, None), seen.ProlongAsked(1, (2, 1), 500)]
        channel.answer_prolong((2, 1), granted=True)
        assert decode_talk(talk.recv(4096)) == Prolonged(2, 1, granted=True)


def test_garbage_on_the_talk_socket_is_no_fact(ward: Ward) -> None:
    """Whoever writes it is killed, as on the other sockets."""
    channel = channel_in(ward)
    talk = channel.worker_ends()[2]
    os.write(talk, b"garbage")
    ward.nursery.hear_talk(channel)
    assert ward.facts == []


def test_answers_wait_behind_what_the_stream_does_not_take(ward: Ward) -> None:
    """A worker that does not read gets them in order, in full, when it does; a slot that is gone gets none."""
    channel = channel_in(ward)
    control = socket.socket(fileno=os.dup(channel.worker_ends()[0]))
    large = Answer(1, "x" * 1_000_000)
    with control:
        ward.nursery.answer(1, large)
        ward.nursery.answer(1, Answer(2, "2"))
        ward.nursery.answer(99, Answer(3, "3"))
        assert channel.unsent
        reader, got = FrameReader(), list[bytes]()
        while len(got) < 2:
            got += reader.feed(control.recv(65_536))
            channel.flush()
        assert [decode_to_worker(each) for each in got] == [large, Answer(2, "2")]


def test_a_worker_that_asks_without_waiting_is_none_of_ours(ward: Ward) -> None:
    """Some questions may be open, also ones that were given up; past that each is a fact less for the pool to keep."""
    channel = channel_in(ward)
    control = socket.socket(fileno=os.dup(channel.worker_ends()[0]))
    most = 8 * MOST_ASKED
    with control:
        control.sendall(b"".join(frame(encode(Ask(1, number, "get_job", "{}"))) for number in range(most)))
        ward.nursery.hear_talk(channel)
        ward.nursery.answer(1, Answer(0, "null"))
        control.sendall(frame(encode(Ask(1, most, "get_job", "{}"))))
        ward.nursery.hear_talk(channel)
        assert len(ward.facts) == most + 1
        control.sendall(frame(encode(Ask(1, most + 1, "get_job", "{}"))))
        ward.nursery.hear_talk(channel)
        assert len(ward.facts) == most + 1


def test_a_worker_that_never_ends_a_message_is_given_up(ward: Ward) -> None:
    """A job may write half a frame and end well: its end would be taken for the rest of that frame, for ever."""
    process = subprocess.Popen(["sleep", "1000"])
    channel = channel_in(ward)
    control = socket.socket(fileno=os.dup(channel.worker_ends()[0]))
    channel.pid, channel.pidfd = process.pid, os.pidfd_open(process.pid)
    looks = iter(range(1, 100))

    def look(times: int) -> None:
        for _ in range(times):
            ward.nursery.tend(seen.Moment(next(looks) * SECOND_NS, 0))

    with control, process:
        look(30)  # who says nothing at all is only quiet
        control.sendall((1_000).to_bytes(4, "big") + frame(encode(Done(1, 1, 0, 1, 0, 0, marked=False))))
        ward.nursery.hear_talk(channel)
        look(9)
        control.sendall(b"more of it")
        ward.nursery.hear_talk(channel)
        look(9)
        assert process.poll() is None
        look(9)
        assert process.wait(30) == -signal.SIGKILL
    assert ward.facts == []


def test_a_dead_worker_is_not_reaped_while_the_usher_moves_it(ward: Ward) -> None:
    """Its number would be free, and whoever had it next would be put into its cgroup, to be killed there."""
    template = Template(1, pool="default", pid=os.getpid(), control=socket.socket(), dump=os.memfd_create("dump"))
    template.forking.add(1)

    def died() -> bool:
        for key, _ in ward.selector.select(0):
            key.data()
        return any(isinstance(each, seen.Died) for each in ward.facts)

    with delegated() as folder, subprocess.Popen(["sleep", "1000"]) as process:
        channel = Channel(1, generation=1, tail_bytes=1, leaf=Leaf(folder / "slot-1"))
        ward.nursery.channels[1] = channel
        ward.nursery.forked(template, Forked(1, process.pid))
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not died()
        ward.nursery.leaves.usher.start()
        assert eventually(died, what="the end of the usher's turn")
        ward.nursery.forget(1)
    template.close()


def test_a_template_that_cannot_be_started_is_a_failed_generation(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    """No processes are left after a fork bomb, for example: the supervisor lives on and tries again later."""

    def refuse(*_: object, **__: object) -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "posix_spawn", refuse)
    ward.nursery.templates.start(1, pool="default", restore=False)
    assert ward.facts == [
        seen.TemplateFailed(1, "its template was not started: Resource temporarily unavailable", again=True),
    ]
    assert ward.census.asked == ward.census.answered


def test_an_interpreter_that_is_not_there_is_named_with_the_way_out(tmp_path: Path) -> None:
    """A virtual environment that is being made anew costs a generation and not the daemon."""
    ward = Ward(tmp_path / "handlers", python=Path("/nonexistent/python"))
    ward.nursery.templates.start(1, pool="default", restore=False)
    why = "the daemon cannot run /nonexistent/python (No such file or directory)"
    assert ward.facts == [
        seen.TemplateFailed(1, f"{why}; name a Python that it can run as `python` of this pool"),
    ]
    assert ward.census.asked == ward.census.answered
