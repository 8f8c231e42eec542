"""The parts of `jobwarden service` that decide: how edits are seen, what a unit says, what stands in the way."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from jobwarden.cli.service.configuration import first_configuration, handlers_of
from jobwarden.cli.service.marked import Standing, marked, standing, untouched
from jobwarden.cli.service.program import problems_of
from jobwarden.cli.service.unit import quoted, read_unit, unit_file, with_program
from jobwarden.cli.shipped import shipped_folder

INSTANCES = (None, "mail")
PROGRAM = "/opt/jobwarden/bin/jobwarden"


def shipped_unit(instance: str | None) -> str:
    """The text of the unit that an installation of that kind gets."""
    return (shipped_folder("systemd") / unit_file(instance)).read_text()


def test_a_file_is_the_operators_from_the_first_changed_byte_on() -> None:
    """What was written and not changed may be renewed; anything else is edited, a foreign file included."""
    old, new = marked("a = 1\n"), marked("a = 2\n")
    assert standing(None, wanted=new) is Standing.MISSING
    assert standing(new, wanted=new) is Standing.SAME
    assert standing(old, wanted=new) is Standing.OLDER
    for edited in (old + b"\n", old.replace(b"1", b"3"), old.replace(b"# Written", b"#Written"), b"a = 2\n", b""):
        assert standing(edited, wanted=new) is Standing.EDITED
        assert not untouched(edited)


@pytest.mark.parametrize("instance", INSTANCES)
def test_every_command_of_an_installed_unit_names_this_installation(instance: str | None) -> None:
    """An installed unit asks nobody's PATH which jobwarden it is; all else in it stays as it was shipped."""
    shipped = shipped_unit(instance)
    text = read_unit(shipped, program=PROGRAM, instance=instance).text
    commands = [line for line in text.splitlines() if line.startswith("Exec")]
    assert len(commands) > 1
    assert all(line.partition("=")[2].startswith(f"{PROGRAM} ") for line in commands)
    assert text.replace(f"={PROGRAM} ", "=/usr/bin/env jobwarden ") == shipped


def test_a_drop_in_keeps_its_commands_to_itself() -> None:
    """Prefixes of systemd.service(5) stay, an empty command stays empty, and a word that only looks like ours stays."""
    text = "ExecReload=\nExecStartPre=-+/usr/bin/env jobwarden check\nExecStop=/usr/bin/jobwardenctl stop\n"
    expected = text.replace("/usr/bin/env jobwarden ", f"{PROGRAM} ")
    assert with_program(text, program=PROGRAM) == expected


@pytest.mark.parametrize(
    ("instance", "name"), [(None, "jobwarden"), ("mail", "jobwarden-mail")], ids=["the only one", "an instance"]
)
def test_the_paths_of_a_service_are_those_of_its_unit(instance: str | None, name: str) -> None:
    """Nothing else says where configuration, handlers and jobs lie, or as whom the daemon runs."""
    unit = read_unit(shipped_unit(instance), program=PROGRAM, instance=instance)
    assert unit.config == Path("/etc", name, "jobwarden.toml")
    assert unit.handlers == Path("/etc", name, "handlers")
    assert unit.state == Path("/var/lib", name)
    assert (unit.user, unit.wanted_by) == ("jobwarden", "multi-user.target")
    assert unit.name == ("jobwarden.service" if instance is None else "jobwarden@mail.service")


def test_a_path_with_strange_characters_is_quoted_for_systemd() -> None:
    """A space ends no word, and a percent sign is no specifier (systemd.service(5))."""
    assert quoted("/opt/jobwarden/bin/jobwarden") == "/opt/jobwarden/bin/jobwarden"
    assert quoted('/opt/my jobs/50%/a"b\\c') == '"/opt/my jobs/50%%/a\\"b\\\\c"'


@pytest.mark.parametrize("instance", INSTANCES)
def test_a_first_configuration_sets_three_paths_and_no_default(instance: str | None) -> None:
    """What a later version finds better applies to it; every other option stands there as a comment."""
    unit = read_unit(shipped_unit(instance), program=PROGRAM, instance=instance)
    shipped = (shipped_folder("config") / "jobwarden.toml").read_text()
    text = first_configuration(shipped, unit)
    assert tomllib.loads(text) == {
        "database_url": f"sqlite:///{unit.state}/jobwarden.db",
        "handlers": str(unit.handlers),
        "state_dir": f"{unit.state}/state",
    }
    lines = text.splitlines()
    assert [
        name
        for name in tomllib.loads(shipped)
        if not any(each.startswith((f"{name} =", f"# {name} =")) for each in lines)
    ] == []


def test_the_folder_of_the_handlers_is_that_of_the_configuration_that_is_there() -> None:
    """An edited configuration says where they are, in either spelling; one that cannot be read says nothing."""
    unit = read_unit(shipped_unit(None), program=PROGRAM, instance=None)
    assert handlers_of(b'handlers = "/srv/handlers"', unit) == Path("/srv/handlers")
    assert handlers_of(b'[handlers]\ndirectory = "mine"', unit) == unit.state / "mine"
    assert handlers_of(b"workers = 3", unit) == unit.handlers
    assert handlers_of(b"handlers = [", unit) == unit.handlers


def test_an_installation_that_a_service_cannot_see_is_named_with_the_way_out(tmp_path: Path) -> None:
    """Homes and /tmp are hidden from the unit, and a closed folder keeps its user out."""
    (hidden,) = problems_of({Path("/" + "home/me/venv")})
    assert hidden[0] == "/" + "home/me/venv"
    assert "/opt/jobwarden" in hidden[1]
    closed = tmp_path / "closed"
    (closed / "bin").mkdir(parents=True)
    closed.chmod(0o750)
    (found,) = problems_of({closed / "bin"}, hidden=())
    assert found[0] == str(closed if _passable(tmp_path) else _first_closed(tmp_path))
    assert f"chmod o+rx {found[0]}" in found[1]
    assert problems_of({Path("/usr")}) == []


def _passable(path: Path) -> bool:
    return all(each.stat().st_mode & 0o001 for each in (path, *path.parents))


def _first_closed(path: Path) -> Path:
    return next(each for each in (*reversed(path.parents), path) if not each.stat().st_mode & 0o001)
