"""Where settings come from, which place wins, and what is said about mistakes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobwarden.errors import InvalidSettingsError
from jobwarden.settings import load_settings


@pytest.fixture(autouse=True)
def _no_options_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for variable in [name for name in os.environ if name.upper().startswith("JOBWARDEN_")]:
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
    return iter(())


def write(text: str | bytes) -> Path:
    """A config file in the current folder."""
    path = Path("my.toml")
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def problems_of(config: Path | None, flags: dict[str, object] | None = None) -> list[str]:
    """What `load_settings` refuses."""
    with pytest.raises(InvalidSettingsError) as caught:
        load_settings(config=config, flags=flags or {})
    return caught.value.problems


def test_flags_win_over_environment_over_file_over_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of flag, environment, file and default that has a value gives it."""
    path = write("workers = 2\nhung_seconds = 20\ndrain_seconds = 5\n")
    monkeypatch.setenv("JOBWARDEN_WORKERS", "3")
    monkeypatch.setenv("JOBWARDEN_HUNG_SECONDS", "21")
    settings = load_settings(config=path, flags={"workers": "8", "drain_seconds": None})
    assert (settings.workers, settings.hung_seconds, settings.drain_seconds) == (8, 21, 5)
    assert settings.lease_seconds == 15


def test_the_environment_can_name_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a given file JOBWARDEN_CONFIG names it; a given one wins; without both none is read."""
    path = write("workers = 2\n")
    assert load_settings(config=None, flags={}).workers == 4
    monkeypatch.setenv("JOBWARDEN_CONFIG", str(path))
    assert load_settings(config=None, flags={}).workers == 2
    other = Path("other.toml")
    other.write_text("workers = 5\n", encoding="utf-8")
    assert load_settings(config=other, flags={}).workers == 5


def test_words_of_flags_and_variables_become_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """`none` is no value, commas part a list, an empty variable is not set."""
    path = write("default_timeout_ms = 5000\n")
    monkeypatch.setenv("JOBWARDEN_WORKER_ENVIRONMENT", "API_KEY, REGION")
    monkeypatch.setenv("JOBWARDEN_WORKERS", "")
    settings = load_settings(config=path, flags={"default_timeout_ms": "none", "handlers": "h"})
    assert settings.default_timeout_ms is None
    assert settings.worker_environment == ["API_KEY", "REGION"]
    assert settings.handlers == Path("h")
    assert settings.workers == 4


@pytest.mark.parametrize(
    ("said", "meant"),
    [("true", True), ("Yes", True), ("on", True), ("1", True), ("FALSE", False), ("no", False), ("off", False)],
)
def test_an_option_can_be_true_or_false(monkeypatch: pytest.MonkeyPatch, said: str, meant: bool) -> None:  # noqa: FBT001
    """The file says it as TOML does, the environment in a word, a flag by its name; the usual order holds."""
    path = write(f"strict_modes = {str(not meant).lower()}\n")
    assert load_settings(config=path, flags={}).strict_modes is not meant
    monkeypatch.setenv("JOBWARDEN_STRICT_MODES", said)
    assert load_settings(config=path, flags={}).strict_modes is meant
    assert load_settings(config=path, flags={"strict_modes": not meant}).strict_modes is not meant


@pytest.mark.parametrize("text", ["'maybe'", "2", "1", "0.0", "''", "[true]", "'none'"])
def test_what_is_neither_true_nor_false_is_refused(text: str) -> None:
    """A number or any other word is no answer to yes or no."""
    (sentence,) = problems_of(write(f"strict_modes = {text}\n"))
    assert sentence == (
        "my.toml, key strict_modes: is neither true nor false; give `true` or `false`, or leave it out for the "
        "default true"
    )


def test_all_problems_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence for each mistake, wherever it is, with its place and the way out."""
    path = write('worker = 3\nlease_seconds = 1\nlog_level = "loud"\nhandlers = "h"\nstate_dir = "h/state"\n')
    monkeypatch.setenv("JOBWARDEN_DRAIN_SECONDS", "soon")
    monkeypatch.setenv("JOBWARDEN_LEASE", "3")
    problems = problems_of(path, {"workers": "0"})
    assert [sentence.partition("; ")[0] for sentence in problems] == [
        "my.toml, key worker: there is no such option",
        "environment variable JOBWARDEN_LEASE: there is no such option",
        "--workers: '0' is not possible",
        "my.toml, key lease_seconds: 1 is not possible",
        "environment variable JOBWARDEN_DRAIN_SECONDS: 'soon' is not possible",
        "my.toml, key log_level: 'loud' is not possible",
        problems[-1].partition("; ")[0],
    ]
    assert problems[-1].startswith("my.toml, key state_dir: lies inside the folder `handlers`")
    assert "did you mean workers?" in problems[0]
    assert "did you mean JOBWARDEN_LEASE_SECONDS?" in problems[1]
    assert "give a whole number from 1 to 512, or leave it out for the default 4" in problems[2]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("workers = 4\nworkers = 5\n", ["not valid TOML", "line 2"]),
        ("workers = \n", ["not valid TOML", "line 1"]),
        (b"handlers = '\xff'\n", ["not UTF-8"]),
        ("colour = 1\n", ["key colour", "config/README.md lists all options"]),
        ("[daemon]\nworkers = 3\n", ["key daemon", "there is no such option"]),
        ("lease-seconds = 20\n", ["key lease-seconds", "did you mean lease_seconds?"]),
        ("workers = true\n", ["key workers", "true or false", "from 1 to 512"]),
        ("workers = [1]\n", ["key workers", "whole number"]),
        ("workers = 513\n", ["513 is not possible"]),
        ("lease_seconds = nan\n", ["key lease_seconds", "nan is not possible"]),
        ("drain_seconds = inf\n", ["key drain_seconds", "inf is not possible"]),
        ("hung_seconds = 1\n", ["key hung_seconds", "above 1"]),
        ("handlers = ''\n", ["key handlers", "is empty"]),
        ('handlers = "a\\u0000b"\n', ["key handlers", "NUL"]),
        ("default_timeout_ms = 0\n", ["key default_timeout_ms", "or none"]),
        ("worker_environment = ['A=B']\n", ["'A=B' is no name of an environment variable"]),
        ("worker_environment = ['JOBWARDEN_DATABASE_URL']\n", ["belongs to the daemon"]),
        ("worker_environment = [3]\n", ["key worker_environment", "a list of names"]),
        ("synchronous = 'off'\n", ["`full` or `normal`"]),
        ("handlers = 'x'\nstate_dir = 'x'\n", ["key state_dir", "inside the folder `handlers`"]),
    ],
)
def test_a_mistake_in_the_file_is_one_sentence_with_file_and_key(text: str | bytes, words: list[str]) -> None:
    """A mistake names the file, the key or line, and what would be right."""
    (sentence,) = problems_of(write(text))
    assert sentence.startswith("my.toml")
    assert [word for word in words if word not in sentence] == []


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing file and a folder in its place are told apart."""
    assert problems_of(Path("gone.toml")) == [
        "gone.toml: there is no such file; give the path of a TOML file, or leave out --config"
    ]
    assert problems_of(tmp_path) == [f"{tmp_path}: cannot be read (Is a directory); give a readable TOML file"]


@pytest.mark.parametrize("url", ["postgresql://me:s3cret@host/db", "mysql://host/db?user=me&password=s3cret"])
def test_a_password_on_the_command_line_is_refused_with_the_ways_out(url: str) -> None:
    """Everybody can read a command line; the variable, the file and the credential are named, the URL is not."""
    (sentence,) = problems_of(None, {"database_url": url})
    assert sentence.startswith("--database-url: contains a password")
    for way_out in ("JOBWARDEN_DATABASE_URL", "database_password_file", "credential `database_password`"):
        assert way_out in sentence
    assert "s3cret" not in sentence
    assert load_settings(config=write(f"database_url = '{url}'\n"), flags={}).database_url == url


@pytest.mark.parametrize(
    "url",
    ["postgresql://me@host/db", "mysql://me:@host/db", "sqlite:////tmp/a:b@c.db", "postgresql:///db?password="],
)
def test_a_url_without_a_password_may_stand_on_the_command_line(url: str) -> None:
    """A colon or an @ alone is no password."""
    assert load_settings(config=None, flags={"database_url": url}).database_url == url


@pytest.mark.parametrize(
    "url", ["postgers://me:s3cret@host/db", "s3cret", "sqlite://s3cret", "redis://:s3cret@host", ""]
)
def test_a_problem_with_the_database_url_does_not_repeat_it(url: str) -> None:
    """The URL may hold a password, so no sentence shows it, from whichever place it comes."""
    (sentence,) = problems_of(write(f"database_url = '{url}'\n"))
    assert sentence.startswith("my.toml, key database_url: ")
    assert "s3cret" not in sentence
    (sentence,) = problems_of(None, {"database_url": url})
    assert "s3cret" not in sentence


def test_variables_with_another_meaning_are_no_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """JOBWARDEN_NODE and JOBWARDEN_TEST_... are not options and no mistakes."""
    monkeypatch.setenv("JOBWARDEN_NODE", "n1")
    monkeypatch.setenv("JOBWARDEN_TEST_ANYTHING", "1")
    assert load_settings(config=None, flags={}).workers == 4
