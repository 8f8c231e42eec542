"""The pytest plugin, which is there wherever jobwarden is installed: the fixtures `run_handler` and `run_job`.

pytest loads it in every project on the machine, so it imports nothing that it need not and does nothing until a test
asks for a fixture. PYTEST_DONT_REWRITE: there is no assert in here.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jobwarden.testing.in_process import RunHandler
    from jobwarden.testing.in_worker import RunJob

_HANDLERS = "jobwarden_handlers"
_DEFAULT_FOLDER = "handlers"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The one setting: where the handlers are."""
    text = "the handlers directory, relative to this file; tests can import from it, and run_job runs it"
    parser.addini(_HANDLERS, text, type="string", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Let tests import handler files by plain name. At the end of the path: installed modules win, as in a worker."""
    given = config.getini(_HANDLERS)
    folder = str(_folder(config))
    if given and folder not in sys.path:
        sys.path.append(folder)
        config.add_cleanup(lambda: sys.path.remove(folder) if folder in sys.path else None)


@pytest.fixture
def run_handler() -> RunHandler:
    """Run a handler in this process, as a worker would: `run_handler(greet, {"name": "Ann"}).output`."""
    from jobwarden.testing.in_process import RunHandler  # noqa: PLC0415 - only tests that ask pay for it

    return RunHandler()


@pytest.fixture
def run_job(tmp_path: Path, pytestconfig: pytest.Config) -> Iterator[RunJob]:
    """Run a job in a real worker, on a database of this test: `run_job("greet", {"name": "Ann"}).output`."""
    from jobwarden.testing.in_worker import RunJob  # noqa: PLC0415 - as above

    with RunJob(tmp_path / "jobwarden-test.db", handlers=_folder(pytestconfig)) as made:
        yield made


def _folder(config: pytest.Config) -> Path:
    root = config.rootpath if config.inipath is None else config.inipath.parent
    return root / (config.getini(_HANDLERS) or _DEFAULT_FOLDER)
