"""The worker between two sockets: prolongs and answers, stops that are taken back, questions and answers."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import msgspec
import pytest

from jobwarden.wire.frames import frame
from jobwarden.wire.messages import CANCELLED, MOST_ASKED, TIMEOUT, Progress, Run, encode
from tests.support.template import PlayedWorker, played, wait_readable

HANDLERS = """
import asyncio, threading, time
from jobwarden.errors import InvalidJobError

@handler("prolong")
def prolong(payload, ctx):
    before = ctx.prolong(payload)
    ctx.set_progress(1)
    ctx.flush_progress()
    return [before, ctx.aborted]

@handler("prolong_in_thread")
def prolong_in_thread(payload, ctx):
    granted = []
    thread = threading.Thread(target=lambda: granted.append(ctx.prolong(payload)))
    thread.start()
    ctx.set_progress(1)
    while thread.is_alive():
        time.sleep(0.001)
    return granted

@handler("called_back")
def called_back(payload, ctx):
    calls = []
    ctx.on_timeout(lambda: calls.append(1) or payload)
    try:
        ctx.set_progress(1)
        while not calls:
            time.sleep(0.001)
        return "prolonged"
    finally:
        print("calls", len(calls))

@handler("called_back_async")
async def called_back_async(payload, ctx):
    calls = []
    ctx.on_timeout(lambda: calls.append(1) or payload)
    ctx.set_progress(1)
    while not calls:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0)
    return "prolonged"

@handler("register")
def register(payload, ctx):
    ctx.on_timeout(lambda: print("old"))

@handler("chatty")
def chatty(payload, ctx):
    said = []
    ctx.on_timeout(lambda: (ctx.log("more", time=len(said)), said.append(1), ctx.prolong(1)))
    ctx.set_progress(1)
    while len(said) < payload:
        ctx.log("at work")

@handler("ask_from_many")
def ask_from_many(payload, ctx):
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(ctx.get_job(1))) for _ in range(payload)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(answers)

@handler("leave_signs")
def leave_signs(payload, ctx):
    big = threading.Thread(target=lambda: ctx.cancel_job(1, reason="x" * 4_000_000), daemon=True)
    big.start()
    time.sleep(0.2)                       # nobody reads: it holds the stream, half written
    threading.Thread(target=lambda: ctx._line.progress(99.0), daemon=True).start()
    time.sleep(0.2)

@handler("slow_callback")
def slow_callback(payload, ctx):
    calls, inside = [], []
    def more():
        inside.append(1)
        calls.append(len(inside))
        ctx.prolong(1)
        if len(calls) == 1:
            while not ctx.aborted:        # the next limit passes while this one is still at work
                time.sleep(0.001)
            time.sleep(0.01)
        inside.pop()
    ctx.on_timeout(more)
    ctx.set_progress(1)
    while len(calls) < 2:
        time.sleep(0.001)
    return calls

@handler("ask")
def ask(payload, ctx):
    try:
        return ctx.get_job(payload)
    except InvalidJobError as error:
        return [error.field, error.problem, str(error)]

@handler("ask_twice")
def ask_twice(payload, ctx):
    answers = []
    try:
        ctx.get_job(1)
    except BaseException as error:
        answers.append(type(error).__name__)
    answers.append(ctx.get_job(2))
    return answers

@handler("nothing")
def nothing(payload):
    return None
"""

STOP = signal.SIGUSR1


def begin(worker: PlayedWorker, job_type: str, payload: object = None) -> None:
    """Return once the handler says progress."""
    worker.send_run(job_type, payload, timeout_ms=1000)
    assert isinstance(worker.next_message(), Progress)


@pytest.mark.parametrize("granted", [True, False])
def test_a_prolong_names_its_attempt_and_gives_the_answer(tmp_path: Path, *, granted: bool) -> None:
    """Job, fence and milliseconds go out; what comes back is what the handler gets."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        run = worker.send_run("prolong", 500)
        asked = worker.next_prolong()
        assert (asked.job_id, asked.fence, asked.ms) == (run.job_id, run.fence, 500)
        worker.answer_prolong(asked, granted=granted)
        done = worker.wait_done()
        assert (done.output, done.retire) == (f"[{str(granted).lower()},false]", False)


