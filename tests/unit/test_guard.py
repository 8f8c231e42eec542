"""What a daemon refuses at its start, and when it reads its configuration again: what other users can reach."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobwarden.errors import InvalidSettingsError
from jobwarden.findings import Severity
from jobwarden.settings import load_settings
from jobwarden.supervisor.guard import breaches, examine_reach, make_state_dir, require_safe

SOMEBODY = 65_534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may run handlers as somebody else")


class Premises:
    """A configuration in a folder that everybody can enter, with all that belongs to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "etc" / "jobwarden.toml"
        (folder / "etc" / "conf.d").mkdir(parents=True)
        (folder / "handlers").mkdir()
        (folder / "handlers" / "a.py").write_text("")
        (folder / "data").mkdir()
        (folder / "data" / "jobs.db").touch(mode=0o600)
        make_state_dir(folder / "state")
        self.write(f'database_url = "sqlite:///{folder}/data/jobs.db"\n')
        for each in folder.rglob("*"):
            each.chmod(each.stat().st_mode & 0o755)

    def write(self, text: str) -> None:
        """Options of the config file; state folder and handlers are given too."""
        places = f'state_dir = "{self.folder}/state"\nhandlers = "{self.folder}/handlers"\n'
        self.config.write_text(places + text)

    def told(self) -> list[tuple[str, str]]:
        """What is named, below the folder, and the first words of why."""
        settings = load_settings(config=self.config, flags={})
        found = (each.partition(": ") for each in breaches(settings, config=self.config, flags={}))
        return [(str(Path(path).relative_to(self.folder)), rest.partition(" (mode")[0]) for path, _, rest in found]


@pytest.fixture
def premises(monkeypatch: pytest.MonkeyPatch) -> Iterator[Premises]:
    """Nothing is wrong."""
    for variable in [name for name in os.environ if name.startswith("JOBWARDEN_")]:
        monkeypatch.delenv(variable)
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # pytest's own folders are closed to all others
        Path(folder).chmod(0o755)
        yield Premises(Path(folder))


def test_a_configuration_in_nobodys_reach_is_taken(premises: Premises) -> None:
    """Also before the first start, when neither state folder nor database is there."""
    assert premises.told() == []
    (premises.folder / "state").rmdir()
    (premises.folder / "data" / "jobs.db").unlink()
    assert premises.told() == []


@pytest.mark.parametrize("place", ["etc/jobwarden.toml", "etc", "etc/conf.d", "etc/conf.d/a.toml", "state", "data"])
def test_each_place_that_everybody_can_write_is_refused_once(premises: Premises, place: str) -> None:
    """Configuration, the folders above it, conf.d, the state folder, the folder of the database."""
    (premises.folder / "etc" / "conf.d" / "a.toml").write_text("workers = 1\n")
    (premises.folder / place).chmod((premises.folder / place).stat().st_mode | 0o002)
    assert [path for path, _ in premises.told()] == [place]
    settings = load_settings(config=premises.config, flags={})
    with pytest.raises(InvalidSettingsError, match=f"/{place}: every user can write it .*; chmod o-w /"):
        require_safe(settings, config=premises.config, flags={})
    require_safe(settings.model_copy(update={"strict_modes": False}), config=premises.config, flags={})


def test_nobody_may_add_to_conf_d_nor_to_the_state_folder(premises: Premises) -> None:
    """The sticky bit is not enough there, and an empty folder is in reach as well."""
    for name in ("etc/conf.d", "state"):
        (premises.folder / name).chmod(0o1777)
        assert [path for path, _ in premises.told()] == [name]
        (premises.folder / name).chmod(0o700)


def test_a_database_that_a_group_shares_is_no_breach(premises: Premises) -> None:
    """`database_mode` is for that; everybody is another matter."""
    (premises.folder / "data" / "jobs.db").chmod(0o660)
    (premises.folder / "data").chmod(0o2770)
    assert premises.told() == []
    (premises.folder / "data" / "jobs.db").chmod(0o666)
    assert premises.told() == [("data/jobs.db", "every user can write it")]


