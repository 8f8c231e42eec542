"""`@on_worker_start`, `@on_worker_stop`, `@warm_up`: what they accept, and what the loader makes of them."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobwarden import on_worker_start, on_worker_stop, warm_up
from jobwarden.worker.declaring import InvalidHookError
from jobwarden.worker.hooks import HookKind, collecting_hooks
from jobwarden.worker.loader import LoadedCode, load

DATAGRAMS = """
def datagrams():
    made = socket.socket(type=socket.SOCK_DGRAM)
    made.connect(("127.0.0.1", 9))
    return made
"""
HANDLER = "\n@handler({job_type!r})\ndef run(payload):\n    return TABLE\n"


@pytest.fixture(autouse=True)
def imports_put_back() -> Iterator[None]:
    finders, modules = list(sys.meta_path), dict(sys.modules)
    yield
    sys.meta_path[:] = finders
    for name in set(sys.modules) - set(modules):
        del sys.modules[name]


def write(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.py").write_text(f"from jobwarden import *\nTABLE = None\n{text}")


def loaded(folder: Path, **files: str) -> LoadedCode:
    """What a folder with these files gives; each has the names of jobwarden."""
    for name, text in files.items():
        write(folder, name, text)
    return load(str(folder))


def names(code: LoadedCode, kind: HookKind) -> list[tuple[str, str]]:
    return [(each.file, each.hook.name) for each in code.hooks if each.hook.kind is kind]


def test_the_function_stays_what_it_is() -> None:
    """Outside a loader nothing is registered, so a hook can be called and tested like any function."""

    def connect() -> str:
        return "connected"

    async def leave() -> None:
        pass

    assert on_worker_start(connect) is connect
    assert on_worker_stop(leave) is leave
    with collecting_hooks() as found:
        assert warm_up(connect) is connect
    assert [(hook.kind, hook.name) for hook in found] == [(HookKind.WARM_UP, "connect")]
    assert found[0].line == connect.__code__.co_firstlineno


def needs(context: object) -> None: ...


def yields() -> Iterator[None]:
    yield


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (needs, "@on_worker_start needs: it takes the parameters context; write `@on_worker_start` above"),
        (yields, "@on_worker_start yields: it yields"),
        (Path, "@on_worker_start Path: it stands on something that is no function"),
        ("connect", "@on_worker_start 'connect': it stands on something that is no function"),
    ],
)
def test_what_cannot_be_called_without_arguments_is_refused(function: Any, words: str) -> None:
    """At the import of the file, with the decorator, the function and the way out."""
    with pytest.raises(InvalidHookError) as caught:
        on_worker_start(function)
    assert str(caught.value).startswith(words)


def test_a_warm_up_is_no_coroutine() -> None:
    """A loop that ran in the template would be shared by its workers."""

    async def read() -> None: ...

    with pytest.raises(InvalidHookError, match="@warm_up read: it is async; make it a plain function"):
        warm_up(read)


def test_hooks_are_collected_by_file_in_the_order_of_their_imports(tmp_path: Path) -> None:
    """A helper's come before those of the file that imports it; what begins with `_` may have hooks too."""
    code = loaded(
        tmp_path,
        _database="@on_worker_start\ndef connect(): ...\n@on_worker_stop\ndef disconnect(): ...",
        mail="import _database\n@on_worker_start\ndef log_in(): ...\n" + HANDLER.format(job_type="mail"),
    )
    assert code.problems == []
    assert names(code, HookKind.START) == [("_database.py", "connect"), ("mail.py", "log_in")]
    assert names(code, HookKind.STOP) == [("_database.py", "disconnect")]


def test_a_warm_up_runs_once_after_all_imports(tmp_path: Path) -> None:
    """Its work is done when the first handler is called, and it may use every file of the folder."""
    code = loaded(
        tmp_path,
        a="@warm_up\ndef fill():\n    global TABLE\n    import z\n    TABLE = [z.W]\n" + HANDLER.format(job_type="a"),
        z="W = 'late'\n",
    )
    assert code.problems == []
    assert code.handlers["a"].definition.function({}) == ["late"]


