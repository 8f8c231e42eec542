"""Executables without running one: which files belong, what side files say, what exit codes and descriptor 3 mean."""

from __future__ import annotations

import inspect

import pytest

from jobwarden.sources.belonging import belonging, job_type_of, may_belong, may_run
from jobwarden.sources.side_file import SideFile, read_side_file
from jobwarden.wire.messages import HANDLER_ERROR, PERMANENT, Problem
from jobwarden.worker.asides import LONGEST_LINE, Asides
from jobwarden.worker.context import JobContext
from jobwarden.worker.exit_codes import NO_EXIT_RULES, ExitRules, failure_of
from jobwarden.worker.handler import handler
from jobwarden.worker.line import Line
from jobwarden.worker.rules import LONGEST_DELAY_SECONDS
from jobwarden.worker.side_options import ALL, KEYS, SideOptions, side_options


def options(text: str, *, job_type: str = "greet") -> tuple[SideOptions, list[Problem]]:
    """What a side file with this text says."""
    side = read_side_file("greet.toml", text.encode())
    assert isinstance(side, SideFile)
    return side_options(side, job_type=job_type)


def heard(text: str) -> tuple[Asides, JobContext, list[str]]:
    """Descriptor 3 after this text, the context that it spoke to, and what was noted."""
    context, notes = JobContext(), list[str]()
    asides = Asides(context, note=notes.append)
    asides.feed(text.encode())
    asides.finish()
    return asides, context, notes


class Said(Line):
    """A line to nobody, which counts."""

    def __init__(self) -> None:
        self.heartbeats = 0

    def heartbeat(self) -> None:
        """One more."""
        self.heartbeats += 1


# which files belong


def test_without_an_executable_only_python_files_belong() -> None:
    """Data that a handler writes beside its code must not make a generation, whatever it is called."""
    assert belonging({"a.py", "query.toml", "lib/tool.js", "package.json"}, executables=set()) == {"a.py"}


def test_beside_an_executable_its_side_file_and_all_scripts_belong() -> None:
    """A job that ends on its own code ends on the helpers that it sources or requires too; other TOML is data."""
    candidates = {"a.py", "greet.sh", "greet.toml", "lib/tool.js", "package.json", "other.toml"}
    assert belonging(candidates, executables={"greet.sh"}) == candidates - {"other.toml"}


def test_a_side_file_brings_its_script_along_even_if_chmod_was_forgotten() -> None:
    """Otherwise nobody could be told what is missing."""
    assert belonging({"greet.sh", "greet.toml"}, executables=set()) == {"greet.sh", "greet.toml"}


@pytest.mark.parametrize(
    ("name", "wanted"), [("greet", True), ("greet.sh", True), ("v1.2", True), ("a.py", False), ("README.md", False)]
)
def test_data_is_no_executable_even_where_every_file_looks_like_one(name: str, *, wanted: bool) -> None:
    """On file systems without modes all files have all bits."""
    assert may_run(name, executable=True) is wanted
    assert not may_run(name, executable=False)


def test_what_cannot_be_code_is_not_even_a_candidate() -> None:
    """The walk passes over it at once."""
    assert [name for name in ("a.csv", "b.py", "c.sh", "d", "e.toml") if may_belong(name, executable=False)] == [
        "b.py",
        "c.sh",
        "e.toml",
    ]


@pytest.mark.parametrize(
    ("relative", "job_type"),
    [("greet", "greet"), ("greet.sh", "greet"), ("deep/greet.mjs", "greet"), ("a.out", "a"), ("v1.2", "v1.2")],
)
def test_the_job_type_is_the_file_name_without_the_suffix_of_a_program(relative: str, job_type: str) -> None:
    """A dot in a name is no suffix by itself."""
    assert job_type_of(relative) == job_type


# side files


def test_a_side_file_takes_every_option_of_the_decorator() -> None:
    """Only `delay`, which is a function, cannot stand in TOML."""
    assert set(KEYS) == set(inspect.signature(handler).parameters) - {"delay"}