def test_a_granted_prolong_takes_back_the_stop_before_it(tmp_path: Path) -> None:
    """The stop crossed the question on its way: nothing is raised, and the worker retires after the job."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        worker.send_run("prolong", 500)
        asked = worker.next_prolong()
        worker.soft_stop()
        worker.answer_prolong(asked, granted=True)
        done = worker.wait_done()
        assert (done.output, done.failure, done.retire) == ("[true,false]", None, True)


@pytest.mark.parametrize(("why", "kind"), [("timeout", TIMEOUT), ("stalled", TIMEOUT), ("cancel", CANCELLED)])
def test_a_stop_that_comes_while_a_job_asks_is_raised_after_a_refusal(tmp_path: Path, why: str, kind: str) -> None:
    """It waits until the answer is there, and then it counts."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        worker.send_run("prolong", 500)
        asked = worker.next_prolong()
        worker.soft_stop(why=why)
        worker.answer_prolong(asked, granted=False)
        failure = worker.wait_done().failure
        assert failure is not None
        assert failure.kind == kind


def test_a_cancel_is_not_taken_back_by_a_granted_prolong(tmp_path: Path) -> None:
    """Whatever the answer to a question about time: the cancel stands."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        worker.send_run("prolong", 500)
        asked = worker.next_prolong()
        worker.soft_stop(why="cancel")
        worker.answer_prolong(asked, granted=True)
        failure = worker.wait_done().failure
        assert failure is not None
        assert failure.kind == CANCELLED


def test_a_stop_waits_for_the_answer_to_a_threads_prolong(tmp_path: Path) -> None:
    """The limit may be about to move: the signal handler looks at the answer first."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        begin(worker, "prolong_in_thread", 500)
        asked = worker.next_prolong()
        worker.soft_stop()
        assert not wait_readable(worker.control.fileno(), seconds=0.2), "it did not wait"
        worker.answer_prolong(asked, granted=True)
        done = worker.wait_done()
        assert (done.output, done.failure) == ("[true]", None)


@pytest.mark.parametrize("job_type", ["called_back", "called_back_async"])
@pytest.mark.parametrize("granted", [True, False])
def test_a_callback_decides_before_anything_is_raised(tmp_path: Path, job_type: str, *, granted: bool) -> None:
    """Its number is asked for; only a refusal ends the job."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        begin(worker, job_type, 700)
        worker.soft_stop()
        asked = worker.next_prolong()
        assert asked.ms == 700
        worker.answer_prolong(asked, granted=granted)
        done = worker.wait_done()
        if granted:
            assert (done.output, done.failure, done.retire) == ('"prolonged"', None, True)
        else:
            assert done.failure is not None
            assert done.failure.kind == TIMEOUT


def test_a_callback_is_not_called_for_a_cancel(tmp_path: Path) -> None:
    """It is about limits."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        begin(worker, "called_back", 700)
        worker.soft_stop(why="cancel")
        failure = worker.wait_done().failure
        assert failure is not None
        assert failure.kind == CANCELLED
        assert worker.captured().startswith("calls 0\n")


def test_a_limit_that_passes_during_a_callback_calls_it_again_afterwards(tmp_path: Path) -> None:
    """One after the other, never inside of itself."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        begin(worker, "slow_callback")
        worker.soft_stop()
        worker.answer_prolong(worker.next_prolong(), granted=True)
        worker.soft_stop()
        worker.answer_prolong(worker.next_prolong(), granted=True)
        done = worker.wait_done()
        assert (done.output, done.failure) == ("[1,1]", None)


def test_callbacks_end_with_their_job(tmp_path: Path) -> None:
    """The next one has its own."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        worker.run("register")
        begin(worker, "called_back", None)
        worker.soft_stop()
        assert worker.wait_done().failure is not None
        assert "old" not in worker.captured()


def test_an_answer_reaches_the_one_who_asked(tmp_path: Path) -> None:
    """Its number says which; another number's answer is nobody's."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        run = worker.send_run("ask", 5)
        asked = worker.next_ask()
        assert (asked.fence, asked.verb, msgspec.json.decode(asked.arguments)) == (run.fence, "get_job", {"job_id": 5})
        worker.answer(asked.number + 1, '"wrong"')
        worker.answer(asked.number, '{"id":5}')
        assert worker.wait_done().output == '{"id":5}'


def test_a_callback_may_print_in_the_middle_of_a_print(tmp_path: Path) -> None:
    """Ten limits pass while the handler prints without a pause; each time the callback says so and gets more time."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        begin(worker, "chatty", 10)
        for _ in range(10):
            worker.soft_stop()
            while not wait_readable(worker.talk.fileno(), seconds=0.001):
                os.read(worker.capture, 65_536)
            worker.answer_prolong(worker.next_prolong(), granted=True)
        text = b""
        while not wait_readable(worker.control.fileno(), seconds=0.001):
            text += os.read(worker.capture, 65_536)
        assert worker.wait_done().failure is None
        assert b"reentrant" not in text


