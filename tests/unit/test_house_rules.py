"""Machines for the habits that no linter knows.

Each rule is a function from one file's text to the lines that break it. It is tried on planted breaches
too, so that a rule which finds nothing means a clean tree and not a blind rule.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "daemon" / "jobwarden"
TESTS = ROOT / "tests"
ROOMS = (".ci", "config", "daemon", "handlers", "systemd", "tests")

LONGEST_SOURCE_LINES = 320
EMPTY_NAMES = {"base", "common", "helper", "helpers", "manager", "misc", "util", "utils"}
CLOCK_READERS = {PACKAGE / "clock.py", PACKAGE / "supervisor" / "keeper.py"}
"""The keeper runs without this package (`python -I -S -E`), so it cannot ask `clock`."""

SLEEPS = {"anyio.sleep", "asyncio.sleep", "time.sleep"}
CLOCKS = {
    "datetime.date.today",
    "datetime.datetime.now",
    "datetime.datetime.today",
    "datetime.datetime.utcnow",
    "time.clock_gettime",
    "time.clock_gettime_ns",
    "time.monotonic",
    "time.monotonic_ns",
    "time.perf_counter",
    "time.perf_counter_ns",
    "time.time",
    "time.time_ns",
}
EXECUTORS = {
    "asyncio.create_subprocess_shell",
    "dill",
    "marshal",
    "os.popen",
    "os.system",
    "pickle",
    "shelve",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "yaml.load",
}
"""What makes code, or a command of a shell, of data."""
EVALUATORS = {"compile", "eval", "exec"}
"""Builtins that do."""
IMPORTER = PACKAGE / "worker" / "modules.py"
"""Imports handlers from memory, which is to compile and to execute them."""
MACHINE_PATH = re.compile(r"(?<![\w.~}])/(?:home|root|work)/")

Rule = Callable[[str], list[int]]


def sleeping_lines(text: str) -> list[int]:
    """Where a sleep is named, under whatever alias; the text of strings (handlers to be written) is free."""
    return _lines_naming(SLEEPS, text)


def clock_reading_lines(text: str) -> list[int]:
    """Where a clock is read, or handed over as a function."""
    return _lines_naming(CLOCKS, text)


def executing_lines(text: str) -> list[int]:
    """Where data could become code or a command: eval and its like, pickle and its like, a shell."""
    tree = _tree(text)
    origins = dict(_bound_names(tree))
    named = {line for name, line in _references(tree, origins) if _is_executor(name)}
    named |= {node.lineno for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in EVALUATORS}
    imported = {line for module, line in _imported_modules(tree) if module.partition(".")[0] in EXECUTORS}
    return sorted(named | imported | set(_shells(tree, origins)))


def _is_executor(name: str) -> bool:
    return name in EXECUTORS or name.partition(".")[0] in EXECUTORS


def _shells(tree: ast.Module, origins: dict[str, str]) -> Iterator[int]:
    """Where `subprocess` is told, or may be told, to start a shell."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and any(
            name.startswith("subprocess.") for name, _ in _references(ast.Module([ast.Expr(node.func)], []), origins)
        ):
            yield from (
                word.value.lineno
                for word in node.keywords
                if word.arg == "shell" and not (isinstance(word.value, ast.Constant) and word.value.value is False)
            )