def test_a_side_file_becomes_options() -> None:
    """What it leaves out stays the daemon's default."""
    found, problems = options(
        'timeout_ms = 5_000\nretry_delay = 1.5\njob_type = "hello"\nretry_on = [1, 2]\nfail_on = 2\n'
    )
    assert problems == []
    assert found == SideOptions(
        job_type="hello", timeout_ms=5000, retry_delay=1.5, rules=ExitRules(frozenset({1, 2}), frozenset({2}))
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("timeout_ms = 0", "timeout_ms=0 is not possible"),
        ("timeout_ms = true", "timeout_ms=True is not possible"),
        ('max_attempts = "3"', "max_attempts='3' is not possible"),
        ("retry_delay = -1", "retry_delay=-1 is not possible"),
        ("retry_delay = nan", "retry_delay=nan is not possible"),
        ("max_concurrency = 1.5", "max_concurrency=1.5 is not possible"),
        ("timeout = 5", "timeout is no option"),
        ("delay = 5", "delay is no option"),
        ('job_type = ""', "no job type"),
        ("retry_on = [0]", "retry_on = [0] is not possible"),
        ("fail_on = []", "fail_on = [] is not possible"),
        (f'fail_on = "{ALL}"', "fail_on = 'all' is not possible"),
        ("[limits]\ntimeout_ms = 5", "limits is no option"),
    ],
)
def test_a_wrong_option_is_named_with_its_line_and_a_way_out(line: str, said: str) -> None:
    """The same checks as for the decorator, at the line of the side file."""
    found, problems = options(f"# about greet\n\n{line}\n")
    assert found == SideOptions(job_type="greet")
    (problem,) = problems
    assert (problem.file, problem.line) == ("greet.toml", 3)
    assert said in problem.error
    assert problem.way_out


def test_all_wrong_options_are_named_at_once() -> None:
    """Nobody wants to correct a file one save at a time."""
    assert [problem.line for problem in options("timeout = 1\nmax_attempts = 0\n")[1]] == [1, 2]


@pytest.mark.parametrize(
    ("data", "line"), [(b"timeout_ms = \n", 1), (b"a = 1\nb ==\n", 2), (b"a = [\n", 2), (b"a = 1\n\xff", 2)]
)
def test_a_side_file_that_is_no_toml_is_a_problem_with_its_line(data: bytes, line: int) -> None:
    """Never a traceback."""
    problem = read_side_file("greet.toml", data)
    assert isinstance(problem, Problem)
    assert (problem.file, problem.line) == ("greet.toml", line)


# exit codes


@pytest.mark.parametrize(
    ("code", "rules", "kind"),
    [
        (1, NO_EXIT_RULES, PERMANENT),
        (75, NO_EXIT_RULES, HANDLER_ERROR),
        (1, ExitRules(retry_on=frozenset({1})), HANDLER_ERROR),
        (2, ExitRules(retry_on=frozenset({1})), PERMANENT),
        (75, ExitRules(retry_on=frozenset({1})), HANDLER_ERROR),
        (2, ExitRules(fail_on=frozenset({1})), HANDLER_ERROR),
        (1, ExitRules(fail_on=frozenset({1})), PERMANENT),
        (75, ExitRules(retry_on=frozenset({75}), fail_on=frozenset({75})), PERMANENT),
    ],
)
def test_an_exit_code_decides_whether_the_job_is_tried_again(code: int, rules: ExitRules, kind: str) -> None:
    """75 asks for it, everything else does not, unless the side file says otherwise; `fail_on` wins."""
    failure = failure_of(code << 8, rules=rules, said="", retry_after=None)
    assert failure is not None
    assert failure.kind == kind


def test_exit_code_zero_is_no_failure() -> None:
    """Whatever was said before."""
    assert failure_of(0, rules=NO_EXIT_RULES, said="a warning", retry_after=3) is None


