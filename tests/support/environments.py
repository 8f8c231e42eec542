"""Second virtual environments, made by Python's own `venv` without pip: with our packages, none, or others."""

from __future__ import annotations

import sys
import sysconfig
import venv
from pathlib import Path

import jobwarden


class Environment:
    """A virtual environment in a folder."""

    def __init__(self, folder: Path) -> None:
        """Make it; nothing is installed in it."""
        venv.create(folder, with_pip=False, symlinks=True)
        self.folder = folder
        self.python = folder / "bin" / "python"
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self.packages = folder / "lib" / version / "site-packages"

    def install_ours(self) -> None:
        """As `pip install jobwarden` would, but in no time: a path file leads to what the tests themselves import."""
        ours = (Path(jobwarden.__file__).parents[1], sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
        (self.packages / "ours.pth").write_text("".join(f"{each}\n" for each in ours))

    def install(self, module: str, text: str) -> None:
        """A module of this name with dots, and the packages above it."""
        *packages, name = module.split(".")
        folder = self.packages
        for each in packages:
            folder /= each
            folder.mkdir(exist_ok=True)
            (folder / "__init__.py").touch()
        (folder / f"{name}.py").write_text(text)
