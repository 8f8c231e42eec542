"""A real, throw-away systemd in which tests run the shipped unit as a machine would: boots in half a second.

`booted_lab()` gives a `Lab`: PID 1 of namespaces of its own over a copy-on-write view of this machine's `/` (or of
another tree), with the Python that runs the tests at `/opt/jobwarden/bin/python`, where every user can reach it, and
the command `jobwarden` in `/usr/local/bin`. Commands enter it one by one; its files can be read and written from
outside. `systemd_lab.sh` does the mounting. Needs root with CAP_SYS_ADMIN, cgroup v2 and systemd installed (not
running); elsewhere its tests are skipped with a sentence, and fail with CI set if a package is all that is missing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest

import jobwarden
from tests.support.waiting import LIMIT_SECONDS, eventually

UNITS = Path(__file__).resolve().parents[2] / "systemd"
_BOOT = Path(__file__).with_suffix(".sh")
_SYSTEMD = Path("usr/lib/systemd/systemd")
_NEEDED = ("nsenter", "setpriv", "unshare", "mount")
_CAP_SYS_ADMIN = 21
_HOME = "/opt/jobwarden"
_COMMAND = f"#!{_HOME}/bin/python -P\nimport sys\nfrom jobwarden.cli import main\nsys.exit(main())\n"
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "SYSTEMD_PAGER": "cat",
    "SYSTEMD_COLORS": "0",
}

Answer = subprocess.CompletedProcess[str]


class Lab:
    """One booted systemd. Made by `booted_lab`."""

    def __init__(
        self,
        folder: Path,
        *,
        tree: Path = Path("/"),
        binds: Mapping[Path, str] | None = None,
        with_jobwarden: bool = True,
    ) -> None:
        """Boot `tree` with an empty `folder` of ours; `binds` tells what is to be seen where, writable after a `+`."""
        seen = {**(_packages() if with_jobwarden else {}), **(binds or {})}
        pairs = [str(each) for pair in seen.items() for each in pair]
        place = folder / "lab"
        place.mkdir()
        self._boot = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "--", str(_BOOT), str(place), str(tree), *pairs],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._boot.stdout is not None
        first = self._boot.stdout.readline().strip()
        assert first, "no PID 1; its messages are above"
        self._init = int(first)
        eventually(self._is_booted, what="systemd in the lab")
        if with_jobwarden:
            self._install_python()

    def _is_booted(self) -> bool:
        answer = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return answer in {"running", "degraded"}

    def _install_python(self) -> None:
        """A virtual environment out of what `_packages` shows; a link that leads nowhere outside is right inside."""
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        home, packages = self.path(_HOME), self.path(f"{_HOME}/lib/{version}/site-packages")
        packages.mkdir(parents=True)
        (home / "bin").mkdir()
        for library in (Path(sys.base_prefix) / "lib").glob("libpython*.so*"):  # its own way there may be root's alone
            seen = self.path(f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}/{library.name}")
            seen.unlink(missing_ok=True)
            seen.symlink_to(f"{_base()}/lib/{library.name}")
        (home / "bin" / "python").symlink_to(f"{_base()}/bin/{version}")
        (home / "pyvenv.cfg").write_text(f"home = {_base()}/bin\ninclude-system-site-packages = false\n")
        (packages / "seen.pth").write_text(f"{_HOME}/source\n{_HOME}/packages\n")
        self.write("/usr/local/bin/jobwarden", _COMMAND, mode=0o755)

    # what tests use

    def path(self, inside: str) -> Path:
        """A file or folder of the lab, seen from outside; never resolve it: links would lead to this machine's `/`."""
        return Path(f"/proc/{self._init}/root{inside}")

    def write(self, inside: str, text: str, *, mode: int = 0o644) -> None:
        """Make this file of root's, and the folders above it."""
        place = self.path(inside)
        place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(mode)

    def run(self, *words: str, check: bool = True, seconds: float = 60, **environment: str) -> Answer:
        """A command inside, as root, until it ends; what it printed is in the answer, both streams in `stdout`."""
        answer = subprocess.run(
            [*self._door(environment), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert not check or answer.returncode == 0, f"{' '.join(words)}: {answer.returncode}\n{answer.stdout}"
        return answer

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """A command inside that the test waits for itself."""
        return subprocess.Popen(
            [*self._door({}), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _door(self, environment: Mapping[str, str]) -> list[str]:
        given = [f"{name}={value}" for name, value in {**_ENVIRONMENT, **environment}.items()]
        spaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root"]
        return ["nsenter", f"--target={self._init}", *spaces, "--", "env", "-i", "--chdir=/", *given]

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """What `systemctl show` says of a unit."""
        answer = self.run("systemctl", "show", f"--property={','.join(properties)}", unit)
        return dict(line.split("=", 1) for line in answer.stdout.splitlines())

    def await_property(self, unit: str, name: str, value: str, *, seconds: float = LIMIT_SECONDS) -> None:
        """Until `systemctl show` says so."""
        eventually(lambda: self.show(unit, name)[name] == value, what=f"{name}={value} of {unit}", seconds=seconds)

    def journal(self, *matches: str) -> list[dict[str, Any]]:
        """The entries of the journal, each with its fields; matches are those of journalctl(1)."""
        self.run("journalctl", "--sync")
        answer = self.run("journalctl", "--output=json", "--all", *matches)
        return [json.loads(line) for line in answer.stdout.splitlines() if line.startswith("{")]

    def close(self) -> None:
        """Everything in it ends at once; nothing of it is left."""
        assert self._boot.stdin is not None
        assert self._boot.stdout is not None
        self._boot.stdin.close()
        self._boot.wait(timeout=LIMIT_SECONDS)
        self._boot.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def booted_lab(
    *, tree: Path = Path("/"), binds: Mapping[Path, str] | None = None, with_jobwarden: bool = True
) -> Iterator[Lab]:
    """A lab for as long as the block lasts, with our Python in it or not. Skips the test where there can be none."""
    require_lab(tree)
    folder = Path(tempfile.mkdtemp(prefix="jobwarden-lab-"))
    try:
        with Lab(folder, tree=tree, binds=binds, with_jobwarden=with_jobwarden) as lab:
            yield lab
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def require_lab(tree: Path = Path("/")) -> None:
    """Skip the test where no systemd can be booted; with CI set, fail it where a package is all that is missing."""
    if (why := _never_here()) is not None:
        pytest.skip(f"no systemd can be booted for this test: {why}")
    if (lacking := _missing(tree)) is not None:
        sentence = f"no systemd can be booted for this test: install Debian's {lacking}"
        if os.environ.get("CI"):
            pytest.fail(sentence)
        pytest.skip(sentence)


def _never_here() -> str | None:
    if os.geteuid() != 0:
        return "the tests do not run as root"
    held = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff"))
    if not int(held.split()[1], 16) >> _CAP_SYS_ADMIN & 1:
        return "root lacks CAP_SYS_ADMIN here (a container?)"
    if "\tcgroup2\n" not in Path("/proc/filesystems").read_text():
        return "the kernel has no cgroup v2"
    return None


def _missing(tree: Path) -> str | None:
    if not (tree / _SYSTEMD).exists():
        return "systemd"
    if not (tree / "usr/bin/dbus-daemon").exists():
        return "dbus"
    return "util-linux" if any(shutil.which(each) is None for each in _NEEDED) else None


def _packages() -> dict[Path, str]:
    """What our Python is made of, and where it is seen inside: everybody may go there, and no home folder is hidden."""
    found = {
        Path(jobwarden.__file__).parents[1]: f"{_HOME}/source",
        Path(sysconfig.get_path("purelib")): f"{_HOME}/packages",
    }
    return found if _base() == sys.base_prefix else {**found, Path(sys.base_prefix): _base()}


def _base() -> str:
    """Where the interpreter's own installation is seen: as it is where it is everybody's."""
    return sys.base_prefix if sys.base_prefix in {"/usr", "/usr/local"} else f"{_HOME}/python"
