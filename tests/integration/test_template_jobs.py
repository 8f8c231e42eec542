"""What a real worker, forked by a real template, answers to jobs."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from jobwarden.wire.exits import EXIT_BROKEN_WIRE
from jobwarden.wire.messages import (
    HANDLER_ERROR,
    INVALID_PAYLOAD,
    LARGEST_QUEUED,
    NO_HANDLER,
    PERMANENT,
    Done,
    Progress,
    decode_to_worker,
)
from tests.support.template import played

HANDLERS = """
import asyncio, contextvars, os, subprocess, sys, threading
from dataclasses import dataclass
from pydantic import BaseModel

@handler("echo")
def echo(payload, ctx):
    ctx.set_progress(25)
    return payload

@handler("nothing")
def nothing(payload):
    return None

@handler("said")
def said(payload, ctx):
    ctx.set_output({"said": ctx.attempt})

@handler("raise")
def fail(payload):
    errors = {
        "value": lambda: ValueError("of no value"), "permanent": lambda: FailPermanently("never again"),
        "later": lambda: RetryLater(7.5, "busy"), "exit": lambda: SystemExit(3),
        "interrupt": lambda: KeyboardInterrupt(), "memory": lambda: MemoryError(),
        "surrogate": lambda: ValueError(chr(0xd800) + chr(0)), "stopped": lambda: JobTimeout("by myself"),
    }
    raise errors[payload]()

@handler("unshowable")
def unshowable(payload):
    class Unshowable(Exception):
        def __str__(self):
            raise RuntimeError("no")
    raise Unshowable

class Unshown(Exception):
    def __str__(self):
        raise SystemExit(3)

@handler("closed_permanent")
def closed_permanent(payload):
    sys.stderr.close()
    raise FailPermanently("never again")

@handler("unshown_ruled", fail_on=Unshown)
def unshown_ruled(payload):
    raise Unshown

@handler("grouped")
async def grouped(payload):
    async def fail(error):
        raise error
    errors = {"permanent": [ValueError("v"), FailPermanently("p")], "later": [RetryLater(3.0), RetryLater(5.0)]}
    async with asyncio.TaskGroup() as group:
        for error in errors[payload]:
            group.create_task(fail(error))

@handler("recurse")
def recurse(payload):
    return recurse(payload)

@dataclass
class Letter:
    to: str
    copies: int

@handler("typed")
def typed(payload: Letter) -> dict:
    return {"to": payload.to, "kind": type(payload).__name__}

@handler("unfit")
def unfit(payload):
    deep = []
    for _ in range(10_000):
        deep = [deep]
    return {
        "nan": lambda: {"a": [float("nan")]}, "nul": lambda: {"a": chr(0)}, "surrogate": lambda: chr(0xd800),
        "deep": lambda: deep, "big": lambda: "x" * 2_000_000, "object": lambda: {"a": object()},
    }[payload]()

@handler("print")
def prints(payload):
    print("one")
    print("two", file=sys.stderr)
    os.write(1, b"three\\n")
    subprocess.run(["/bin/sh", "-c", "echo four"], check=True)

@handler("raw")
def raw(payload):
    os.write(1, b"raw\\n")

@handler("vandal")
def vandal(payload):
    sys.stdout.close()
    sys.stderr = None
    os.close(1)
    os.close(2)

@handler("scorch")
def scorch(payload):
    os.closerange(3, 4096)

@handler("fork")
def fork(payload):
    return 0 if os.fork() else 1

@handler("close_loop")
async def close_loop(payload):
    loop = asyncio.get_running_loop()
    loop.call_soon(loop.stop)
    await asyncio.sleep(60)

@handler("session")
def session(payload):
    score = open("/proc/self/oom_score_adj").read().strip()
    return [os.getsid(0) == os.getpid(), os.readlink("/proc/self/fd/0"), score]

@handler("descriptors")
def descriptors(payload):
    return sorted(int(name) for name in os.listdir("/proc/self/fd"))

@handler("async")
async def aecho(payload, ctx):
    await asyncio.sleep(0)
    return [payload, id(asyncio.get_running_loop())]

@handler("abandon")
async def abandon(payload):
    async def forever():
        await asyncio.Event().wait()
    asyncio.get_running_loop().create_task(forever())
    return len(asyncio.all_tasks())

variable = contextvars.ContextVar("variable", default=0)

@handler("count")
def count(payload):
    variable.set(variable.get() + 1)
    return variable.get()
"""


def run_one(folder: Path, job_type: str, payload: object = None, **options: object) -> Done:
    with played(folder, HANDLERS) as supervisor:
        return supervisor.spawn().run(job_type, payload, **options)


def output_of(done: Done) -> object:
    assert done.failure is None
    assert done.output is not None
    return msgspec.json.decode(done.output)


def test_what_a_handler_returns_is_the_output(tmp_path: Path) -> None:
    """The return value arrives as JSON text, after the progress, with times in their order."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        done = worker.run("echo", {"a": [1, "ü"]})
        assert output_of(done) == {"a": [1, "ü"]}
        assert worker.received[-2] == Progress(fence=done.fence, percent=25)
        assert done.started_ns < done.ended_ns
        assert done.peak_rss_kb > 0
        assert not done.retire


