"""Imports handler files and what stands beside them from memory, as if their folder were on `sys.path`.

`__file__`, tracebacks and `linecache` know the real path and the bytes that were read; no pyc is read or written. An
installed module always wins over a file of the same name: such a file is loaded under `PREFIX` instead, so
`handlers/redis.py` may say `import redis`. Called by the loader; stays installed for imports that jobs make later.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import linecache
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobwarden.worker.handler import collecting
from jobwarden.worker.hooks import collecting_hooks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import CodeType, ModuleType

    from jobwarden.sources.tree import SourceFile, SourceTree
    from jobwarden.worker.handler import HandlerDefinition
    from jobwarden.worker.hooks import Hook

    Executed = Callable[[SourceFile, "Declared"], None]

PREFIX = "jobwarden_handlers"


@dataclass(frozen=True, slots=True)
class Declared:
    """What one file has decorated, in its order."""

    handlers: list[HandlerDefinition]
    hooks: list[Hook]


class MemoryFinder(importlib.abc.MetaPathFinder):
    """Finds the modules of one generation. `executed` is told what each file registered, once it ran to its end."""

    def __init__(self, tree: SourceTree, executed: Executed) -> None:
        self._tree = tree
        self._executed = executed
        self._folders = {parent for relative in tree.files for parent in _parents(relative)}
        tops = {relative.partition("/")[0].removesuffix(".py") for relative in tree.files}
        self._taken = {top for top in tops if _installed(top)}

    def install(self) -> None:
        """First in line, or the path finder would read a package's modules from the disk."""
        sys.meta_path.insert(0, self)

    def name_of(self, relative: str) -> str:
        """The module name under which a file is imported."""
        name = relative.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        return f"{PREFIX}.{name}" if name.partition(".")[0] in self._taken else name

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - importlib's signature
        target: ModuleType | None = None,  # noqa: ARG002 - importlib's signature
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec of a module of this generation, else None."""
        if fullname == PREFIX:
            return importlib.util.spec_from_loader(fullname, _FolderLoader(), is_package=True)
        plain = fullname.removeprefix(f"{PREFIX}.")
        if plain == fullname and fullname.partition(".")[0] in self._taken:
            return None
        place = plain.replace(".", "/")
        for relative in (f"{place}/__init__.py", f"{place}.py"):
            if relative in self._tree.files:
                return self._spec_of(fullname, self._tree.files[relative])
        return self._folder_spec(fullname, place) if place in self._folders else None

    def _spec_of(self, fullname: str, file: SourceFile) -> importlib.machinery.ModuleSpec:
        spec = importlib.machinery.ModuleSpec(fullname, _MemoryLoader(file, self._executed), origin=file.path)
        spec.has_location = True
        if file.relative.endswith("/__init__.py"):
            spec.submodule_search_locations = [str(Path(file.path).parent)]
        return spec

    def _folder_spec(self, fullname: str, place: str) -> importlib.machinery.ModuleSpec:
        spec = importlib.machinery.ModuleSpec(fullname, _FolderLoader(), is_package=True)
        spec.submodule_search_locations = [str(Path(self._tree.root, place))]
        return spec


class _FolderLoader(importlib.abc.Loader):
    """A folder without `__init__.py` is a package without code."""

    def exec_module(self, module: ModuleType) -> None:
        pass


class _MemoryLoader(importlib.abc.InspectLoader):
    def __init__(self, file: SourceFile, executed: Executed) -> None:
        self._file = file
        self._executed = executed

    def get_source(self, fullname: str) -> str:  # noqa: ARG002 - importlib's signature
        return importlib.util.decode_source(self._file.data)

    def is_package(self, fullname: str) -> bool:  # noqa: ARG002 - importlib's signature
        return self._file.relative.endswith("/__init__.py")

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 - importlib's signature
        return compile(self._file.data, self._file.path, "exec", dont_inherit=True)

    def get_data(self, path: str) -> bytes:
        """For `pkgutil.get_data`: files beside the code are read from the disk."""
        return Path(path).read_bytes()

    def exec_module(self, module: ModuleType) -> None:
        _remember_lines(self._file)
        with collecting() as handlers, collecting_hooks() as hooks:
            exec(self.get_code(module.__name__), module.__dict__)  # noqa: S102 - importing handlers is our work
        self._executed(self._file, Declared(handlers, hooks))


def _remember_lines(file: SourceFile) -> None:
    """No time of change: `linecache` then never looks at the disk, where newer code may stand."""
    try:
        lines = importlib.util.decode_source(file.data).splitlines(keepends=True)
    except (SyntaxError, UnicodeDecodeError):
        return  # compile() says it better
    linecache.cache[file.path] = (len(file.data), None, lines, file.path)


def _installed(name: str) -> bool:
    """Whether a plain `import name` means something else already; folders without code do not count."""
    if name in sys.modules or name in sys.builtin_module_names or name in sys.stdlib_module_names:
        return True
    spec = importlib.machinery.PathFinder.find_spec(name)
    return spec is not None and spec.origin is not None


def _parents(relative: str) -> list[str]:
    parts = relative.split("/")[:-1]
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]
