"""Which files of a handlers directory are part of its generations, by name and mode alone; pure.

Python files always are. Where there is an executable, so are its side file, scripts that it may source or require, and
every other executable. Anything else is data, which may change at any time without making a generation. Called by
whoever looks at a directory, by the loader, and by whoever copies a generation.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

_SCRIPTS = ".sh .bash .zsh .ksh .fish .js .cjs .mjs .ts .cts .mts .rb .pl .pm .php .lua .awk .sed .jq .tcl .r .R .jl"
_DATA = """
    .md .rst .txt .json .toml .yaml .yml .csv .tsv .ini .cfg .conf .env .html .css .xml .svg .png .jpg .jpeg .gif .pdf
    .zip .gz .zst .xz .tar .db .sqlite .sqlite3 .log .lock .pid .sock .bak .orig .swp .tmp .pyc .so .c .h .go .rs
"""

SCRIPT_SUFFIXES = frozenset(_SCRIPTS.split())
_PROGRAM_SUFFIXES = frozenset({".bin", ".run", ".out", ".exe"})
_DATA_SUFFIXES = frozenset(_DATA.split())
"""On a file system without modes (vfat, a shared folder) every file looks executable."""
PACKAGE = "package.json"
"""Decides for Node what kind of module a script is."""
LIBRARIES = "node_modules"
"""Installed for the handlers, as site-packages are: part of no generation, and nothing in it is a handler."""
SIDE_SUFFIX = ".toml"


def may_run(name: str, *, executable: bool) -> bool:
    """Whether a file of this name could be an executable handler."""
    suffix = PurePosixPath(name).suffix
    return executable and suffix != ".py" and suffix not in _DATA_SUFFIXES


def may_belong(name: str, *, executable: bool) -> bool:
    """Whether a file of this name can be part of a generation, whatever stands beside it."""
    suffix = PurePosixPath(name).suffix
    by_name = suffix in {".py", SIDE_SUFFIX} or suffix in SCRIPT_SUFFIXES or name == PACKAGE
    return by_name or may_run(name, executable=executable)


def belonging(candidates: Iterable[str], *, executables: AbstractSet[str]) -> set[str]:
    """Those of the candidates (relative paths) that are part of the generation; `executables` have a bit for it."""
    found = set(candidates)
    runnable = {each for each in found if may_run(each, executable=each in executables)}
    sides = {side for each in found if each in runnable or _is_script(each) for side in side_files_of(each)} & found
    if not runnable and not sides:
        return {each for each in found if each.endswith(".py")}
    return {each for each in found if not each.endswith(SIDE_SUFFIX)} | sides


def side_files_of(relative: str) -> list[str]:
    """Where the options of this executable may stand: `NAME.toml`, or the whole file name with `.toml`."""
    path = PurePosixPath(relative)
    names = {job_type_of(relative), path.name}
    return [str(path.with_name(f"{name}{SIDE_SUFFIX}")) for name in sorted(names, key=len)]


def job_type_of(relative: str) -> str:
    """The job type of an executable is its file name, without the suffix of a script or a program."""
    path = PurePosixPath(relative)
    plain = path.suffix in SCRIPT_SUFFIXES or path.suffix in _PROGRAM_SUFFIXES
    return path.stem if plain else path.name


def _is_script(relative: str) -> bool:
    return PurePosixPath(relative).suffix in SCRIPT_SUFFIXES
