"""Places besides flag, variable and file: `conf.d`, systemd's credentials, and files with a password."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from jobwarden.cli.places import find_url
from jobwarden.errors import InvalidSettingsError
from jobwarden.settings import load_settings

SERVER = "postgresql://me@host/db"


@pytest.fixture(autouse=True)
def _no_options_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for variable in [name for name in os.environ if name.upper().startswith(("JOBWARDEN_", "CREDENTIALS_"))]:
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
    return iter(())


def write(name: str, text: str) -> Path:
    """A file below the current folder."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def problems_of(config: Path | None = None, **flags: object) -> list[str]:
    """What `load_settings` refuses."""
    with pytest.raises(InvalidSettingsError) as caught:
        load_settings(config=config, flags=flags)
    return caught.value.problems


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of credentials."""
    folder = Path("credentials")
    folder.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    return folder


def test_the_files_in_conf_d_win_over_the_file_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each `*.toml` beside the config file is read after it, in the order of the names; other files are none of it."""
    path = write("etc/my.toml", "workers = 1\nnice = 1\nhung_seconds = 20\ndrain_seconds = 1\n")
    write("etc/conf.d/20-last.toml", "nice = 3\n")
    write("etc/conf.d/10-first.toml", "nice = 2\nhung_seconds = 21\ndrain_seconds = 2\n")
    write("etc/conf.d/.30-hidden.toml", "nice = 9\n")
    write("etc/conf.d/30-old.toml~", "nice = 9\n")
    monkeypatch.setenv("JOBWARDEN_DRAIN_SECONDS", "4")
    settings = load_settings(config=path, flags={})
    assert (settings.workers, settings.nice, settings.hung_seconds, settings.drain_seconds) == (1, 3, 21, 4)


def test_the_pools_of_all_files_add_up() -> None:
    """Tables of later files follow those of earlier ones, and all take from the top what they do not say."""
    path = write("my.toml", '[[pool]]\nname = "a"\nhandlers = "ha"\n')
    write("conf.d/more.toml", 'workers = 9\n[[pool]]\nname = "b"\nhandlers = "hb"\nworkers = 2\n')
    assert [(pool.name, pool.workers) for pool in load_settings(config=path, flags={}).pools] == [("a", 9), ("b", 2)]
    write("conf.d/other.toml", '[[pool]]\nname = "a"\nhandlers = "hc"\n')
    (sentence,) = problems_of(path)
    assert sentence.startswith('conf.d/other.toml, [[pool]] "a", key name: is the name of another pool too')


def test_mistakes_in_conf_d_name_their_file() -> None:
    """Each file's mistakes are told, with the others'."""
    path = write("my.toml", "workers = 0\n")
    write("conf.d/a.toml", "colour = 1\n")
    write("conf.d/b.toml", "=")
    Path("conf.d/c.toml").symlink_to("nowhere")
    Path("conf.d/d.toml").mkdir()
    os.mkfifo("conf.d/e.toml")
    assert [sentence.partition(":")[0] for sentence in problems_of(path)] == [
        "conf.d/a.toml, key colour",
        "conf.d/b.toml",
        "conf.d/c.toml",
        "conf.d/d.toml",
        "conf.d/e.toml",
        "my.toml, key workers",
    ]


def test_a_conf_d_that_is_no_folder_is_named() -> None:
    """Nothing is left out silently."""
    path = write("my.toml", "")
    write("conf.d", "")
    assert problems_of(path) == [
        "conf.d: cannot be listed (Not a directory); make it a folder that the daemon's user can read, or remove it"
    ]


