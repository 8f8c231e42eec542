"""What is saved in a storm: good code that says its version, and code that is broken in every way that we know.

A tree is a dict from relative paths to texts. Each save has a number, which is the version of whatever it changes.
Broken code says a version below zero: whoever sees one in an output has been served what must never be.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

Tree = dict[str, str]
Change = Callable[[Tree, int], None]

SERVED, HELPER, LATE = "served.py", "kit/helper.py", "kit/_late.py"
_SERVED = '''
import time
from jobwarden import handler
from kit import helper

VERSION = {version}

@handler("quick")
def quick(payload):
    return {{"served": VERSION, "helper": helper.VERSION}}

@handler("lasting")
def lasting(payload):
    """Reads what it says at its end from a file that nobody has imported before."""
    began = VERSION
    time.sleep(payload["seconds"])
    from kit import _late
    return {{"served": VERSION, "helper": helper.VERSION, "late": _late.VERSION, "began": began}}
'''
_EXTRA = """
from jobwarden import handler

@handler("extra_{version}")
def extra(payload):
    return {version}
"""
_VERSION = "VERSION = {version}\n"

BREAKERS = {
    "syntax error": "def broken(:\n",
    "exception on import": "raise RuntimeError('not today')\n",
    "while True": "while True:\n    pass\n",
    "os._exit(1)": "import os\nos._exit(1)\n",
    "sys.exit": "import sys\nsys.exit('a handler file is no program')\n",
    "1 GB and no way out": "hog = bytearray(2**30)\nhog[::4096] = b'x' * 2**18\nraise MemoryError\n",
    "thread at import": "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n",
    "killed at import": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n",
    "stopped at import": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\n",
    "recursion": "def again():\n    again()\nagain()\n",
    "missing module": "import no_such_module_anywhere\n",
    "children at import": "import os, time\nos.fork()\nos.fork() or time.sleep(1000)\nwhile True:\n    pass\n",
    "descriptors closed": "import os\nos.closerange(0, 1024)\nraise OSError\n",
    "garbage to the supervisor": "import os\nos.write(3, b'rubbish' * 100)\n",
}
"""Each stands at the end of a file that would be good without it."""
HANGS = frozenset({"while True", "stopped at import", "children at import"})
"""The load has to be ended by its limit, or because something newer has come."""
HOG = "hog = bytearray(2**30)\nhog[::4096] = b'x' * 2**18\n"
"""A gigabyte that is allocated and kept: not wrong by itself. Such a generation may be served, or refused."""


class Save(NamedTuple):
    """One of them. `good` is None where both are right."""

    number: int
    kind: str
    good: bool | None
    tree: Tree


def first_tree() -> Tree:
    """Version 0 of everything."""
    return {
        SERVED: _SERVED.format(version=0),
        "kit/__init__.py": "",
        HELPER: _VERSION.format(version=0),
        LATE: _VERSION.format(version=0),
    }


def _change_served(tree: Tree, number: int) -> None:
    tree[SERVED] = _SERVED.format(version=number)


def _change_helper(tree: Tree, number: int) -> None:
    tree[HELPER] = _VERSION.format(version=number)


def _change_all(tree: Tree, number: int) -> None:
    _change_served(tree, number)
    _change_helper(tree, number)
    tree[LATE] = _VERSION.format(version=number)


def _add_file(tree: Tree, number: int) -> None:
    tree[f"extra/e{number}.py"] = _EXTRA.format(version=number)
    _change_served(tree, number)


def _remove_files(tree: Tree, number: int) -> None:
    for path in [path for path in tree if path.startswith("extra/")]:
        del tree[path]
    _change_served(tree, number)


def _rename_file(tree: Tree, number: int) -> None:
    path = next((path for path in tree if path.startswith("extra/")), None)
    if path is not None:
        tree[f"extra/renamed{number}.py"] = tree.pop(path)
    _change_served(tree, number)


GOOD: dict[str, Change] = {
    "one file": _change_served,
    "a module beside it": _change_helper,
    "several files": _change_all,
    "a new file": _add_file,
    "files removed": _remove_files,
    "a file renamed": _rename_file,
}


class Saves:
    """All saves of one storm, by seed. A broken one is never the ground of the next."""

    def __init__(self, random_: random.Random) -> None:
        self.good_tree = first_tree()
        """The last tree that must work."""
        self._random = random_
        self._number = 0
        self._left_good: list[str] = []
        self._left_broken: list[str] = []

    def draw(self, *, share_broken: float) -> Save:
        """The next one, as chance will have it; each kind before any comes again."""
        return self.broken() if self._random.random() < share_broken else self.good()

    def good(self) -> Save:
        """One that must be served."""
        self._number += 1
        kind = self._next(self._left_good, [*GOOD, *GOOD])
        tree = dict(self.good_tree)
        GOOD[kind](tree, self._number)
        self.good_tree = tree
        return Save(self._number, kind, good=True, tree=tree)

    def broken(self) -> Save:
        """One that must be refused, except the one that may be."""
        self._number += 1
        kind = self._next(self._left_broken, [*BREAKERS, "1 GB kept", "a type claimed twice"])
        tree = dict(self.good_tree)
        if kind == "1 GB kept":
            tree[SERVED] = _SERVED.format(version=self._number) + HOG
            return Save(self._number, kind, good=None, tree=tree)
        if kind == "a type claimed twice":
            tree["again.py"] = _SERVED.format(version=-self._number)
            return Save(self._number, kind, good=False, tree=tree)
        path = self._random.choice([SERVED, HELPER, f"new{self._number}.py"])
        text = _VERSION if path == HELPER else _SERVED if path == SERVED else _EXTRA
        tree[path] = text.format(version=-self._number).replace("extra_-", "extra_broken_") + BREAKERS[kind]
        return Save(self._number, kind, good=False, tree=tree)

    def _next(self, left: list[str], kinds: list[str]) -> str:
        if not left:
            left.extend(kinds)
            self._random.shuffle(left)
        return left.pop()
