"""`jobwarden service` on a file system that is prepared below `--root`: what it writes, keeps, renews, takes away."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from jobwarden.cli.entry import enter
from jobwarden.cli.service.marked import marked
from jobwarden.settings import load_settings

UNIT = "etc/systemd/system/jobwarden.service"
CONFIG = "etc/jobwarden/jobwarden.toml"
ENABLED = "etc/systemd/system/multi-user.target.wants/jobwarden.service"
FIT = os.geteuid() == 0 and all(map(shutil.which, ("systemctl", "systemd-sysusers", "userdel")))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The file system of a machine that has never run."""
    (tmp_path / "etc").mkdir()
    return tmp_path


class Service:
    """Calls the command for one image."""

    def __init__(self, image: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.image = image
        self._capfd = capfd

    def say(self, *words: str, code: int = 0) -> str:
        """What it prints, both streams of its own and of the programs that it runs."""
        if not FIT:
            sentence = "`jobwarden service` needs root, systemd and passwd: install Debian's systemd and passwd"
            (pytest.fail if os.environ.get("CI") else pytest.skip)(sentence)
        assert enter(["service", *words, "--root", str(self.image)]) == code
        said = self._capfd.readouterr()
        return said.out + said.err

    def files(self) -> dict[str, bytes | str]:
        """Everything in the image but the accounts and their locks."""
        found = (each for each in self.image.rglob("*") if each.is_symlink() or each.is_file())
        paths = (each for each in found if each.parent != self.image / "etc")
        return {
            str(each.relative_to(self.image)): str(each.readlink()) if each.is_symlink() else each.read_bytes()
            for each in paths
        }


@pytest.fixture
def service(image: Path, capfd: pytest.CaptureFixture[str]) -> Service:
    """The command, for that image."""
    return Service(image, capfd)


def test_install_shows_everything_and_changes_nothing_until_it_is_told(service: Service) -> None:
    """A dry run prints each file in full and each command, and leaves the machine as it was."""
    said = service.say("install")
    assert "would write /etc/systemd/system/jobwarden.service (0644, root:root)" in said
    assert "    [Service]" in said
    assert "    workers = 4" not in said
    assert "would run systemd-sysusers" in said
    assert "nothing was changed" in said
    assert service.files() == {}
    assert not (service.image / "etc/passwd").exists()


def test_an_installed_service_is_enabled_and_its_configuration_is_good(service: Service) -> None:
    """Unit, user, configuration and handlers are there with their modes; a second install has nothing to do."""
    service.say("install", "--yes")
    assert (service.image / ENABLED).readlink() == Path("/etc/systemd/system/jobwarden.service")
    assert "jobwarden:" in (service.image / "etc/passwd").read_text()
    assert (service.image / CONFIG).stat().st_mode & 0o777 == 0o640
    assert (service.image / "etc/jobwarden").stat().st_mode & 0o777 == 0o755
    assert (service.image / "etc/jobwarden/handlers/compress_file.sh").stat().st_mode & 0o111
    settings = load_settings(config=service.image / CONFIG, flags={})
    assert settings.database_url == "sqlite:////var/lib/jobwarden/jobwarden.db"
    before = service.files()
    assert "nothing to do" in service.say("install", "--yes")
    assert service.files() == before


def test_an_edited_file_is_kept_and_an_untouched_one_renewed(service: Service) -> None:
    """Another version renews what it wrote itself; what an operator edited, or a link, it names and leaves."""
    service.say("install", "--yes")
    config, unit = service.image / CONFIG, service.image / UNIT
    config.write_text(config.read_text().replace("# workers = 4", "workers = 2"))
    edited, current = config.read_bytes(), unit.read_bytes()
    unit.write_bytes(marked("[Service]\nExecStart=/usr/bin/true\n"))  # as another version would have

    said = service.say("install", "--yes")

    assert f"keep /{CONFIG}" in said
    assert f"renew /{UNIT}" in said
    assert (config.read_bytes(), unit.read_bytes()) == (edited, current)

    elsewhere = service.image / "srv.service"
    elsewhere.write_bytes(marked("[Service]\nExecStart=/usr/bin/true\n"))
    unit.unlink()
    unit.symlink_to(elsewhere)
    assert f"keep /{UNIT}" in service.say("install", "--yes")
    assert unit.is_symlink()


def test_handlers_that_an_operator_removed_stay_removed(service: Service) -> None:
    """The examples come with the folder, and never again."""
    service.say("install", "--yes")
    (service.image / "etc/jobwarden/handlers/digest_file.py").unlink()
    service.say("install", "--yes")
    assert not (service.image / "etc/jobwarden/handlers/digest_file.py").exists()


def test_uninstall_leaves_what_is_the_operators(service: Service) -> None:
    """The service goes, an edited unit under another name; configuration, handlers and jobs stay and are named."""
    service.say("install", "--yes")
    jobs = service.image / "var/lib/jobwarden/jobwarden.db"
    jobs.parent.mkdir(parents=True)
    jobs.write_bytes(b"jobs")
    unit = service.image / UNIT
    unit.write_text(unit.read_text() + "# mine\n")

    said = service.say("uninstall", "--yes")

    assert "keep /var/lib/jobwarden: the jobs; `--purge` removes them" in said
    assert not unit.exists()
    assert not (service.image / ENABLED).is_symlink()
    assert unit.with_name("jobwarden.service.edited").read_text().endswith("# mine\n")
    assert jobs.read_bytes() == b"jobs"
    assert (service.image / CONFIG).exists()


def test_purge_leaves_nothing(service: Service) -> None:
    """With --purge configuration, handlers, jobs and user go, too; a second time there is nothing to do."""
    service.say("install", "--yes", "--with", "runas")
    (service.image / "var/lib/jobwarden").mkdir(parents=True)
    service.say("uninstall", "--purge", "--yes")
    assert service.files() == {}
    assert not (service.image / "var/lib/jobwarden").exists()
    assert "jobwarden" not in (service.image / "etc/passwd").read_text()
    assert "nothing to do" in service.say("uninstall", "--purge", "--yes")


def test_instances_share_unit_and_user_until_the_last_one_goes(service: Service) -> None:
    """Each has its own configuration and jobs; taking one away, even with --purge, takes nothing from the others."""
    for name in ("mail", "night"):
        service.say("install", "--instance", name, "--yes")
    assert (service.image / "etc/jobwarden-mail/jobwarden.toml").exists()
    service.say("uninstall", "--instance", "mail", "--purge", "--yes")
    assert not (service.image / "etc/jobwarden-mail").exists()
    assert (service.image / "etc/jobwarden-night/jobwarden.toml").exists()
    assert (service.image / "etc/systemd/system/jobwarden@.service").exists()
    assert "jobwarden:" in (service.image / "etc/passwd").read_text()
    service.say("uninstall", "--instance", "night", "--purge", "--yes")
    assert service.files() == {}


def test_a_drop_in_is_installed_by_name_and_only_one_that_exists(service: Service) -> None:
    """`--with` takes the shipped ones; what `systemctl edit` wrote stays when the service goes."""
    service.say("install", "--yes", "--with", "runas", "--with", "internet")
    folder = service.image / f"{UNIT}.d"
    assert sorted(each.name for each in folder.iterdir()) == ["jobwarden-internet.conf", "jobwarden-runas.conf"]
    (folder / "override.conf").write_text("[Service]\nNice=5\n")
    service.say("uninstall", "--yes")
    assert [each.name for each in folder.iterdir()] == ["override.conf"]
    assert "there are runas, internet, notify-reload" in service.say("install", "--with", "root", code=2)


def test_show_tells_what_is_there_and_fails_without_a_service(service: Service) -> None:
    """Exit code 1 says that there is none; with one, each file is compared with what would be installed now."""
    assert "unit       /etc/systemd/system/jobwarden.service: missing" in service.say("show", code=1)
    service.say("install", "--yes")
    with (service.image / CONFIG).open("a") as file:
        file.write("# mine\n")
    shown: dict[str, Any] = json.loads(service.say("show", "--json"))
    assert shown["unit"] == f"/{UNIT}: as installed"
    assert shown["config"] == f"/{CONFIG}: edited"
    assert shown["user"].startswith("jobwarden (")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("install", "--now"), "--now: nothing can be started below --root"),
        (("install", "--instance", "../x"), "--instance: '../x' is no name"),
        (("uninstall", "--instance", "a b"), "--instance: 'a b' is no name"),
    ],
    ids=["now", "a path for a name", "a space in a name"],
)
def test_what_cannot_be_done_is_refused_before_anything_is(
    service: Service, words: tuple[str, ...], sentence: str
) -> None:
    """One sentence, exit code 2, and nothing written."""
    assert sentence in service.say(*words, code=2)
    assert service.files() == {}


def test_a_plan_for_machines_names_every_step(service: Service) -> None:
    """With --json the plan is one document, and says whether it was carried out."""
    plan = json.loads(service.say("install", "--json"))
    assert plan["done"] is False
    assert any(step["do"].startswith(f"write /{UNIT}") and "[Service]" in step["content"] for step in plan["steps"])
