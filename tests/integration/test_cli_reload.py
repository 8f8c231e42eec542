"""`jobwarden reload`: the daemon is asked at its desk; answer and exit code tell what came of it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from jobwarden.cli import desk
from jobwarden.cli.entry import enter
from jobwarden.errors import DeskError
from jobwarden.wire.desk import Reload, TryOut
from tests.support import processes
from tests.support.daemon import Daemon, clean_environment
from tests.support.shell import Shell
from tests.support.site import Site
from tests.support.waiting import LIMIT_SECONDS, eventually

NOBODY = 65534
HANDLER = """
from jobwarden import handler

@handler("NAME", timeout_ms=5_000)
def serve(payload: dict) -> str:
    return "VERSION"
"""


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A daemon with a handlers directory and a config of its own that notices no save by itself."""
    with processes.subreaper():
        made = Site(tmp_path_factory.mktemp("reloaded"))
        (made.folder / "code").mkdir()
        save(made, "greet", "first")
        configure(made)
        try:
            made.start(config="reload.toml", handlers=None, workers=None)
            made.daemons[0].await_workers(2)
            yield made
        finally:
            made.close()


class Command:
    """The command, called as in a shell, about the daemon of one site."""

    def __init__(self, site: Site, capsys: pytest.CaptureFixture[str]) -> None:
        self._site = site
        self._capsys = capsys
        self.stderr = ""

    def __call__(self, *words: str, code: int = 0) -> str:
        """What it prints; it must end with this code."""
        self._capsys.readouterr()
        ended = enter(["reload", "--state-dir", str(self._site.folder / "state"), *words])
        out, self.stderr = self._capsys.readouterr()
        assert ended == code, out + self.stderr
        return out

    def document(self, *words: str, code: int = 0) -> Any:
        """What it prints with `--json`."""
        return json.loads(self(*words, "--json", code=code))


