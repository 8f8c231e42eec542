"""One behavioural suite for every store: `url` is parametrised over them by the plugin of `store_contract`.

All files here but those named after one store are shipped as `jobwarden.testing.store_contract.suite`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobwarden.store import Store, StoreOptions, open_store
from jobwarden.testing.store_contract.ground import Ground

from . import invariants
from .scene import Scene


@pytest.fixture
def url(ground: Ground, tmp_path: Path) -> str:
    """A migrated store without any rows."""
    return ground.store(tmp_path)


@pytest.fixture
def bare_url(ground: Ground, tmp_path: Path) -> str:
    """A database in which no store was made yet."""
    url = ground.bare(tmp_path)
    if url is None:
        pytest.skip("there is only the one database that was named")
    return url


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
