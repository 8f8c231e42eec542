"""Must show 6: frames, datagrams, questions at the desk and payloads that no program of ours would make.

Never a crash, never a wait without end, one clear error. JOBWARDEN_TEST_FUZZ=20 makes it twenty times as many.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from jobwarden.cli.reading import parse_json
from jobwarden.errors import FrameError, InvalidJobError
from jobwarden.jobs import JobOptions
from jobwarden.jobs.options import encode_json
from jobwarden.store.bell import NODE, drain
from jobwarden.store.folder_bell import FolderBell
from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.channel import Channel
from jobwarden.supervisor.refusal import ready_of, refusal_of
from jobwarden.wire import desk, messages
from jobwarden.wire.frames import FrameReader, frame
from jobwarden.wire.template_terms import TemplateTerms, read_terms, write_terms
from jobwarden.worker.payload import InvalidPayloadError
from tests.support.fuzz import EXTREMES, TEXTS, Fuzz
from tests.support.pool_world import World, serving
from tests.unit.test_desk import Stage
from tests.unit.test_nursery import Ward
from tests.unit.test_worker_payload import (
    converter,
    takes_any,
    takes_dict,
    takes_model,
    takes_numbers,
    takes_typed,
)

TIMES = int(os.environ.get("JOBWARDEN_TEST_FUZZ", "1"))

_HANDLER = messages.HandlerInfo(job_type="t", file="t.py", timeout_ms=5, max_attempts=3, schema='{"type": "object"}')
_PROBLEM = messages.Problem(file="a.py", line=3, error="SyntaxError", way_out="correct it")
_LOADED = messages.Loaded(2, "hash", [_HANDLER], [_PROBLEM], ["thread"], threads_of="a.py", starts=True)
_FAILURE = messages.Failure(messages.HANDLER_ERROR, "no", 1.5)
_DONE = messages.Done(1, 1, 3, 4, 5, 6, marked=True, output="[1]", failure=_FAILURE, left_behind=["a (1)"])

FRAMES: dict[str, tuple[Callable[[bytes], object], list[object]]] = {
    "worker to supervisor": (
        messages.decode_from_worker,
        [
            messages.Hello(1, 2, marked=True, takes_leave=True, memory_kb=9),
            messages.Unready(_PROBLEM, marked=True),
            messages.Progress(1, 50.0),
            messages.Heartbeat(1),
            messages.Ask(1, 1, "add_job", '{"job_type": "a"}'),
            _DONE,
        ],
    ),
    "template to supervisor": (
        messages.decode_from_template,
        [
            messages.Began("hash"),
            messages.Importing("a.py"),
            _LOADED,
            messages.Unfit("identity", "no such user"),
            messages.Forked(1, 2),
            messages.ForkFailed(1, "no memory"),
        ],
    ),
    "supervisor to template": (messages.decode_to_template, [messages.Fork(1, "nonce")]),
    "supervisor to worker": (
        messages.decode_to_worker,
        [
            messages.Run(1, 1, "t", "null", 1, 3, 5),
            messages.Answer(1, "[1]", "no", "JobwardenError"),
            messages.Retire(),
        ],
    ),
    "the queue": (messages.decode_run, [messages.Run(1, 1, "t", "null", 1, 3, 5, force_kill_on_timeout=True)]),
    "deadline talk, down": (
        messages.decode_talk,
        [messages.Stop(1, 1, "timeout"), messages.Prolonged(1, 1, granted=True)],
    ),
    "deadline talk, up": (messages.decode_prolong, [messages.Prolong(1, 1, 500), messages.Prolong(1, 1, None)]),
    "the desk": (
        desk.decode_request,
        [desk.Reload(pool="a"), desk.TryOut(pool=None)],
    ),
    "the desk's answers": (desk.decode_answer, [desk.Answer(refused="no", notes=["a"], configuration=["b"])]),
    "the orders of a template": (
        lambda data: read_terms(data.decode(errors="surrogateescape")),
        [
            TemplateTerms(
                control_fd=3,
                page_fd=4,
                snapshot_fd=5,
                handlers="h",
                generation=1,
                supervisor_pid=2,
                max_output_bytes=9,
                without=("a.py",),
            )
        ],
    ),
}


@pytest.mark.parametrize("way", FRAMES)
def test_a_changed_message_is_one_of_ours_or_an_error(way: str) -> None:
    """What is read of it is of the promised kind and can be written again; all else is one kind of error."""
    decode, sent = FRAMES[way]
    samples = [
        write_terms(each).encode() if isinstance(each, TemplateTerms) else messages.encode(each) for each in sent
    ]
    fuzz, refused = Fuzz(len(way)), 0
    for _ in range(1_500 * TIMES):
        data = fuzz.changed(samples)
        try:
            found = decode(data)
        except ValueError:
            refused += 1
            continue
        assert messages.encode(found)
    assert refused > 0


def test_a_changed_stream_is_cut_into_messages_or_refused_at_once() -> None:
    """Lengths that lie make the reader wait for the rest or refuse; it never invents bytes and never loses one."""
    fuzz = Fuzz(1)
    samples = [frame(messages.encode(each)) for each in FRAMES["worker to supervisor"][1]]
    for _ in range(1_000 * TIMES):
        stream = b"".join(fuzz.changed(samples) for _ in range(3))
        reader, cut, received = FrameReader(largest=100_000), fuzz.random.randrange(len(stream) + 1), 0
        with suppress(FrameError):
            for part in (stream[:cut], stream[cut:]):
                received += sum(4 + len(each) for each in reader.feed(part))
            assert received + reader.pending == len(stream)


def test_a_worker_that_writes_anything_costs_nobody_but_itself(tmp_path: Path) -> None:
    """A real channel, registry and pool: whatever it writes becomes a fact that the pool can take, or ends it."""
    fuzz, ward = Fuzz(2), Ward(tmp_path / "handlers")
    samples = [frame(messages.encode(each)) for each in FRAMES["worker to supervisor"][1]]
    told = 0
    for _ in range(1_000 * TIMES):
        world, slot = _running()
        written = [fuzz.changed(samples) if fuzz.random.random() < 0.5 else _lie(fuzz) for _ in range(4)]
        talk = fuzz.changed(_TALK) if fuzz.random.random() < 0.2 else _prolong(fuzz)
        for fact in _heard(ward, slot, b"".join(written), talk=talk):
            world.pool.handle(fact, seen.Moment(world.ns, 1))
            told += 1
        world.pool.handle(_death(slot), seen.Moment(world.ns, 1))
        world.pool.handle(seen.Cleared(slot, None), seen.Moment(world.ns, 1))
        world.pool.handle(seen.StopAsked(now=False), seen.Moment(world.ns, 1))
    assert told > 400


_TALK = [messages.encode(each) for each in FRAMES["deadline talk, up"][1]]


def _running() -> tuple[World, int]:
    world = serving(workers=1)
    slot, _job = world.start(timeout_ms=5_000)
    return world, slot


def _lie(fuzz: Fuzz) -> bytes:
    """A message that is well made and untrue, about the job that runs, or about another."""
    choose = fuzz.random.choice
    fence, number = choose((1, 1, 2, *EXTREMES[:4])), choose(EXTREMES[:4])
    text = choose(TEXTS[:-1])
    told = choose(
        (
            messages.Done(fence, fence, number, number, abs(number), 0, marked=choose((True, False)), output=text),
            messages.Done(
                1, 1, 5, 3, 0, 0, marked=True, failure=messages.Failure(text, text, 1e308), left_behind=[text]
            ),
            messages.Hello(number, number, marked=True, takes_leave=True, memory_kb=abs(number), processes=0),
            messages.Unready(messages.Problem(file=text, line=number, error=text), marked=True),
            messages.Progress(fence, choose((0.0, 100.0, 5e-324))),
            messages.Heartbeat(fence),
            messages.Ask(fence, number, text, text),
        )
    )
    return frame(messages.encode(told))


def _prolong(fuzz: Fuzz) -> bytes:
    return messages.encode(messages.Prolong(1, 1, fuzz.random.choice((1, 2**40, None))))


def _heard(ward: Ward, slot: int, written: bytes, *, talk: bytes) -> list[seen.Input]:
    """What the registry makes of these bytes on the worker's sockets."""
    channel = ward.nursery.channels[slot] = Channel(slot, generation=1, tail_bytes=100)
    ends = [socket.socket(fileno=os.dup(each)) for each in channel.worker_ends()[:3]]
    try:
        ends[0].sendall(written)
        ends[2].send(talk or b"\0")
        ward.nursery.hear_talk(channel)
        with suppress(FrameError):
            channel.receive()
        facts, ward.facts[:] = list(ward.facts), []
        return facts
    finally:
        for end in ends:
            end.close()
        ward.nursery.forget(slot)