def test_a_death_by_a_signal_is_tried_again_and_named() -> None:
    """It is a crash, which no exit code decided."""
    failure = failure_of(11, rules=NO_EXIT_RULES, said="", retry_after=None)
    assert failure is not None
    assert (failure.kind, failure.message) == (HANDLER_ERROR, "it was killed by signal 11 (SIGSEGV)")


def test_the_message_has_the_code_and_what_was_said() -> None:
    """One sentence for the error history; 128 and more is how shells report a signal of their child."""
    failures = [failure_of(code << 8, rules=NO_EXIT_RULES, said="no disk", retry_after=None) for code in (3, 75, 137)]
    assert [each.message for each in failures if each] == [
        "exit code 3: no disk",
        "exit code 75 (EX_TEMPFAIL): no disk",
        "exit code 137 (SIGKILL): no disk",
    ]


def test_a_delay_counts_only_for_what_is_tried_again() -> None:
    """`retry SECONDS` on descriptor 3."""
    failures = [failure_of(code << 8, rules=NO_EXIT_RULES, said="", retry_after=9.0) for code in (75, 1)]
    assert [each.retry_after for each in failures if each] == [9.0, None]


# descriptor 3


@pytest.mark.parametrize("text", ["progress 42.5\n", "progress: 42.5%\n", "42.5\n", "42.5%", "PROGRESS 42.5\r\n"])
def test_a_line_with_a_percentage_is_progress(text: str) -> None:
    """Also without the end of the line, if it is the last one."""
    _asides, context, notes = heard(text)
    assert (context.progress, notes) == (42.5, [])


def test_a_line_may_come_in_pieces_and_many_at_once() -> None:
    """What a pipe gives has no borders."""
    context = JobContext()
    asides = Asides(context, note=pytest.fail)
    for piece in (b"progress 1", b"0\nprogress 20\npro", b"gress 30\n"):
        asides.feed(piece)
    assert context.progress == 30


def test_retry_and_error_are_kept_for_the_end() -> None:
    """The last word counts."""
    asides, _context, notes = heard("retry 5\nretry 30.5\nerror no such city\n\nheartbeat\nprolong\nprolong 500\n")
    assert (asides.retry_after, asides.error, notes) == (30.5, "no such city", [])
    assert heard("retry 1e30\n")[0].retry_after == LONGEST_DELAY_SECONDS


@pytest.mark.parametrize(
    "line",
    ["hello world", "progress", "progress 101", "progress nan", "retry -1", "retry soon", "prolong x", "\x00", "-1"],
)
def test_what_is_no_such_line_does_no_harm_and_is_noted(line: str) -> None:
    """A library that logs to descriptor 3 by chance must not fail a job."""
    asides, context, notes = heard(f"{line}\nprogress 7\n")
    assert (context.progress, asides.retry_after, asides.error) == (7, None, "")
    assert len(notes) == 1
    assert "descriptor 3" in notes[0]


@pytest.mark.parametrize("line", ["heartbeat", "", "what is this?", "retry 5"])
def test_any_line_is_a_sign_of_life(line: str) -> None:
    """Whoever still talks is not stalled."""
    said = Said()
    Asides(JobContext(heartbeat_timeout_ms=1000, line=said), note=lambda _text: None).feed(f"{line}\n".encode())
    assert said.heartbeats == 1


def test_a_flood_of_such_lines_is_noted_a_few_times_only() -> None:
    """And a line without an end is cut, not kept."""
    assert len(heard("what?\n" * 1000)[2]) == 5
    context = JobContext()
    asides = Asides(context, note=lambda _text: None)
    for _ in range(100):
        asides.feed(b"x" * LONGEST_LINE)
    assert len(repr(asides)) < 2 * LONGEST_LINE
    asides.feed(b"\nprogress 8\n")
    assert context.progress == 8