@pytest.mark.parametrize(
    "text",
    [
        'database_url = "postgresql://jobs:un-said@db/jobs"\n',
        'database_url = "postgresql://jobs@db/jobs"\ndatabase_password = "un-said"\n',
    ],
)
def test_a_password_that_everybody_can_read_is_refused(premises: Premises, text: str) -> None:
    """Only in the file in which it stands, and never with its value."""
    (premises.folder / "etc" / "conf.d" / "secret.toml").write_text(text)
    ((wrong, why),) = premises.told()
    assert (wrong, "un-said" in why) == ("etc/conf.d/secret.toml", False)
    (premises.folder / "etc" / "conf.d" / "secret.toml").chmod(0o640)
    assert premises.told() == []


def test_the_password_file_is_guarded_like_the_configuration(premises: Premises) -> None:
    """Reading and writing alike."""
    (secret := premises.folder / "password").write_text("pw\n")
    premises.write(f'database_url = "postgresql://jobs@db/jobs"\ndatabase_password_file = "{secret}"\n')
    secret.chmod(0o600)
    assert premises.told() == []
    secret.chmod(0o604)
    assert [path for path, _ in premises.told()] == ["password"]
    secret.chmod(0o602)
    assert premises.told() == [("password", "every user can write it")]


@as_root
def test_jobs_of_another_user_must_not_reach_database_or_password(premises: Premises) -> None:
    """A pool's `user` keeps its jobs away from both, and no mode may undo that; groups count as well."""
    pool = f'[[pool]]\nname = "guests"\nuser = "{SOMEBODY}"\n'
    url = f'database_url = "sqlite:///{premises.folder}/data/jobs.db"\n'
    premises.write(url + pool)
    assert premises.told() == []
    (premises.folder / "data" / "jobs.db").chmod(0o604)
    assert [path for path, _ in premises.told()] == ["data/jobs.db"]
    premises.write('database_url = "postgresql://jobs:un-said@db/jobs"\n' + pool)
    premises.config.chmod(0o640)
    assert premises.told() == []
    os.chown(premises.config, -1, SOMEBODY)
    ((path, why),) = premises.told()
    assert (path, why.partition(";")[0]) == (
        "etc/jobwarden.toml",
        "it holds a password, and the jobs of pool guests, which run as nobody, can open it",
    )


@as_root
def test_whoever_only_looks_takes_the_owner_of_the_state_folder_for_the_daemon(premises: Premises) -> None:
    """`doctor` by root tells nothing of a service that owns what it needs; another user's folder it does tell of."""
    for name in ("state", "data", "handlers", "handlers/a.py"):
        os.chown(premises.folder / name, 5, -1)
    settings = load_settings(config=premises.config, flags={})
    found = list(examine_reach(settings, config=premises.config, flags={}))
    assert [each.severity for each in found] == [Severity.OK]
    os.chown(premises.folder / "handlers" / "a.py", 6, -1)
    (told,) = examine_reach(settings, config=premises.config, flags={})
    assert (told.severity, told.subject) == (Severity.PROBLEM, "strict-modes")
    assert "handlers/a.py: it belongs to " in told.what
    assert str(told.do).startswith("chown ")
    relaxed = settings.model_copy(update={"strict_modes": False})
    assert [each.severity for each in examine_reach(relaxed, config=premises.config, flags={})] == [Severity.WARNING]


def test_a_state_folder_is_made_for_its_owner_whatever_the_umask(tmp_path: Path) -> None:
    """And nobody else can write the folders above it that had to be made."""
    before = os.umask(0)
    try:
        make_state_dir(tmp_path / "a" / "b" / "state")
    finally:
        os.umask(before)
    modes = [oct((tmp_path / name).stat().st_mode & 0o777) for name in ("a", "a/b", "a/b/state")]
    assert modes == ["0o755", "0o755", "0o700"]
