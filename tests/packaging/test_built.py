"""Wheel and sdist: what is in them, that two builds are the same bytes, and that their metadata is honest."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from tests.packaging.wheels import ROOT, copied_source

NOT_IN_THE_WHEEL = ("tests/", "daemon/", "systemd/", "jobwarden/systemd/", ".git", ".ci")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist of this repository."""
    return _build(copied_source(tmp_path_factory.mktemp("source") / "jobwarden"), tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def wheel(built: Path) -> Iterator[zipfile.ZipFile]:
    """The wheel, opened."""
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as opened:
        yield opened


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    """What an installer reads first."""
    (name,) = (each for each in wheel.namelist() if each.endswith(".dist-info/METADATA"))
    return Parser().parsestr(wheel.read(name).decode())


def test_two_builds_give_the_same_bytes(built: Path, tmp_path: Path) -> None:
    """From another folder, at another time, under another umask: wheel and sdist are the same to the last byte."""
    source = copied_source(tmp_path / "elsewhere" / "copy")
    for path in [source, *source.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | 0o020)
            os.utime(path, (1_000_000_000, 1_000_000_000))
    again = _build(source, tmp_path / "built", umask=0o002)
    names = sorted(path.name for path in built.iterdir())
    assert len(names) == 2
    assert sorted(path.name for path in again.iterdir()) == names
    assert [name for name in names if (built / name).read_bytes() != (again / name).read_bytes()] == []


@pytest.mark.parametrize("folder", ["handlers", "systemd"])
def test_the_wheel_has_every_shipped_file_as_it_is_here(wheel: zipfile.ZipFile, folder: str) -> None:
    """Units, drop-ins and handlers arrive byte for byte, a script with its right to be run."""
    here = {
        f"jobwarden/shipped_{folder}/{path.relative_to(ROOT / folder)}": path
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert len(here) > 3
    there = {name for name in wheel.namelist() if name.startswith(f"jobwarden/shipped_{folder}/")}
    assert there == set(here)
    assert [name for name, path in here.items() if wheel.read(name) != path.read_bytes()] == []
    scripts = {name for name, path in here.items() if path.stat().st_mode & 0o100}
    assert {name for name in there if wheel.getinfo(name).external_attr >> 16 & 0o100} == scripts


def test_the_wheel_has_the_whole_package_with_its_types_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    """Every module, the marker of PEP 561, the configuration, the licence; no tests but the suite of the stores."""
    names = set(wheel.namelist())
    package = ROOT / "daemon" / "jobwarden"
    modules = {f"jobwarden/{path.relative_to(package)}" for path in package.rglob("*.py")}
    assert modules - names == set()
    assert {"jobwarden/py.typed", "jobwarden/shipped_config/jobwarden.toml"} <= names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert [name for name in names if name.startswith(NOT_IN_THE_WHEEL) or name.endswith(".pyc")] == []


def test_the_sdist_builds_the_same_wheel(built: Path, wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    """Whoever packages jobwarden for a distribution starts from the sdist, and loses nothing by it."""
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as sdist:
        sdist.extractall(tmp_path / "unpacked", filter="data")
    (source,) = (tmp_path / "unpacked").iterdir()
    for name in ("README.md", "CHANGELOG.md", "LICENSE", "config/README.md", "systemd/README.md", "tests/README.md"):
        assert (source / name).is_file()
    (again,) = _build(source, tmp_path / "again", only="wheel").glob("*.whl")
    assert Path(str(wheel.filename)).read_bytes() == again.read_bytes()


def test_sqlite_needs_no_extra(metadata: Message) -> None:
    """`pip install jobwarden` brings no driver of a server; those are extras, as are the packages of tests."""
    needed = [str(each) for each in metadata.get_all("Requires-Dist", []) if "extra ==" not in str(each)]
    assert len(needed) > 8
    drivers = ("psycopg", "pymysql", "pytest", "jsonschema", "starlette", "uvicorn")
    assert [each for each in needed if each.lower().startswith(drivers)] == []


def test_each_dependency_has_a_lower_bound_and_none_an_upper_one(metadata: Message) -> None:
    """Below stands what was tried (`python -m tests.packaging.oldest`); above, an application is left its choice."""
    needed = [str(each).partition(";")[0].strip() for each in metadata.get_all("Requires-Dist", [])]
    ours = [each for each in needed if "==" not in each]
    assert [each for each in ours if ">=" not in each] == []
    assert [each for each in needed if "<" in each or "~=" in each or "!=" in each] == []


def _build(source: Path, folder: Path, *, umask: int = 0o022, only: str = "") -> Path:
    """Wheel and sdist of that source by the backend that pyproject.toml names, without asking a package index."""
    targets = ["--target", only] if only else []
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--directory", str(folder), *targets],
        cwd=source,
        umask=umask,
        stdout=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "SOURCE_DATE_EPOCH"}},
        check=True,
    )
    return folder