def test_no_return_value_is_no_output(tmp_path: Path) -> None:
    """A handler that returns None leaves the job without output."""
    done = run_one(tmp_path, "nothing")
    assert (done.output, done.failure) == (None, None)


def test_set_output_stands_when_nothing_is_returned(tmp_path: Path) -> None:
    """`ctx.set_output` is the output of a handler that returns None."""
    assert output_of(run_one(tmp_path, "said", attempt=2)) == {"said": 2}


def test_an_exception_fails_the_job_and_prints_the_users_frames_only(tmp_path: Path) -> None:
    """The history gets one sentence, the captured output the traceback, without the worker's own frames."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        failure = worker.run("raise", "value").failure
        assert failure is not None
        assert (failure.kind, failure.message) == (HANDLER_ERROR, "ValueError: of no value")
        text = worker.captured()
        assert "raise errors[payload]()" in text
        assert str(tmp_path) in text
        assert "jobwarden/worker" not in text


@pytest.mark.parametrize(
    ("which", "kind", "message"),
    [
        ("permanent", PERMANENT, "never again"),
        ("later", HANDLER_ERROR, "busy"),
        ("exit", HANDLER_ERROR, "SystemExit: 3"),
        ("interrupt", HANDLER_ERROR, "KeyboardInterrupt"),
        ("memory", HANDLER_ERROR, "MemoryError"),
        ("surrogate", HANDLER_ERROR, "ValueError: \\ud800\\0"),
        ("stopped", HANDLER_ERROR, "JobTimeout: by myself"),
    ],
)
def test_every_exception_is_a_failure_and_the_worker_goes_on(
    tmp_path: Path, which: str, kind: str, message: str
) -> None:
    """Whatever user code raises ends this job only."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        failure = worker.run("raise", which).failure
        assert failure is not None
        assert (failure.kind, failure.message) == (kind, message)
        assert failure.retry_after == (7.5 if which == "later" else None)
        assert output_of(worker.run("echo", 1)) == 1


@pytest.mark.parametrize(("job_type", "name"), [("recurse", "RecursionError"), ("unshowable", "Unshowable")])
def test_errors_that_are_hard_to_report_are_reported(tmp_path: Path, job_type: str, name: str) -> None:
    """A stack without room and an error that cannot be shown still give a failure with a name."""
    failure = run_one(tmp_path, job_type).failure
    assert failure is not None
    assert failure.message.startswith(name)


@pytest.mark.parametrize(
    ("job_type", "message"),
    [("closed_permanent", "never again"), ("unshown_ruled", "Unshown: (cannot be shown: SystemExit)")],
)
def test_what_follows_from_an_error_is_not_lost_with_its_report(tmp_path: Path, job_type: str, message: str) -> None:
    """A closed stream or a text that cannot be had makes no final failure one that is retried, and no crash."""
    failure = run_one(tmp_path, job_type).failure
    assert failure is not None
    assert (failure.kind, failure.message) == (PERMANENT, message)


def test_instructions_to_the_pool_count_in_a_group_too(tmp_path: Path) -> None:
    """A task group lets nothing else out: one FailPermanently is enough, else the latest RetryLater."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        failure = worker.run("grouped", "permanent").failure
        assert failure is not None
        assert failure.kind == PERMANENT
        assert failure.message.endswith("(2 sub-exceptions): ValueError: v; FailPermanently: p")
        failure = worker.run("grouped", "later").failure
        assert failure is not None
        assert (failure.kind, failure.retry_after) == (HANDLER_ERROR, 5.0)


def test_a_payload_of_the_wrong_shape_names_the_field_and_not_the_value(tmp_path: Path) -> None:
    """A mismatch is `invalid_payload`; the value may be a secret."""
    failure = run_one(tmp_path, "typed", {"to": "ann", "copies": "hunter2"}).failure
    assert failure is not None
    assert failure.kind == INVALID_PAYLOAD
    assert failure.message.startswith("payload.copies: ")
    assert "hunter2" not in failure.message


def test_a_typed_payload_arrives_as_its_type(tmp_path: Path) -> None:
    """The annotation of the first parameter decides what the handler gets."""
    assert output_of(run_one(tmp_path, "typed", {"to": "ann", "copies": 1})) == {"to": "ann", "kind": "Letter"}


@pytest.mark.parametrize(
    ("which", "sentence"),
    [
        ("nan", "output: contains NaN"),
        ("nul", "output: contains a NUL"),
        ("surrogate", "output: contains a lone surrogate"),
        ("deep", "output: is nested deeper than 200 levels"),
        ("big", "output: is more than 1048576 bytes"),
        ("object", "output: cannot be written as JSON: objects of type object"),
    ],
)
def test_an_output_that_no_store_can_keep_fails_the_job_with_the_reason(
    tmp_path: Path, which: str, sentence: str
) -> None:
    """NaN, NUL, surrogates, depth, size and foreign objects are refused in the worker."""
    failure = run_one(tmp_path, "unfit", which).failure
    assert failure is not None
    assert failure.kind == PERMANENT
    assert failure.message.startswith(sentence)


def test_an_unknown_type_is_no_handler(tmp_path: Path) -> None:
    """A job type that the generation does not serve is answered, not dropped."""
    failure = run_one(tmp_path, "unheard").failure
    assert failure is not None
    assert failure.kind == NO_HANDLER


def test_what_is_printed_comes_before_the_end_mark(tmp_path: Path) -> None:
    """print, os.write and child processes are all captured, and the mark ends the attempt's text."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        assert worker.run("print").marked
        assert worker.captured() == "one\ntwo\nthree\nfour\n"