def _death(slot: int) -> seen.Died:
    return seen.Died(slot, signal=9, exit_code=None, cpu_ms=0, peak_rss_kb=0, fenced=False, captured=None)


def test_a_template_that_tells_anything_is_served_or_refused() -> None:
    """Names, numbers and problems that a handler file forges reach the pool as what they are."""
    fuzz, samples, taken = Fuzz(3), [messages.encode(_LOADED), messages.encode(messages.Loaded(1, "", [], [], []))], 0
    for _ in range(500 * TIMES):
        with suppress(ValueError):
            loaded = messages.decode_from_template(fuzz.changed(samples))
            if not isinstance(loaded, messages.Loaded) or refusal_of(loaded):
                continue
            world = World()
            world.pool.handle(ready_of(1, loaded), seen.Moment(world.ns, 1))
            taken += 1
    assert taken > 0


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.close()


def test_whoever_asks_nonsense_at_the_desk_is_told_so_and_the_next_is_served(stage: Stage) -> None:
    """Each caller gets one answer or the end of its connection; the desk is open for the one behind it."""
    fuzz, answered = Fuzz(4), 0
    samples = [frame(messages.encode(each)) for each in FRAMES["the desk"][1]]
    for _ in range(500 * TIMES):
        caller = stage.come()
        with suppress(BrokenPipeError, ConnectionResetError, BlockingIOError):
            stage.turn()
            caller.sendall(fuzz.changed(samples))
            caller.shutdown(socket.SHUT_WR)
            stage.turn()
            caller.settimeout(0)
            answered += bool(caller.recv(65_536))
        caller.close()
        stage.turn()
    assert answered > 100
    ask = stage.ask(desk.Reload(pool="nobody"))
    answer = ask()
    assert answer is not None
    assert "there is no pool 'nobody'" in str(answer.refused)


