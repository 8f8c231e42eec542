"""How a folder of files becomes a generation."""

from __future__ import annotations

import importlib
import inspect
import linecache
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import pytest

from jobwarden import JobContext
from jobwarden.sources.tree import read_tree
from jobwarden.worker.loader import LoadedCode, load
from tests.support.rights import without_roots_rights


@pytest.fixture(autouse=True)
def imports_put_back() -> Iterator[None]:
    finders, modules = list(sys.meta_path), dict(sys.modules)
    yield
    sys.meta_path[:] = finders
    for name in set(sys.modules) - set(modules):
        del sys.modules[name]


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def serving(job_type: str, result: str = "payload") -> str:
    return f"from jobwarden import handler\n@handler({job_type!r})\ndef run(payload):\n    return {result}\n"


def call(code: LoadedCode, job_type: str, payload: str = "1") -> object:
    return code.handlers[job_type].call(payload, JobContext())


def test_every_file_is_imported_in_folders_too(tmp_path: Path) -> None:
    """The place of a file means nothing but its module name."""
    write(tmp_path, a=serving("a"), **{"mail/send": serving("b"), "mail/deep/er": serving("c")})
    code = load(str(tmp_path))
    assert {name: loaded.file for name, loaded in code.handlers.items()} == {
        "a": "a.py",
        "b": "mail/send.py",
        "c": "mail/deep/er.py",
    }
    assert code.problems == []


def test_what_begins_with_an_underscore_or_a_dot_is_not_imported_by_itself(tmp_path: Path) -> None:
    """Such files and folders are there for others, or not at all."""
    write(tmp_path, _a=serving("a"), **{"_folder/b": serving("b")})
    (tmp_path / ".c.py").write_text(serving("c"))
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "d.py").write_text(serving("d"))
    assert load(str(tmp_path)).handlers == {}


def test_files_import_each_other_by_plain_name(tmp_path: Path) -> None:
    """Modules, packages and relative imports work as if the folder were on the path; each file runs once."""
    files = {
        "_words": "WORD = 'w'\n",
        "parts/__init__": "from parts.inner import INNER\n",
        "parts/inner": "INNER = 'i'\n",
        "uses": "from _words import WORD\nfrom parts import INNER\n" + serving("uses", "WORD + INNER"),
        "sub/also": "from . import near\nimport uses\n" + serving("also", "near.N"),
        "sub/near": "N = 'n'\n" + serving("near"),
    }
    write(tmp_path, **files)
    code = load(str(tmp_path))
    assert code.problems == []
    assert (call(code, "uses"), call(code, "also")) == ("wi", "n")


def test_an_installed_module_wins_over_a_file_of_its_name(tmp_path: Path) -> None:
    """`handlers/json.py` is served, and its own `import json` means the library."""
    write(tmp_path, json="import json\n" + serving("dump", "json.dumps(payload)"))
    code = load(str(tmp_path))
    assert code.problems == []
    assert call(code, "dump", "[1]") == "[1]"


def test_a_generation_is_the_bytes_that_were_read(tmp_path: Path) -> None:
    """What is saved after the load changes neither late imports nor tracebacks, and no pyc is written."""
    write(
        tmp_path,
        _late="VALUE = 'old'\n",
        a="from jobwarden import handler\n" + serving("a", "__import__('_late').VALUE"),
    )
    code = load(str(tmp_path))
    write(tmp_path, _late="VALUE = 'new'\n", a="# new\n")
    assert call(code, "a") == "old"
    function = code.handlers["a"].definition.function
    assert function.__code__.co_filename == str(tmp_path / "a.py")
    linecache.checkcache()
    assert "def run(payload)" in inspect.getsource(function)
    assert cast("str", importlib.import_module("_late").__file__) == str(tmp_path / "_late.py")
    assert list(tmp_path.rglob("*.pyc")) == []


def test_the_hash_follows_paths_and_bytes_only(tmp_path: Path) -> None:
    """Equal hashes are equal generations: a touch changes nothing, a byte or a name does."""
    write(tmp_path, a="A = 1\n")
    first = read_tree(str(tmp_path)).content_hash
    os.utime(tmp_path / "a.py", (1, 1))
    assert read_tree(str(tmp_path)).content_hash == first
    write(tmp_path, a="A = 2\n")
    second = read_tree(str(tmp_path)).content_hash
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert len({first, second, read_tree(str(tmp_path)).content_hash}) == 3