def undocumented_test_lines(text: str) -> list[int]:
    """Where a test function without a docstring begins."""
    return [
        node.lineno
        for node in ast.walk(_tree(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]


def unreasoned_lines(text: str) -> list[int]:
    """Where a test is kept to some stores (`pytest.mark.only`) and its line does not say why."""
    return [
        node.lineno
        for node in ast.walk(_tree(text))
        if isinstance(node, ast.Attribute) and node.attr == "only" and ast.unparse(node.value) == "pytest.mark"
        if not _says_why(text, node.lineno)
    ]


def _says_why(text: str, line: int) -> bool:
    calls = (node for node in ast.walk(_tree(text)) if isinstance(node, ast.Call) and node.lineno == line)
    return any(
        word.arg == "reason" and word.lineno == line and isinstance(word.value, ast.Constant) and bool(word.value.value)
        for call in calls
        for word in call.keywords
    )


def surplus_lines(text: str) -> list[int]:
    """The first line past the longest allowed source file."""
    return [LONGEST_SOURCE_LINES + 1] if len(text.splitlines()) > LONGEST_SOURCE_LINES else []


def machine_path_lines(text: str) -> list[int]:
    """Where a path of somebody's own machine is written."""
    return [number for number, line in enumerate(text.splitlines(), 1) if MACHINE_PATH.search(line)]


def foreign_import_lines(text: str) -> list[int]:
    """Where something outside the standard library is imported."""
    return [
        line
        for module, line in _imported_modules(_tree(text))
        if module.partition(".")[0] not in sys.stdlib_module_names
    ]


PLANTED: list[tuple[Rule, str, list[int]]] = [
    (sleeping_lines, "import time\ntime.sleep(1)\n", [2]),
    (sleeping_lines, "from time import sleep as nap\n\nnap(1)\n", [3]),
    (sleeping_lines, "import asyncio as a\nasync def f():\n    await a.sleep(0)\n", [3]),
    (sleeping_lines, "HANDLER = '''\nimport time\ntime.sleep(1)\n'''\n", []),
    (clock_reading_lines, "import time\nnow = time.monotonic_ns()\n", [2]),
    (clock_reading_lines, "import time\ndef f(clock=time.time): ...\n", [2]),
    (clock_reading_lines, "from datetime import UTC, datetime\nx = datetime.now(UTC)\n", [2]),
    (clock_reading_lines, "import datetime\nx = datetime.datetime.now(datetime.UTC)\n", [2]),
    (clock_reading_lines, "from datetime import datetime\nx = datetime(2026, 1, 1)\n", []),
    (executing_lines, "x = eval(text)\n", [1]),
    (executing_lines, "import os as o\n\no.system(line)\n", [3]),
    (executing_lines, "from pickle import loads\n\nloads(data)\n", [1, 3]),
    (executing_lines, "import subprocess\n\nsubprocess.run(line, shell=True)\n", [3]),
    (executing_lines, "import subprocess\n\nsubprocess.run(line, shell=asked)\n", [3]),
    (executing_lines, "run = map(exec, lines)\n", [1]),
    (executing_lines, "import re\n\nre.compile(text)\nresult.exec(1)\n'eval'\n", []),
    (undocumented_test_lines, "def test_a():\n    pass\n", [1]),
    (undocumented_test_lines, "class TestA:\n    async def test_a(self):\n        pass\n", [2]),
    (undocumented_test_lines, "def test_a():\n    '''A rule.'''\n", []),
    (unreasoned_lines, "@pytest.mark.only('sqlite', reason='a file')\ndef test_a(): ...\n", []),
    (unreasoned_lines, "@pytest.mark.only('sqlite')\ndef test_a(): ...\n", [1]),
    (unreasoned_lines, "@pytest.mark.only('sqlite', reason='')\ndef test_a(): ...\n", [1]),
    (unreasoned_lines, "@pytest.mark.only(\n    'sqlite',\n    reason='a file')\ndef test_a(): ...\n", [1]),
    (unreasoned_lines, "pytestmark = [pytest.mark.only('sqlite', reason='a file')]\n", []),
    (unreasoned_lines, "only = pytest.mark.only\n", [1]),
    (surplus_lines, "x = 1\n" * (LONGEST_SOURCE_LINES + 1), [LONGEST_SOURCE_LINES + 1]),
    (surplus_lines, "x = 1\n" * LONGEST_SOURCE_LINES, []),
    (machine_path_lines, "a = 1\nb = '/" + "home/me/jobs.db'\n", [2]),
    (machine_path_lines, "see https://example.org/" + "work/ and ~/" + "work/\n", []),
    (foreign_import_lines, "import os\nimport psutil\n", [2]),
    (foreign_import_lines, "from jobwarden.clock import SYSTEM_CLOCK\n", [1]),
    (foreign_import_lines, "from . import clock\n", [1]),
]


@pytest.mark.parametrize(
    ("rule", "text", "lines"),
    PLANTED,
    ids=[f"{rule.__name__}-{number}" for number, (rule, _, _) in enumerate(PLANTED)],
)
def test_a_rule_sees_a_planted_breach_and_nothing_else(rule: Rule, text: str, lines: list[int]) -> None:
    """A rule names the very lines that break it."""
    assert rule(text) == lines


def test_tests_do_not_sleep() -> None:
    """A test waits for events; only the handlers that it runs may let time pass."""
    handlers = TESTS / "support" / "handlers"
    assert _breaches(sleeping_lines, (p for p in _python(TESTS) if handlers not in p.parents)) == []


def test_each_test_states_its_rule() -> None:
    """Each test function has a docstring."""
    assert _breaches(undocumented_test_lines, _python(TESTS)) == []


def test_a_test_for_some_stores_only_says_why() -> None:
    """What one store does and another does not is an exception, so its line gives the reason."""
    assert _breaches(unreasoned_lines, _python(TESTS)) == []


def test_source_files_stay_short() -> None:
    """A source file is short enough to be read in one go."""
    assert _breaches(surplus_lines, _python(PACKAGE)) == []


def test_the_rooms_name_each_module_of_the_supervisor() -> None:
    """Whoever looks for a duty finds its module in daemon/README.md, in a row that begins with its room."""
    rows = [row for row in (ROOT / "daemon" / "README.md").read_text().splitlines() if row.startswith("| `supervisor/")]
    named = set(re.findall(r"`(?:supervisor/)?(\w+)`", "\n".join(rows)))
    assert {p.stem for p in (PACKAGE / "supervisor").rglob("*.py")} - {"__init__", "__main__"} - named == set()


def test_modules_are_named_after_what_they_hold() -> None:
    """No module has a name that would fit any content."""
    assert [_shown(p) for p in PACKAGE.rglob("*") if p.stem in EMPTY_NAMES] == []


def test_clocks_are_read_in_one_place() -> None:
    """Time is an argument; whoever must ask for it asks a `Clock`."""
    assert _breaches(clock_reading_lines, (p for p in _python(PACKAGE) if p not in CLOCK_READERS)) == []


@pytest.mark.parametrize("name", ["keeper", "runas", "entrance"])
def test_what_runs_without_packages_needs_the_standard_library_only(name: str) -> None:
    """Keeper and threshold are scripts for `python -I -S -E`; the entrance is for a Python that may have no package."""
    script = PACKAGE / "supervisor" / f"{name}.py"
    assert _breaches(foreign_import_lines, (p for p in _python(PACKAGE) if p == script)) == []


def test_data_never_becomes_code_nor_a_command_of_a_shell() -> None:
    """Nothing in the daemon unpickles, evaluates or hands text to a shell; only the loader executes: handler files."""
    assert _breaches(executing_lines, (p for p in _python(PACKAGE) if p != IMPORTER)) == []
    assert _breaches(executing_lines, iter([IMPORTER])) != []


def test_no_file_knows_the_machine_that_it_was_written_on() -> None:
    """The repository names no absolute path of a developer's machine."""
    assert _breaches(machine_path_lines, _texts()) == []


def _breaches(rule: Rule, paths: Iterator[Path]) -> list[str]:
    return [f"{_shown(path)}:{line}" for path in paths for line in rule(path.read_text(encoding="utf-8"))]


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _python(folder: Path) -> Iterator[Path]:
    paths = sorted(folder.rglob("*.py"))
    assert paths, f"nothing to check below {folder}"
    yield from paths


def _texts() -> Iterator[Path]:
    """The text files of the repository: those at its top, and everything in its rooms."""
    candidates = [p for p in ROOT.iterdir() if p.is_file() and p.name != ".git"]
    for room in ROOMS:
        candidates += sorted((ROOT / room).rglob("*"))
    return (p for p in candidates if p.is_file() and "__pycache__" not in p.parts and _is_text(p))


def _is_text(path: Path) -> bool:
    try:
        path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return False
    return True


@cache
def _tree(text: str) -> ast.Module:
    return ast.parse(text)


def _lines_naming(names: set[str], text: str) -> list[int]:
    tree = _tree(text)
    origins = dict(_bound_names(tree))
    return sorted({line for name, line in _references(tree, origins) if name in names})


def _bound_names(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Each name that an import binds, with what it stands for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                yield (alias.asname, alias.name) if alias.asname else (top, top)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _references(tree: ast.Module, origins: dict[str, str]) -> Iterator[tuple[str, int]]:
    """Each dotted name in the file with its first part replaced by where that was imported from."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name):
            first, dot, rest = ast.unparse(node).partition(".")
            if first in origins:
                yield origins[first] + dot + rest, node.lineno


def _imported_modules(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ""), node.lineno


def test_the_floor_of_the_benchmarks_is_as_it_was_given() -> None:
    """A floor that is edited, or only formatted, is another yardstick."""
    given = "def852efd34530e4d8705d6036ff8d86921bad402eb1092c85843112ad84b944"
    assert hashlib.sha256((ROOT / "tests/benchmarks/floor_sqlite.py").read_bytes()).hexdigest() == given
