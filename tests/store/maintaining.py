"""A daemon's round of maintenance, done at once: for tests that only want to see what it does."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Executable

from jobwarden.store.access import Access
from jobwarden.store.keeping.retention import Retention
from jobwarden.store.keeping.rounds import Rounds, Rules

from .scene import Scene
from .sql import portable

KEEP_ALL = Retention(completed_days=None, ended_days=None)
USUAL = Rules(retention=Retention(completed_days=7, ended_days=30), starvation_seconds=300)
"""As the settings have it by default."""


def maintain(scene: Scene, retention: Retention = KEEP_ALL, *, rounds: Rounds | None = None) -> dict[str, int]:
    """Do a whole round at the scene's time; what it did."""
    rounds = rounds or Rounds(msgspec.structs.replace(USUAL, retention=retention))
    rounds.begin()
    while not rounds.is_over():
        scene.writer.step_round(rounds, now_us=scene.now_us)
    return rounds.done


def rows(scene: Scene, query: str, **values: object) -> list[tuple[Any, ...]]:
    """What a plain look into the database shows."""
    with access_of(scene).reading() as connection:
        return [tuple(row) for row in connection.execute(portable(connection, query), values)]


def tamper(scene: Scene, *statements: str | Executable, **values: object) -> None:
    """Leave the rows as a crash, or a transaction that met another, could leave them; `:now`, `:later` are moments."""
    scene.tampered = True
    with access_of(scene).writing(ring=False) as connection:
        for statement in statements:
            if isinstance(statement, str):
                wanted = {name: value for name, value in values.items() if f":{name}" in statement}
                connection.execute(portable(connection, statement, wanted), wanted)
            else:
                connection.execute(statement)


def access_of(scene: Scene) -> Access:
    """The way behind the verbs."""
    return scene.store.upkeep._access  # noqa: SLF001 - on purpose
