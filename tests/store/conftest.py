"""One behavioural suite for every database: `url` is parametrised over the dialects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobwarden.store import Store, StoreOptions, open_store

from . import invariants
from .scene import Scene


@pytest.fixture(params=["sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new, empty database of each dialect."""
    assert request.param == "sqlite"
    return f"sqlite:///{tmp_path}/jobs.db"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """An open store. `normal` spares the tests the disk; what `full` adds cannot be seen without a power cut."""
    opened = open_store(url, StoreOptions(synchronous="normal"))
    yield opened
    opened.close()


@pytest.fixture
def scene(store: Store) -> Iterator[Scene]:
    """A node at work on the store; afterwards the store is as it always must be."""
    made = Scene(store)
    yield made
    made.writer.close()
    if made.tampered:
        return
    with store._reading() as connection:  # noqa: SLF001 - looks past the verbs
        invariants.check(connection)
