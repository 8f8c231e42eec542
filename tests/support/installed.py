"""Makes jobwarden look installed to a process of a test: what pip would write beside the package, and no more."""

from __future__ import annotations

import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


def with_entry_points(folder: Path) -> Path:
    """A folder for PYTHONPATH through which pytest finds our plugin, as it does after `pip install`."""
    info = folder / "jobwarden_as_installed-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: jobwarden-as-installed\nVersion: 0.1\n")
    points = tomllib.loads(PROJECT.read_text())["project"]["entry-points"]["pytest11"]
    lines = [f"{name} = {where}" for name, where in points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[pytest11]", *lines, ""]))
    return folder
