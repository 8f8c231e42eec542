"""How a save gets onto the disk: as editors, shells, copies and deployments do it."""

from __future__ import annotations

import os
import random
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from tests.faults.storm.saves import Tree

_PAUSE_SECONDS = 0.02
"""Within a save that is not atomic."""


class Disk:
    """The handlers directory: a link to the release that is current."""

    def __init__(self, folder: Path, tree: Tree, random_: random.Random, *, whole: bool) -> None:
        """Write the first release. `whole`: in manners that show nobody a file half written."""
        self.link = folder / "code"
        self._releases = folder / "releases"
        self._random = random_
        self._count = 0
        self._tree: Tree = {}
        self._manners: dict[str, Callable[[Tree], None]] = {
            "renamed over": self._renamed_over,
            "the whole directory swapped": self._swap,
        }
        if not whole:
            self._manners |= {
                "in place": self._in_place,
                "in two halves": self._in_halves,
                "removed and made anew": self._anew,
            }
        self._swap(tree)

    def save(self, tree: Tree) -> str:
        """Bring the disk from what was saved last to this, in a manner that chance decides; returns its name."""
        name = self._random.choice(list(self._manners))
        self._manners[name](tree)
        self._tree = dict(tree)
        return name

    def _in_place(self, tree: Tree) -> None:
        for path in self._changed(tree):
            path.write_text(tree[self._relative(path)])
        self._remove_old(tree)

    def _renamed_over(self, tree: Tree) -> None:
        for path in self._changed(tree):
            beside = path.with_name(f".{path.name}.swp")
            beside.write_text(tree[self._relative(path)])
            beside.replace(path)
        self._remove_old(tree)

    def _in_halves(self, tree: Tree) -> None:
        for path in self._changed(tree):
            text = tree[self._relative(path)]
            with path.open("w") as file:
                file.write(text[: len(text) // 2])
                file.flush()
                _pause()
                file.write(text[len(text) // 2 :])
        self._remove_old(tree)

    def _anew(self, tree: Tree) -> None:
        for path in self._changed(tree):
            path.unlink(missing_ok=True)
            _pause()
            path.write_text(tree[self._relative(path)])
        self._remove_old(tree)

    def _swap(self, tree: Tree) -> None:
        """As deployment tools do: a new directory, and one rename."""
        self._count += 1
        release = self._releases / str(self._count)
        for relative, text in tree.items():
            path = release / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        old = self.link.resolve() if self.link.is_symlink() else None
        beside = self.link.with_name(f"code{self._count}")
        beside.symlink_to(release)
        os.replace(beside, self.link)  # noqa: PTH105 - the link, not what it leads to
        self._tree = dict(tree)
        if old is not None:
            shutil.rmtree(old)

    def _changed(self, tree: Tree) -> list[Path]:
        found = []
        for relative, text in tree.items():
            if self._tree.get(relative) != text:
                path = self.link.resolve() / relative
                path.parent.mkdir(parents=True, exist_ok=True)
                found.append(path)
        return found

    def _remove_old(self, tree: Tree) -> None:
        for relative in self._tree:
            if relative not in tree:
                (self.link.resolve() / relative).unlink()

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.link.resolve()).as_posix()


def _pause() -> None:
    threading.Event().wait(_PAUSE_SECONDS)