@pytest.fixture
def reload(served: Site, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command, after what an earlier test left was put right."""
    for file in (served.folder / "code").iterdir():
        file.unlink()
    save(served, "greet", "first")
    configure(served)
    made = Command(served, capsys)
    made()
    return made


def save(site: Site, name: str, version: str) -> None:
    """Write a handler file of this name, which serves a type of the same name."""
    text = HANDLER.replace("NAME", name).replace("VERSION", version)
    (site.folder / "code" / f"{name}.py").write_text(text)


def save_text(site: Site, text: str) -> Path:
    """Write another handler file, as it is."""
    path = site.folder / "code" / "other.py"
    path.write_text(text)
    return path


def configure(site: Site, *more: str, handlers: str = "code", workers: int = 2, load_seconds: float = 20) -> None:
    """Write the config file."""
    lines = ('watch = "off"', f"load_seconds = {load_seconds}", f'handlers = "{handlers}"', f"workers = {workers}")
    (site.folder / "reload.toml").write_text("\n".join([*lines, *more]))


def run(site: Site, job_type: str) -> object:
    """What a job of this type returns."""
    return site.await_end(site.client.add_job(job_type, {})).output


def templates(site: Site) -> set[int]:
    """The pids of all templates, and of workers so newly forked that they still bear their template's title."""
    supervisor = site.daemons[0].supervisor
    return {pid for pid in processes.children(supervisor) if "jobwarden: template" in processes.title(pid)}


def only_template(site: Site) -> int:
    """The pid of the one that serves, once there is no other."""
    return min(eventually(lambda: found if len(found := templates(site)) == 1 else None, what="one template alone"))


def test_a_reload_returns_when_the_new_code_serves_and_tells_what_is_different(served: Site, reload: Command) -> None:
    """Exit code 0; what came, went and changed is told, and the next job runs on the new code."""
    save(served, "greet", "second")
    save(served, "wave", "new")

    lines = reload().splitlines()

    assert lines[0].startswith("generation ")
    assert lines[0].endswith(" serves 2 job types of code")
    assert lines[1:] == ["  + wave (wave.py)"]
    assert (run(served, "greet"), run(served, "wave")) == ("second", "new")
    (served.folder / "code" / "wave.py").unlink()
    (served.folder / "code" / "greet.py").write_text(HANDLER.replace("NAME", "greet").replace("5_000", "6_000"))
    assert reload().splitlines()[1:] == [
        "  - wave (was in wave.py); its jobs stay pending",
        "  ~ greet: timeout_ms 5000 -> 6000",
    ]


def test_a_broken_reload_names_file_line_and_error_while_the_old_code_serves_on(served: Site, reload: Command) -> None:
    """Exit code 1; every broken file is named, not only the first."""
    save(served, "greet", "second")
    save_text(served, "x = 1\ndef broken(:\n")
    (served.folder / "code" / "third.py").write_text("raise RuntimeError('at import')\n")

    told = reload(code=1).splitlines()

    assert " is broken, generation " in told[0]
    assert told[0].endswith(" serves on")
    assert told[1].startswith("  other.py:2: SyntaxError: ")
    assert told[2].startswith("  third.py:1: RuntimeError: at import")
    assert run(served, "greet") == "first"


def test_a_reload_whose_workers_cannot_start_is_broken(served: Site, reload: Command) -> None:
    """Code that loads but whose on_worker_start fails is told with its place, and the old code serves on."""
    save(served, "greet", "second")
    save_text(
        served, "from jobwarden import on_worker_start\n\n@on_worker_start\ndef begin():\n    raise OSError('away')\n"
    )

    told = reload(code=1)

    assert "other.py:5" in told
    assert "away" in told
    assert run(served, "greet") == "first"


def test_the_document_tells_scripts_the_same(served: Site, reload: Command) -> None:
    """`--json`: ok, and for each pool the serving and the tried generation, the differences and the problems."""
    save(served, "wave", "new")
    document = reload.document()
    (pool,) = document["pools"]
    assert document["ok"]
    assert pool["tried"] == pool["generation"]
    assert (pool["name"], pool["types"]) == ("default", ["greet", "wave"])
    assert pool["added"] == [{"jobType": "wave", "file": "wave.py"}]

    save_text(served, "import os\nos._exit(3)\n")
    document = reload.document(code=1)
    (pool,) = document["pools"]
    assert not document["ok"]
    assert pool["tried"] > pool["generation"]
    assert "exit code 3" in pool["problems"][0]


def test_a_check_tells_the_difference_and_changes_nothing(served: Site, reload: Command) -> None:
    """`--check` loads in a template that never serves and is gone afterwards; the running one stays what it was."""
    before = only_template(served)
    save(served, "greet", "second")
    save(served, "wave", "new")

    assert reload("--check").splitlines() == ["code is well, with 2 job types", "  + wave (wave.py)"]

    assert run(served, "greet") == "first"
    assert only_template(served) == before


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import no_such_module\n", "other.py:1: ModuleNotFoundError: "),
        ("import os\nos._exit(3)\n", "importing it, its process ended with exit code 3"),
        ("import threading, time\nthreading.Thread(target=time.sleep, args=(99,), daemon=True).start()\n", "threads"),
    ],
)
def test_a_check_of_broken_code_says_what_a_reload_would_say(
    reload: Command, text: str, told: str, served: Site
) -> None:
    """Exit code 1, the same sentence, and the daemon is as it was."""
    save_text(served, text)
    checked = reload("--check", code=1)
    assert told in checked
    assert "code is broken; generation " in checked
    assert checked.splitlines()[1:] == reload(code=1).splitlines()[1:]


def test_a_check_that_nobody_waits_for_is_ended(served: Site, reload: Command) -> None:
    """Whoever gives up takes the trial's process with him; the next one gets his turn."""
    before = only_template(served)
    hanging = save_text(served, "while True: pass\n")
    reload("--check", "--wait-timeout", "0.3", code=1)
    assert "has not answered within 0.3 s" in reload.stderr
    hanging.unlink()
    assert "code is well" in reload("--check")
    assert only_template(served) == before


