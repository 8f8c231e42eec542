"""A table of broken configurations: `run` and `check` refuse each with the same clear line, and never a traceback.

`run` exits with 2 before it starts anything; `check` lists all that is wrong and exits with 1.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobwarden.cli.entry import enter

SERVER = 'database_url = "postgresql://me@host/db"\n'

BROKEN: list[tuple[str, str]] = [
    # what is no TOML
    ("workers = \n", "my.toml: is not valid TOML: Invalid value (at line 1"),
    ("workers = 4\nworkers = 5\n", "my.toml: is not valid TOML: Cannot overwrite a value (at line 2"),
    ("workers: 4", "my.toml: is not valid TOML"),
    ("[[pool]\nname = 'a'", "my.toml: is not valid TOML"),
    ("handlers = 'a", "my.toml: is not valid TOML"),
    ("nice = " + "[" * 5_000, "my.toml: is not valid TOML for jobwarden: too many brackets"),
    ("workers = " + "9" * 5_000, "my.toml: is not valid TOML for jobwarden"),
    # names
    ("worker = 4", "my.toml, key worker: there is no such option; did you mean workers?"),
    ("lease-seconds = 20", "my.toml, key lease-seconds: there is no such option; did you mean lease_seconds?"),
    ("colour = 'red'", "my.toml, key colour: there is no such option; remove it"),
    ("[daemon]\nworkers = 4", "my.toml, key daemon: there is no such option"),
    ('"a\\nb" = 1', "my.toml, key a\\nb: there is no such option"),
    ("[handlers]\nfolder = 'x'", "my.toml, [handlers], key folder: there is no such option"),
    ("[handlers]\nworkers = 2", "my.toml, [handlers], key workers: does not belong into [handlers]"),
    # values
    ("workers = 0", "my.toml, key workers: 0 is not possible; give a whole number from 1 to 512"),
    ("workers = 'many'", "my.toml, key workers: 'many' is not possible"),
    ("workers = true", "my.toml, key workers: is true or false; give a whole number"),
    ("workers = [4]", "my.toml, key workers: a list of this kind is not possible"),
    ("workers.most = 4", "my.toml, key workers: a table is not possible"),
    ("drain_seconds = -1", "my.toml, key drain_seconds: -1 is not possible; give a number from 0 to 86_400"),
    ("drain_seconds = inf", "my.toml, key drain_seconds: inf is not possible"),
    ("lease_seconds = 1", "my.toml, key lease_seconds: 1 is not possible; give a number from 3"),
    ("log_level = 'loud'", "my.toml, key log_level: 'loud' is not possible; give `debug` or"),
    ("strict_modes = 'perhaps'", "my.toml, key strict_modes: is neither true nor false"),
    ("handlers = ''", "my.toml, key handlers: is empty; give a path"),
    ('state_dir = "a\\u0000b"', "my.toml, key state_dir: contains a NUL character"),
    ("io_priority = 9", "my.toml, key io_priority: '9' is not possible"),
    ("worker_environment = ['A=B']", "my.toml, key worker_environment: 'A=B' is no name of an environment variable"),
    ("worker_environment = ['JOBWARDEN_X']", "my.toml, key worker_environment: JOBWARDEN_X belongs to the daemon"),
    ("redact = ['(']", "my.toml, key redact: pattern 1 is no regular expression"),
    # the database
    ("database_url = 'jobs.db'", "my.toml, key database_url: is no database URL; write for example sqlite:///"),
    ("database_url = 'postgrsql://h/d'", "my.toml, key database_url: postgrsql:// is no database that jobwarden knows"),
    ("database_url = 'sqlite://'", "my.toml, key database_url: is a database in memory"),
    ("database_url = 5", "my.toml, key database_url: is not a text"),
    ("database_password = 's3cret'", "my.toml, key database_password: is for database servers"),
    (SERVER + "database_password_file = 'gone'", "my.toml, key database_password_file, file gone: cannot be read"),
    (
        SERVER.replace("me@", "me:s3cret@") + "database_password = 's3cret'",
        "my.toml, key database_password: `database_",
    ),
    # contradictions
    ("default_timeout_ms = 2\nmax_timeout_ms = 1", "my.toml, key default_timeout_ms: 2 is above `max_timeout_ms`"),
    ("handlers = 'x'\nstate_dir = 'x/s'", "my.toml, key state_dir: lies inside the folder `handlers`"),
    # pools
    ("pool = 3", "my.toml, key pool: pools are tables; write [[pool]]"),
    ("[[pool]]\nhandlers = 'a'", "my.toml, [[pool]] number 1, key name: is missing"),
    ("[[pool]]\nname = '../a'", "my.toml, [[pool]] number 1, key name: is no name of a pool"),
    ("[[pool]]\nname = 'a'\nlease_seconds = 9", 'my.toml, [[pool]] "a", key lease_seconds: is an option of the whole'),
    ("[[pool]]\nname = 'a'\nworkers = 0", 'my.toml, [[pool]] "a", key workers: 0 is not possible'),
    (
        "[[pool]]\nname = 'a'\nhandlers = 'x'\n[[pool]]\nname = 'a'\nhandlers = 'y'",
        'my.toml, [[pool]] "a", key name: is the name of another pool too',
    ),
    (
        "[[pool]]\nname = 'a'\nhandlers = 'x'\n[[pool]]\nname = 'b'\nhandlers = 'x/y'",
        'my.toml, [[pool]] "b", key handlers: lies inside the folder of the pool "a"',
    ),
]


@pytest.fixture(autouse=True)
def _no_options_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for variable in [name for name in os.environ if name.upper().startswith(("JOBWARDEN_", "CREDENTIALS_"))]:
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
    return iter(())


def refused(capsys: pytest.CaptureFixture[str], said: str, *flags: str) -> None:
    """Both commands say just that in one line, and nothing was started or made."""
    before = sorted(Path.cwd().rglob("*"))
    assert enter(["run", *flags]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    sentence = line.removeprefix("jobwarden: ")
    assert sentence.startswith(said)
    assert "; " in sentence, "the way out"
    assert "s3cret" not in sentence
    assert enter(["check", *flags]) == 1
    out, err = capsys.readouterr()
    assert (err, out.splitlines()[0], out.splitlines()[-1]) == ("", sentence, "1 problem")
    assert sorted(Path.cwd().rglob("*")) == before


@pytest.mark.parametrize(("text", "said"), BROKEN)
def test_a_broken_configuration_is_refused_in_one_clear_line(
    text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line names file and key, says what is wrong, and the way out; exit code 2 of `run`, 1 of `check`."""
    Path("my.toml").write_text(text, encoding="utf-8")
    refused(capsys, said, "--config", "my.toml")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"handlers = '\xff'", "my.toml: is not UTF-8 text (byte 12); save it as UTF-8"),
        (b"handlers = 'a'\n\xff\xfe", "my.toml: is not UTF-8 text"),
        (b"\x00" * 100, "my.toml: is not valid TOML"),
        (b"#" * 1_048_577, "my.toml: cannot be read (it is larger than 1048576 bytes)"),
    ],
)
def test_what_is_no_text_is_no_configuration(content: bytes, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor is what is too large for one."""
    Path("my.toml").write_bytes(content)
    refused(capsys, said, "--config", "my.toml")


def test_a_file_that_is_not_there_a_folder_and_a_pipe_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    """And nobody waits for the other end of the pipe."""
    refused(capsys, "gone.toml: there is no such file", "--config", "gone.toml")
    Path("folder").mkdir()
    refused(capsys, "folder: cannot be read (Is a directory)", "--config", "folder")
    os.mkfifo("pipe")
    refused(capsys, "pipe: cannot be read (it is a pipe, which can be read only once)", "--config", "pipe")


def test_mistakes_in_variables_and_flags_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The place is the variable, the flag, or the credential."""
    refused(capsys, "--workers: '0' is not possible; give a whole number from 1 to 512", "--workers", "0")
    refused(capsys, "--pool: there is no pool 'x' in the configuration", "--pool", "x")
    refused(capsys, "--database-url: contains a password", "--database-url", "postgresql://me:s3cret@host/db")
    for variable, value, said in [
        ("JOBWARDEN_WORKRES", "4", "environment variable JOBWARDEN_WORKRES: there is no such option; did you mean"),
        ("JOBWARDEN_WORKERS", "four", "environment variable JOBWARDEN_WORKERS: 'four' is not possible"),
        ("JOBWARDEN_POOL", "a", "environment variable JOBWARDEN_POOL: pools are not described in the environment"),
        ("JOBWARDEN_CONFIG", "gone.toml", "gone.toml: there is no such file"),
    ]:
        with monkeypatch.context() as now:
            now.setenv(variable, value)
            refused(capsys, said)


def test_check_tells_all_of_five_mistakes_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """One line each, in whatever tables they stand; nobody has to correct and ask again."""
    Path("my.toml").write_text(
        "worker = 3\nlease_seconds = 1\nlog_level = 'loud'\n"
        "[[pool]]\nname = 'a'\nhandlers = 'x'\nnice = 99\n[[pool]]\nhandlers = 'y'\n"
    )
    assert enter(["check", "--config", "my.toml"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line.partition(": ")[0] for line in lines[:5]) == [
        'my.toml, [[pool]] "a", key nice',
        "my.toml, [[pool]] number 2, key name",
        "my.toml, key lease_seconds",
        "my.toml, key log_level",
        "my.toml, key worker",
    ]
    assert lines[-1] == "5 problems"
