"""`jobwarden check` with real configurations and real handler files, and the flags of `run` and `check`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jobwarden.cli.entry import enter
from jobwarden.settings.model import OPTIONS
from tests.support.shell import database_named

GOOD = """
from jobwarden import handler

@handler("greet", timeout_ms=5_000, max_attempts=4)
def greet(payload: dict) -> str:
    return "hello"
"""
WITHOUT_PSYCOPG = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "psycopg":
            raise ModuleNotFoundError("No module named 'psycopg'", name=name)
sys.meta_path.insert(0, Missing())
from jobwarden.cli.entry import enter
sys.exit(enter(sys.argv[1:]))
"""
"""The command where nobody has installed psycopg."""
BROKEN = "from jobwarden import handler\n\nthis is no python\n"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty current folder with a `handlers` folder, and no options in the environment."""
    for variable in [name for name in os.environ if name.startswith("JOBWARDEN_")]:
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
    Path("handlers").mkdir()


def write(path: str, text: str) -> None:
    """Write a file in the current folder."""
    Path(path).write_text(text, encoding="utf-8")


def test_a_good_configuration_passes(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0; the job types are listed."""
    write("handlers/greet.py", GOOD)
    assert enter(["check"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "handlers in handlers: greet",
        "database: sqlite:///jobwarden.db",
        "all is well",
    ]


def test_json_tells_what_would_be_served(capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` lists each handler with its file and defaults."""
    write("handlers/greet.py", GOOD)
    assert enter(["check", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ok"], answer["problems"]) == (True, [])
    (served,) = answer["handlers"]
    assert {name: served[name] for name in ("jobType", "file", "timeoutMs", "maxAttempts")} == {
        "jobType": "greet",
        "file": "greet.py",
        "timeoutMs": 5_000,
        "maxAttempts": 4,
    }


def test_problems_of_configuration_and_handlers_are_told_together(capsys: pytest.CaptureFixture[str]) -> None:
    """Each with its file and key or line; exit code 1."""
    write("handlers/greet.py", GOOD)
    write("handlers/broken.py", BROKEN)
    write("my.toml", "worker = 3\nlease_seconds = 1\n")
    assert enter(["check", "--config", "my.toml", "--drain-seconds", "soon"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "my.toml, key worker: there is no such option; did you mean workers?"
    assert lines[1].startswith("my.toml, key lease_seconds: 1 is not possible")
    assert lines[2].startswith("--drain-seconds: 'soon' is not possible")
    assert lines[3].startswith("handlers/broken.py:3: ")
    assert lines[-3:] == [
        "handlers in handlers: greet",
        "database: sqlite:///jobwarden.db",
        "4 problems",
    ]


def test_a_missing_folder_of_handlers_is_a_problem(capsys: pytest.CaptureFixture[str]) -> None:
    """The folder is named, and the exit code is 1."""
    assert enter(["check", "--handlers", "elsewhere"]) == 1
    out = capsys.readouterr().out
    assert "elsewhere" in out
    assert "1 problem\n" in out


def test_the_database_password_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """`check` shows the database without its password."""
    with database_named("postgresql://me:s3cret@host/db") as flags:
        enter(["check", *flags])
    out, err = capsys.readouterr()
    assert "postgresql://me:***@host/db" in out
    assert "s3cret" not in out + err


@pytest.mark.parametrize(("command", "code"), [("run", 2), ("check", 1), ("doctor", 1)])
def test_a_missing_driver_is_told_with_the_command_that_installs_it(tmp_path: Path, command: str, code: int) -> None:
    """postgresql:// on a machine without psycopg: no traceback, but what to type; the same words everywhere."""
    words = [command, "--database-url", "postgresql://me@db/jobs"]
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_PSYCOPG, *words], capture_output=True, text=True, timeout=60, check=False
    )
    told = " ".join((ran.stdout + ran.stderr).split())
    assert ran.returncode == code
    assert "needs the package psycopg; install it with: pip install 'jobwarden[postgres]'" in told
    assert "Traceback" not in told
    assert not (tmp_path / "jobwarden.db").exists()


@pytest.mark.parametrize("command", ["run", "check"])
def test_every_setting_is_a_flag(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`run` and `check` have a flag for each setting but the password, with its explanation, and `--config`."""
    assert enter([command, "--help"]) == 0
    text = capsys.readouterr().out
    flags = set(re.findall(r"^ +(--[a-z-]+)", text, re.MULTILINE))
    wanted = {"--" + name.replace("_", "-") for name in OPTIONS} | {"--config"}
    assert wanted - flags == {"--database-password"}


def test_each_pool_is_checked_with_its_own_handlers(capsys: pytest.CaptureFixture[str]) -> None:
    """Each gets its line; a job type that two of them claim names both files, as the daemon would."""
    for pool in ("quick", "heavy"):
        Path(pool).mkdir()
        write(f"{pool}/own.py", GOOD.replace("greet", f"{pool}_greet"))
    pools = '[[pool]]\nname = "quick"\nhandlers = "quick"\n[[pool]]\nname = "heavy"\nhandlers = "heavy"\n'
    write("pools.toml", pools)
    assert enter(["check", "--config", "pools.toml"]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == [
        "pool quick: handlers in quick: quick_greet",
        "pool heavy: handlers in heavy: heavy_greet",
    ]

    write("heavy/more.py", GOOD.replace("greet", "quick_greet"))
    write("heavy/threads.py", "import threading, time\nthreading.Thread(target=time.sleep, args=(9,)).start()\n")
    assert enter(["check", "--config", "pools.toml", "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert {each["pool"] for each in answer["handlers"]} == {"quick", "heavy"}
    started, claimed = answer["problems"]
    assert "heavy: handler modules started threads at import" in started
    assert "more.py (pool heavy): the job type 'quick_greet' is served by own.py of the pool quick already" in claimed
