"""The wheel of this repository, installed by pip, pipx and uv: each time the daemon runs a job on SQLite.

    python -m tests.packaging.installers

Nothing but the wheel and what it depends on is installed; the folder of the tests is not seen. Needs a package index;
takes a minute.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping
from pathlib import Path

from tests.packaging.wheels import ROOT, built_wheel

HANDLER = """\
from jobwarden import handler


@handler("double")
def double(payload):
    return 2 * payload
"""


def main() -> int:
    """Install and try, three times."""
    with tempfile.TemporaryDirectory(prefix="jobwarden-installers-") as name:
        folder = Path(name)
        wheel = built_wheel(ROOT, folder)
        venv.EnvBuilder(with_pip=True).create(folder / "tools")
        tools = folder / "tools" / "bin"
        run(tools / "pip", "install", "--quiet", "pipx", "uv")
        for by, command in {
            "pip": with_pip(folder, wheel),
            "pipx": with_pipx(folder, tools, wheel),
            "uv tool": with_uv(folder, tools, wheel),
        }.items():
            print(f"{by:<8} {try_out(command, folder / f'work by {by}')}", flush=True)
    return 0


def with_pip(folder: Path, wheel: Path) -> Path:
    """`pip install` in a virtual environment."""
    venv.EnvBuilder(with_pip=True).create(folder / "venv")
    run(folder / "venv" / "bin" / "pip", "install", "--quiet", str(wheel))
    return folder / "venv" / "bin" / "jobwarden"


def with_pipx(folder: Path, tools: Path, wheel: Path) -> Path:
    """`pipx install`."""
    places = {"PIPX_HOME": str(folder / "pipx"), "PIPX_BIN_DIR": str(folder / "pipx-bin")}
    run(tools / "pipx", "install", "--quiet", str(wheel), variables=places)
    return folder / "pipx-bin" / "jobwarden"


def with_uv(folder: Path, tools: Path, wheel: Path) -> Path:
    """`uv tool install`."""
    places = {name: str(folder / name.lower()) for name in ("UV_TOOL_DIR", "UV_TOOL_BIN_DIR", "UV_CACHE_DIR")}
    run(tools / "uv", "tool", "install", "--quiet", "--no-managed-python", str(wheel), variables=places)
    return folder / "uv_tool_bin_dir" / "jobwarden"


def try_out(command: Path, work: Path) -> str:
    """A job from its add to its output, in an empty folder; the version, and what the job returned."""
    (work / "handlers").mkdir(parents=True)
    (work / "handlers" / "double.py").write_text(HANDLER)
    run(command, "add", "double", "21", cwd=work)
    run(command, "run", "--burst", cwd=work)
    output = run(command, "show", "1", "--json", cwd=work)
    assert '"output": 42' in output, output
    assert "complete" in run(command, "completion", "bash", cwd=work)
    plan = run(command, "service", "install", "--root", str(work), cwd=work)
    assert f"/{command.name} run --config /etc/jobwarden/jobwarden.toml" in plan, plan
    return f"{run(command, '--version', cwd=work).strip()}: 21 doubled is 42"


def run(program: Path, *words: str, cwd: Path | None = None, variables: Mapping[str, str] | None = None) -> str:
    """What it prints. Fails with everything that it said if its exit code is not 0."""
    environment: Mapping[str, str] = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "JOBWARDEN"))},
        **(variables or {}),
    }
    answer = subprocess.run(
        [program, *words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert answer.returncode == 0, f"{program} {' '.join(words)}: {answer.stdout}{answer.stderr}"
    return answer.stdout


if __name__ == "__main__":
    sys.exit(main())