@pytest.mark.usefixtures("reload")
def test_checks_take_turns_and_none_takes_longer_than_a_load_may(served: Site) -> None:
    """There is one more template than those that serve at the most, and `load_seconds` ends what hangs."""
    served.daemons[0].await_workers(2)
    only_template(served)
    save_text(served, "while True: pass\n")
    configure(served, load_seconds=1)
    seen: set[int] = set()
    with ThreadPoolExecutor() as pool:
        asked = [pool.submit(_problems_of_trial, served) for _ in range(2)]

        def all_are_answered() -> bool:
            seen.add(len(templates(served)))
            return all(each.done() for each in asked)

        eventually(all_are_answered, what="both answers")
    assert seen == {1, 2}
    for each in asked:
        (problem,) = each.result()
        assert problem.startswith("other.py:1: it did not load within 1 s")


def _problems_of_trial(site: Site) -> list[str]:
    (pool,) = desk.ask_daemon(site.folder / "state", TryOut(), wait_seconds=LIMIT_SECONDS).pools
    return pool.problems


def test_a_reload_reads_the_configuration_as_sighup_does(served: Site, reload: Command) -> None:
    """What is wrong with it is told, it stays as it was, the exit code is 1; the handlers are loaded all the same."""
    daemon = served.daemons[0]
    configure(served, workers=3)
    reload()
    daemon.await_workers(3)
    configure(served, "wrokers = 5", workers=4)
    save(served, "greet", "second")

    checked = reload("--check", code=1)
    told = reload(code=1)

    assert "the configuration has a problem: reload.toml, key wrokers: there is no such option" in checked
    assert "the configuration stays as it was: reload.toml, key wrokers: there is no such option" in told
    assert run(served, "greet") == "second"
    assert len(daemon.await_workers(3)) == 3


def test_a_check_loads_what_the_configuration_says_now(served: Site, reload: Command) -> None:
    """Another directory, and an option that takes a restart: both are told before anything takes effect."""
    moved = served.folder / "moved"
    moved.mkdir()
    (moved / "bow.py").write_text(HANDLER.replace("NAME", "bow"))
    configure(served, "lease_seconds = 77", handlers="moved")

    told = reload("--check").splitlines()

    assert told == [
        "restart needed for lease_seconds: until then this daemon goes on with what it was started with",
        "moved is well, with 1 job type",
        "  + bow (bow.py)",
        "  - greet (was in greet.py); its jobs stay pending",
    ]
    assert run(served, "greet") == "first"