@pytest.mark.parametrize(
    ("text", "line", "error", "way_out"),
    [
        ("x = 1\ndef (:\n", 2, "SyntaxError: ", "correct the line"),
        ("\n\nraise ValueError('no')\n", 3, "ValueError: no", "without an error"),
        ("import no_such_thing\n", 1, "No module named 'no_such_thing'", "install 'no_such_thing'"),
        ("import sys\nsys.exit(2)\n", 2, "SystemExit: 2", "imported, not run"),
        ("raise KeyboardInterrupt\n", 1, "KeyboardInterrupt", "without an error"),
        ("from jobwarden import handler\nhandler('')\n", 2, "that is no job type", "give a text"),
        ("\xa0\0", None, "SyntaxError", "correct the line"),
        (
            "from __future__ import annotations\n" + serving("a").replace("d)", "d: Nowhere)"),
            3,
            "Nowhere",
            "at run time",
        ),
    ],
)
def test_a_file_that_fails_is_a_problem_and_the_others_go_on(
    tmp_path: Path, text: str, line: int | None, error: str, way_out: str
) -> None:
    """A problem says which file and line, what happened, and the way out."""
    write(tmp_path, broken=text, good=serving("good"))
    code = load(str(tmp_path))
    (problem,) = code.problems
    assert (problem.file, list(code.handlers)) == ("broken.py", ["good"])
    assert line is None or problem.line == line
    assert error in problem.error
    assert way_out in problem.way_out


def test_a_file_that_fails_late_registers_nothing(tmp_path: Path) -> None:
    """Half a file is not served."""
    write(tmp_path, a=serving("a") + "raise ValueError\n")
    assert load(str(tmp_path)).handlers == {}


def test_an_error_in_a_helper_is_told_with_its_place(tmp_path: Path) -> None:
    """The problem is that of the file that wanted it, and names the helper's line."""
    write(tmp_path, _helper="x = 1\ny = x / 0\n", a="import os\nimport _helper\n")
    (problem,) = load(str(tmp_path)).problems
    assert (problem.file, problem.line) == ("a.py", 2)
    assert problem.error == "ZeroDivisionError: division by zero (in _helper.py, line 2)"


def test_two_files_that_claim_one_type_are_both_named(tmp_path: Path) -> None:
    """The first in order of path serves it until somebody decides."""
    write(tmp_path, a=serving("same", "'a'"), b=serving("same", "'b'"))
    code = load(str(tmp_path))
    (problem,) = code.problems
    assert problem.file == "b.py"
    assert "a.py" in problem.error
    assert call(code, "same") == "a"


def test_a_folder_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    """A wrong setting is said, not raised."""
    (problem,) = load(str(tmp_path / "none")).problems
    assert "is no directory" in problem.error


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    """A linked folder is served; a link back up, a dangling one and a FIFO do no harm."""
    write(tmp_path, **{"elsewhere/a": serving("a")})
    handlers = tmp_path / "handlers"
    handlers.mkdir()
    (handlers / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "up").symlink_to(handlers)
    (handlers / "dangling.py").symlink_to("nowhere")
    os.mkfifo(handlers / "pipe.py")
    code = load(str(handlers))
    assert list(code.handlers) == ["a"]
    assert {problem.file for problem in code.problems} == {"dangling.py", "pipe.py"}


def test_a_file_whose_name_is_no_text_is_a_problem_and_the_others_go_on(tmp_path: Path) -> None:
    """Such a name cannot be told to anybody as it is: it killed the template, and nothing was served."""
    write(tmp_path, good=serving("good"))
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.py")).write_text(serving("bad"))
    tree = read_tree(str(tmp_path))
    assert [(each.file, each.error) for each in tree.problems] == [("\\udcff.py", "its name is not UTF-8")]
    assert list(tree.files) == ["good.py"]


def test_a_folder_that_cannot_be_listed_is_a_problem() -> None:
    """Otherwise its job types would be gone without a word, and `check` would say that all is well."""
    with TemporaryDirectory() as place, without_roots_rights(place):
        write(Path(place), good=serving("good"))
        hidden = Path(place, "hidden")
        hidden.mkdir()
        hidden.chmod(0)
        tree = read_tree(place)
        assert [(each.file, each.error) for each in tree.problems] == [
            ("hidden", "it cannot be read: Permission denied")
        ]
        assert list(tree.files) == ["good.py"]
        hidden.chmod(0o700)