def test_a_worker_has_few_questions_under_way_at_once(tmp_path: Path) -> None:
    """However many threads ask: the others wait here, or one job would keep the store from all others."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        worker.send_run("ask_from_many", 3 * MOST_ASKED)
        asked = [worker.next_ask() for _ in range(MOST_ASKED)]
        assert not wait_readable(worker.control.fileno(), seconds=0.2)
        for _ in range(2 * MOST_ASKED):
            worker.answer(asked.pop(0).number, "null")
            asked.append(worker.next_ask())
        for each in asked:
            worker.answer(each.number, "null")
        assert worker.wait_done().output == str(3 * MOST_ASKED)


def test_a_sign_that_could_not_be_given_in_time_is_not_the_next_jobs(tmp_path: Path) -> None:
    """A thread that waits for the stream until its job has ended says nothing any more; jobs may share a fence."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        worker.send_run("leave_signs")
        assert not wait_readable(worker.talk.fileno(), seconds=1.0)  # until the job has ended, with nobody reading
        worker.wait_done()
        worker.run("nothing")
        assert not any(isinstance(message, Progress) for message in worker.received)


def test_an_error_is_raised_as_what_it_is(tmp_path: Path) -> None:
    """Class, sentence and data; a class that no one here knows is at least an error of ours."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        worker.send_run("ask", 5)
        carried = '{"field":"priority","problem":"is odd"}'
        worker.answer(worker.next_ask().number, carried, error="priority: is odd", error_kind="InvalidJobError")
        assert worker.wait_done().output == '["priority","is odd","priority: is odd"]'
        for kind in ("NewError", "annotations", "JobStopped"):
            worker.send_run("ask", 5)
            worker.answer(worker.next_ask().number, None, error="it broke", error_kind=kind)
            failure = worker.wait_done().failure
            assert failure is not None
            assert failure.message == "JobwardenError: it broke"


def test_an_answer_that_nobody_waits_for_is_dropped(tmp_path: Path) -> None:
    """A stop ended the waiting; the next question gets its own answer, and an idle worker takes none for a job."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        worker.send_run("ask_twice")
        first = worker.next_ask()
        worker.soft_stop()
        second = worker.next_ask()
        worker.answer(first.number, '"late"')
        worker.answer(second.number, '"right"')
        assert worker.wait_done().output == '["JobTimeout","right"]'
        other = supervisor.spawn()
        other.run("nothing")
        other.answer(99, '"to nobody"')
        assert other.run("nothing").failure is None


def test_a_job_that_comes_on_the_stream_during_an_ask_is_run_afterwards(tmp_path: Path) -> None:
    """The supervisor sends large ones to idle workers only; one that came all the same is not lost."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        worker.send_run("ask", 5)
        asked = worker.next_ask()
        for job_id in (77, 78):
            late = Run(job_id, 7, "nothing", '"' + "x" * 100_000 + '"', 1, 3, None)
            worker.control.sendall(frame(encode(late)))
        worker.answer(asked.number, "1")
        assert worker.wait_done().output == "1"
        assert [worker.wait_done().job_id for _ in range(2)] == [77, 78]


def test_an_answer_in_pieces_is_one_answer(tmp_path: Path) -> None:
    """However the stream cuts it."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        worker.send_run("ask", 5)
        number = worker.next_ask().number
        worker.answer(number, f'"{"y" * 900_000}"')
        output = worker.wait_done().output
        assert output is not None
        assert len(output) == 900_002


def test_a_supervisor_that_closes_the_talk_grants_nothing(tmp_path: Path) -> None:
    """Nobody answers any more: the handler is told no instead of waiting for ever."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        worker.send_run("prolong", 500)
        worker.next_prolong()
        worker.talk.shutdown(2)
        assert worker.wait_done().output == "[false,false]"