def test_status_and_explain_name_what_is_broken_and_whose_jobs_wait_for_it(
    served: Site, reload: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """File, line and error stand in `status` at once; a removed type's jobs stay pending and are counted."""
    save(served, "wave", "new")
    reload()
    (served.folder / "code" / "wave.py").unlink()
    reload()
    waiting = served.client.add_job("wave", {})
    save_text(served, "x = 1\ndef broken(:\n")
    reload(code=1)

    shell = Shell(served.url, capsys)
    status = eventually(lambda: _if_told(shell.json("status"), "other.py:2"), what="a report that names the file")
    assert status["unserved"] == {"wave": 1}
    (broken,) = [each for each in status["problems"] if "other.py:2" in each]
    assert "serves, but other.py:2: SyntaxError: " in broken
    (unserved,) = [each for each in status["problems"] if each.startswith("wave: ")]
    assert unserved == "wave: 1 job waits, and no daemon has a handler for this type; bring it back, or cancel them"
    reasons = shell.json("explain", str(waiting))["reasons"]
    (reason,) = [each["text"] for each in reasons if "no live node has a handler for wave" in each["text"]]
    assert "other.py:2: SyntaxError: " in reason

    (served.folder / "code" / "other.py").unlink()
    save(served, "wave", "back")
    reload()
    assert served.await_end(waiting).output == "back"


def _if_told(status: Any, place: str) -> Any:
    return status if any(place in each for each in status["problems"]) else None


def test_a_reload_needs_no_database(served: Site, reload: Command) -> None:
    """The desk is in the state directory: while another process holds the database, code is loaded and told of."""
    save(served, "greet", "second")
    with closing(sqlite3.connect(served.database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert " serves 1 job type" in reload()
        other.execute("ROLLBACK")
    assert run(served, "greet") == "second"


def test_a_pool_that_is_not_there_is_wrong_use(reload: Command) -> None:
    """Exit code 2, and the names that are there."""
    reload("--pool", "heavy", code=2)
    assert reload.stderr == "jobwarden: there is no pool 'heavy' in this daemon, which has default\n"
    assert " serves 1 job type" in reload("--pool", "default")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.usefixtures("reload")
def test_only_the_daemons_own_user_and_root_may_ask(served: Site) -> None:
    """Anybody else is told whom to ask as; the desk's socket is its owner's alone."""
    state = served.folder / "state"
    assert (state / "desk.sock").stat().st_mode & 0o777 == 0o600
    os.seteuid(NOBODY)
    try:
        with pytest.raises(DeskError, match="run this as the user that the daemon runs as, or as root"):
            desk.ask_daemon(state, Reload(), wait_seconds=None)
    finally:
        os.seteuid(0)


def test_a_daemon_without_a_desk_is_named_with_another_way(
    served: Site, reload: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no socket answers, the process that holds the state directory is named, for `kill -HUP`."""
    monkeypatch.setattr(desk, "_BEGINNING_SECONDS", 0.1)
    daemon: Daemon = served.daemons[0]
    socket = served.folder / "state" / "desk.sock"
    socket.rename(socket.with_name("away"))
    try:
        reload(code=2)
    finally:
        socket.with_name("away").rename(socket)
    assert f"`kill -HUP {daemon.keeper.pid}` reloads it all the same" in reload.stderr


def test_the_code_that_is_served_stays_while_a_reload_waits_and_ends_with_the_daemon(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    """A drain answers who waits for a reload: nothing is loaded any more. Without a daemon a check lists."""
    (site.folder / "code").mkdir()
    save(site, "greet", "first")
    gate = site.gate()
    held = "from pathlib import Path\nfrom jobwarden import handler\n\n@handler('held')\ndef held(payload):\n    "
    held += "Path(payload['gate'] + '.started').open('wb', buffering=0).write(b'1 1 1\\n')\n    "
    held += "Path(payload['gate'] + '.go').open('rb', buffering=0).read(1)\n"
    (site.folder / "code" / "held.py").write_text(held)
    daemon = site.start(handlers="code", workers=1, watch="off")
    job = site.add("held", gate)
    gate.await_arrival()
    save_text(site, "while True: pass\n")
    command = [sys.executable, "-m", "jobwarden", "reload", "--state-dir", "state"]
    asking = subprocess.Popen(command, cwd=site.folder, env=clean_environment(), stderr=subprocess.PIPE)
    site.spare(asking.pid)
    eventually(lambda: len(templates(site)) == 2, what="a second template")
    daemon.send(signal.SIGTERM)
    _out, told = asking.communicate()
    assert (asking.returncode, told) == (2, b"jobwarden: the daemon was told to stop, so it loads nothing any more\n")
    gate.let_go()
    assert daemon.wait() == 0
    assert site.job(job).attempts == 1

    (site.folder / "code" / "other.py").unlink()
    (site.folder / "c.toml").write_text(f"handlers = '{site.folder}/code'\nstate_dir = '{site.folder}/state'\n")
    assert enter(["reload", "--config", str(site.folder / "c.toml")]) == 2
    assert "no daemon runs with this state directory" in capsys.readouterr().err
    assert enter(["reload", "--check", "--config", str(site.folder / "c.toml")]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        f"{site.folder}/code is well, with 2 job types",
        "  + greet (greet.py)",
        "  + held (held.py)",
    ]