def test_text_that_passed_by_our_streams_is_marked_too(tmp_path: Path) -> None:
    """Bytes waiting in the pipe are noticed, whoever wrote them."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        for _ in range(3):
            assert worker.run("raw").marked
            assert worker.captured() == "raw\n"


def test_a_job_that_prints_nothing_and_is_quick_writes_no_mark(tmp_path: Path) -> None:
    """The end mark costs two system calls on both sides, so it is written only when there may be text."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        worker.run("nothing")
        done = worker.run("nothing")
        assert done.marked == (done.ended_ns - done.started_ns >= 10_000_000)


def test_closed_streams_are_put_back_for_the_next_job(tmp_path: Path) -> None:
    """A handler that closes stdout, stderr and their descriptors silences itself only."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        if worker.run("vandal").marked:
            worker.captured()
        worker.run("print")
        assert worker.captured() == "one\ntwo\nthree\nfour\n"


def test_a_handler_that_closes_our_descriptors_ends_its_worker_only(tmp_path: Path) -> None:
    """Without its sockets a worker cannot answer; it ends with a code that says so, and the others work on."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker, other = supervisor.spawn(), supervisor.spawn()
        worker.send_run("scorch")
        assert worker.wait_exit() == (EXIT_BROKEN_WIRE, 0)
        assert output_of(other.run("echo", 1)) == 1


def test_a_forked_child_that_returns_answers_nothing(tmp_path: Path) -> None:
    """`os.fork()` in a handler makes no second worker."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        assert output_of(worker.run("fork")) == 0
        worker.control.shutdown(1)
        assert worker.wait_exit() == (0, 0)
        with pytest.raises(EOFError):
            worker.next_message()


def test_a_loop_that_a_handler_stopped_serves_the_next_job(tmp_path: Path) -> None:
    """Meddling with the event loop fails that job only."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        failure = worker.run("close_loop").failure
        assert failure is not None
        assert failure.message.startswith("RuntimeError: Event loop stopped")
        assert worker.run("async").failure is None


def test_a_worker_has_its_own_session_and_an_empty_stdin(tmp_path: Path) -> None:
    """It leads a session, reads nothing, and is offered to the OOM killer before the supervisor."""
    assert output_of(run_one(tmp_path, "session")) == [True, "/dev/null", "500"]


def test_a_worker_holds_no_descriptor_of_the_template(tmp_path: Path) -> None:
    """Low descriptors are stdin, stdout, stderr and the one of the listing itself; its own stand high up."""
    listed = output_of(run_one(tmp_path, "descriptors"))
    assert isinstance(listed, list)
    assert [number for number in listed if number < 900] == [0, 1, 2, 3]
    assert len(listed) == 4 + 5


def test_async_handlers_share_one_loop_per_worker(tmp_path: Path) -> None:
    """The event loop is made once and kept."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        first, second = output_of(worker.run("async", 1)), output_of(worker.run("async", 2))
        assert isinstance(first, list)
        assert isinstance(second, list)
        assert (first[0], second[0]) == (1, 2)
        assert first[1] == second[1]


def test_tasks_that_an_async_handler_leaves_end_with_it(tmp_path: Path) -> None:
    """A task that nobody awaited is cancelled and not there in the next job."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        assert output_of(worker.run("abandon")) == 2
        assert output_of(worker.run("abandon")) == 2


def test_context_variables_begin_anew_with_each_job(tmp_path: Path) -> None:
    """What one job sets, the next does not see."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.spawn()
        assert [output_of(worker.run("count")) for _ in range(3)] == [1, 1, 1]


def test_a_large_payload_comes_by_the_stream(tmp_path: Path) -> None:
    """What does not fit into one queue message is sent as a frame on the control stream."""
    text = "x" * (2 * LARGEST_QUEUED)
    assert output_of(run_one(tmp_path, "echo", text, stream=True)) == text


def test_jobs_that_wait_in_the_queue_can_be_taken_back(tmp_path: Path) -> None:
    """What the supervisor receives from its duplicate of the worker's end, the worker never got."""
    with played(tmp_path, HANDLERS) as supervisor:
        worker = supervisor.ask_for_worker()
        sent = [worker.send_run("echo", number) for number in range(3)]
        taken = worker.queue_far_end.recv(LARGEST_QUEUED)
        assert decode_to_worker(taken) == sent[0]
        supervisor.read_answer()
        worker.next_message()
        assert [worker.wait_done().fence for _ in range(2)] == [2, 3]