def test_a_warm_up_that_fails_is_a_problem_of_its_file(tmp_path: Path) -> None:
    """The file serves nothing and none of its hooks counts; the others are served."""
    code = loaded(
        tmp_path,
        bad="@warm_up\ndef fill():\n    raise SystemExit('no table')\n@on_worker_start\ndef start(): ...\n"
        + HANDLER.format(job_type="bad"),
        good=HANDLER.format(job_type="good"),
    )
    assert list(code.handlers) == ["good"]
    assert code.hooks == []
    (problem,) = code.problems
    assert (problem.file, problem.line) == ("bad.py", 5)
    assert problem.error == "@warm_up fill failed: SystemExit: no table"
    assert problem.way_out == "correct it, or what it needs"


def test_hooks_of_a_file_that_does_not_import_do_not_count(tmp_path: Path) -> None:
    """Half a file is none."""
    code = loaded(tmp_path, bad="@on_worker_start\ndef start(): ...\nraise ValueError\n")
    assert (code.hooks, len(code.problems)) == ([], 1)


def test_a_thread_of_a_warm_up_is_named_like_one_of_an_import(tmp_path: Path) -> None:
    """It would not survive the fork, so the generation is not forked from."""
    ended = threading.Event()
    sys.modules["ended"] = ended  # type: ignore[assignment]
    text = (
        "import threading, ended\n@warm_up\ndef begin():\n    threading.Thread(target=ended.wait, name='own').start()\n"
    )
    try:
        assert loaded(tmp_path, a=text).threads == ["own"]
    finally:
        ended.set()


@pytest.mark.parametrize("place", ["{connect}\n", "@warm_up\ndef begin():\n    global C\n    {connect}\n"])
def test_a_connection_that_workers_would_share_is_refused(tmp_path: Path, place: str) -> None:
    """At import and in a warm-up alike: the file is named, with the peer and the way out."""
    write(tmp_path, "good", HANDLER.format(job_type="good"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        text = place.format(connect=f"C = socket.create_connection(('127.0.0.1', {port}))")
        code = loaded(tmp_path, bad=f"import socket\n{text}{HANDLER.format(job_type='bad')}")
        sys.modules["bad"].C.close()
    assert list(code.handlers) == ["good"]
    (problem,) = code.problems
    assert problem.file == "bad.py"
    assert (
        problem.error
        == f"while it was loaded it opened a connection to 127.0.0.1:{port}, which all workers would share"
    )
    assert "@on_worker_start" in problem.way_out


@pytest.mark.parametrize("made", ["asyncio.new_event_loop()", "socket.socket()", "datagrams()"])
def test_sockets_that_lead_nowhere_are_left_alone(tmp_path: Path, made: str) -> None:
    """An event loop's own pair, a socket that is not connected, or one for datagrams (a log's) hurts nobody."""
    code = loaded(tmp_path, a=f"import asyncio, socket\n{DATAGRAMS}C = {made}\n" + HANDLER.format(job_type="a"))
    close: Callable[[], None] = sys.modules["a"].C.close
    close()
    assert code.problems == []


def test_a_file_with_a_problem_has_nothing_more_done_for_it(tmp_path: Path) -> None:
    """Its warm-up would only tell of what follows from the first problem."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        connect = f"import socket\nC = socket.create_connection(('127.0.0.1', {server.getsockname()[1]}))"
        code = loaded(tmp_path, bad=f"{connect}\n@warm_up\ndef fill():\n    raise ValueError\n")
        sys.modules["bad"].C.close()
    assert len(code.problems) == 1


def test_a_connection_that_was_closed_again_is_none(tmp_path: Path) -> None:
    """A warm-up may read from a database and hang up."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        text = f"import socket\n@warm_up\ndef begin():\n    socket.create_connection(('127.0.0.1', {port})).close()\n"
        assert loaded(tmp_path, a=text).problems == []