def test_a_credential_wins_over_files_and_loses_against_variables(
    credentials: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in systemd's folder is the value, without its line end; those of other programs are left alone."""
    path = write("my.toml", f'database_url = "{SERVER}"\ndatabase_password = "of-the-file"\n')
    write("conf.d/a.toml", 'database_password = "of-conf-d"\n')
    assert load_settings(config=path, flags={}).database_password == "of-conf-d"
    (credentials / "database_password").write_text("of the credential \n")
    (credentials / "tls.key").write_bytes(b"\xff")
    settings = load_settings(config=path, flags={})
    assert settings.database_password == "of the credential "
    monkeypatch.setenv("JOBWARDEN_DATABASE_PASSWORD", "of-the-variable")
    assert load_settings(config=path, flags={}).database_password == "of-the-variable"
    (credentials / "database_url").write_text("mariadb://you@there/db")
    assert load_settings(config=path, flags={}).database_url == "mariadb://you@there/db"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("database-password", b"x", "did you mean database_password?"),
        ("jobwarden.database_url", b"x", "did you mean database_url?"),
        ("database_password", b"\xffs3cret", "is not UTF-8 text"),
        ("database_password", b"s3cret\ns3cret\n", "has more than one line"),
        ("database_password", b" \n", "is empty"),
        ("database_password", b"s3\0cret", "contains a NUL character"),
        ("database_url", b"s3cret", "is no database URL"),
    ],
)
def test_a_mistake_in_a_credential_is_told_without_it(credentials: Path, name: str, content: bytes, said: str) -> None:
    """The sentence names the credential and never what stands in it."""
    (credentials / name).write_bytes(content)
    sentence, *_ = problems_of(database_url=None if name == "database_url" else SERVER)
    assert sentence.startswith(f"credential {name}: ")
    assert said in sentence
    assert "s3" not in sentence


def test_a_password_can_stand_in_a_file_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The URL with which the store is opened has it, in whatever characters; nothing that is shown does."""
    secret = write("secret", "p@ss:w/rd%?#é\n")
    settings = load_settings(config=None, flags={"database_url": SERVER, "database_password_file": str(secret)})
    assert make_url(settings.connection_url).password == "p@ss:w/rd%?#é"
    assert make_url(settings.connection_url).username == "me"
    assert settings.shown_url == SERVER
    assert "w/rd" not in f"{settings!r} {settings}"
    monkeypatch.setenv("JOBWARDEN_DATABASE_PASSWORD_FILE", str(secret))
    monkeypatch.setenv("JOBWARDEN_DATABASE_URL", SERVER)
    assert find_url(None, None) == find_url(SERVER, None) == settings.connection_url
    assert find_url("sqlite:///jobs.db", None) == "sqlite:///jobs.db"


def test_the_stronger_place_of_password_and_file_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are two spellings of one thing; both in one place are a mistake."""
    write("secret", "of-the-file")
    both = 'database_password = "x"\ndatabase_password_file = "secret"\n'
    path = write("my.toml", f'database_url = "{SERVER}"\n{both}')
    (sentence,) = problems_of(path)
    assert "`database_password_file` is given there too" in sentence
    path = write("my.toml", f'database_url = "{SERVER}"\ndatabase_password_file = "secret"\n')
    monkeypatch.setenv("JOBWARDEN_DATABASE_PASSWORD", "none")
    assert load_settings(config=path, flags={}).database_password == "none"
    monkeypatch.setenv("JOBWARDEN_DATABASE_PASSWORD", "")
    assert load_settings(config=path, flags={}).database_password == "of-the-file"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite:///jobs.db", "names an SQLite file"),
        ("postgresql://me:other@host/db", "holds a password already"),
        ("postgresql://host/db?password=other", "holds a password already"),
        ("postgresql://host/db", "names no user"),
    ],
)
def test_a_password_that_cannot_be_used_is_refused(url: str, said: str) -> None:
    """A URL with a password of its own, without a user, or of a file takes none."""
    path = write("my.toml", f'database_url = "{url}"\ndatabase_password = "s3cret"\n')
    (sentence,) = problems_of(path)
    assert sentence.startswith("my.toml, key database_password: ")
    assert said in sentence
    assert "s3cret" not in sentence


def test_a_password_file_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever only adds a job is told too, as no connection could be made."""
    path = write("my.toml", f'workers = 0\ndatabase_url = "{SERVER}"\ndatabase_password_file = "gone"\n')
    sentence, _workers = problems_of(path)
    assert sentence.startswith("my.toml, key database_password_file, file gone: cannot be read (No such file")
    monkeypatch.setenv("JOBWARDEN_DATABASE_URL", SERVER)
    with pytest.raises(InvalidSettingsError) as caught:
        find_url(None, path)
    assert caught.value.problems == [sentence]