def test_what_is_in_a_ring_does_not_matter_and_a_flood_of_them_holds_nobody_up(tmp_path: Path) -> None:
    """Empty, large, thousands: draining ends, and the next ring is heard. Files that are no sockets ring nobody."""
    fuzz, bell = Fuzz(5), FolderBell(tmp_path / "doorbell")
    listener = bell.listen(NODE)
    try:
        (path,) = (tmp_path / "doorbell").iterdir()
        (path.parent / "node-x.sock").write_text("no socket")
        (path.parent / "node-y.sock").symlink_to("/dev/null")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as ringer:
            for _ in range(1_000 * TIMES):
                with suppress(BlockingIOError):
                    ringer.sendto(fuzz.random.randbytes(fuzz.random.choice((0, 1, 64, 65, 20_000))), str(path))
                if fuzz.random.random() < 0.2:
                    drain(listener)
            _drain_under_a_flood(listener, str(path))
        bell.ring_nodes()
        assert listener.recv(64)
    finally:
        bell.leave(listener)


def _drain_under_a_flood(listener: socket.socket, path: str) -> None:
    """Somebody rings as fast as he can."""
    over = threading.Event()

    def ring_on() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ringer:
            ringer.settimeout(0.1)
            while not over.is_set():
                with suppress(TimeoutError):
                    ringer.sendto(b"", path)

    flood = threading.Thread(target=ring_on)
    flood.start()
    for _ in range(20):
        drain(listener)
    over.set()
    flood.join()
    drain(listener)


def test_a_payload_is_stored_as_it_is_or_refused_with_its_name() -> None:
    """Whatever an application hands over: no exception but ours, and what was accepted is JSON that reads back."""
    fuzz, accepted, refusals = Fuzz(6), 0, set[str]()
    for _ in range(5_000 * TIMES):
        value = fuzz.value()
        try:
            options = JobOptions.parse(job_type="t", payload=value)
            text = encode_json(options.payload, what="payload")
        except InvalidJobError as error:
            refusals.add(str(error))
            continue
        json.loads(text)
        accepted += 1
    assert accepted > 100
    assert [each for each in refusals if "\n" in each or not each.startswith("payload")] == []


def test_text_on_the_command_line_is_json_or_refused() -> None:
    """With the place of the mistake, on one line."""
    fuzz, samples = Fuzz(7), [b'{"a": [1, 2.5, null, "x"], "b": {"c": true}}', b"[[[[]]]]", b'"\\ud800"', b"1e999"]
    for _ in range(1_000 * TIMES):
        text = fuzz.changed(samples).decode(errors="surrogateescape")
        with suppress(InvalidJobError):
            parse_json(text, what="payload")


@pytest.mark.parametrize("function", [takes_any, takes_dict, takes_typed, takes_numbers, takes_model])
def test_a_payload_that_somebody_else_put_into_the_database_is_invalid_and_no_crash(
    function: Callable[..., object],
) -> None:
    """It did not come through a client, so it may be no JSON at all: the attempt fails as `invalid_payload`."""
    convert = converter(function).convert
    fuzz, refusals = Fuzz(8), list[str]()
    samples = [b'{"a": [1, 2.5, null, "x"]}', b"[1, 2]", b"[" * 5_000, b'{"a":' * 5_000]
    for _ in range(500 * TIMES):
        try:
            convert(fuzz.changed(samples).decode(errors="replace"))
        except InvalidPayloadError as error:
            refusals.append(str(error))
    assert len(refusals) > 100
    assert [each for each in refusals if not each.startswith("payload")] == []
