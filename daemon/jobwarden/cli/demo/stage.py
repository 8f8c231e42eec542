"""The demo's temporary folder: the handlers that its daemon serves, its database and state, room for results."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

from jobwarden.cli.shipped import shipped_folder

if TYPE_CHECKING:
    from types import TracebackType

DEMO_HANDLERS = Path(__file__).parent / "handlers"
"""Handlers that misbehave; only the demo serves them."""


class Stage:
    """A context manager; the folder goes at its end, unless it is to be kept."""

    def __init__(self, *, keep: bool) -> None:
        """Make the folder. Raises OSError."""
        self._keep = keep
        self.folder = Path(tempfile.mkdtemp(prefix="jobwarden-demo-")).resolve()
        self.handlers = self.folder / "handlers"
        self.state_dir = self.folder / "state"
        self.log = self.folder / "daemon.log"

    @property
    def database_url(self) -> str:
        """A SQLite file of the demo's own."""
        return f"sqlite:///{self.folder / 'jobs.db'}"

    def __enter__(self) -> Self:
        """Fill it with the handlers. Raises OSError, and ShippedFilesMissingError if the shipped ones are not there."""
        try:
            _copy(shipped_folder("handlers"), self.handlers)
            _copy(DEMO_HANDLERS, self.handlers / "demo")
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._keep:
            self._remove()

    def _remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
