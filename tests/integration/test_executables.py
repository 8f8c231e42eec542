"""Executables as handlers, called in this process: what runs, what it finds around it, and what its end becomes."""

from __future__ import annotations

import gzip
import json
import os
import signal
import textwrap
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest

from jobwarden.sources.look import look
from jobwarden.sources.tree import fingerprint, read_tree
from jobwarden.wire.messages import HANDLER_ERROR, MEMORY, PERMANENT, Failure
from jobwarden.wire.template_terms import WorkerBounds
from jobwarden.worker.context import JobContext
from jobwarden.worker.descriptors import open_descriptors
from jobwarden.worker.executable import ExecutableFailedError
from jobwarden.worker.loader import LoadedHandler, load
from jobwarden.worker.program import Program
from tests.support.programs import compile_c, need
from tests.support.template import played

Write = Callable[..., Path]
SHIPPED = Path(__file__).parents[2] / "handlers"

COMPILED = """
#include <stdio.h>
#include <string.h>
int main(void) {
    char text[256] = {0};
    if (!fgets(text, sizeof text, stdin)) return 75;
    text[strcspn(text, "\\n")] = 0;
    printf("{\\"read\\": %s}", text);
    return 0;
}
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file of the handlers directory, which is `tmp_path`; executable unless told otherwise."""

    def _write(name: str, text: str, *, mode: int = 0o755) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip("\n"))
        path.chmod(mode)
        return path

    return _write


def served(folder: Path) -> dict[str, LoadedHandler]:
    """The handlers of a directory in which nothing is wrong."""
    code = load(str(folder))
    assert code.problems == []
    return code.handlers


def call(folder: Path, job_type: str, payload: str = "null", context: JobContext | None = None) -> object:
    """The output of an executable."""
    return served(folder)[job_type].call(payload, context or JobContext(job_type=job_type))


def failure(folder: Path, job_type: str, payload: str = "null", context: JobContext | None = None) -> Failure:
    """How it failed."""
    with pytest.raises(ExecutableFailedError) as caught:
        call(folder, job_type, payload, context)
    return caught.value.failure


def problems(folder: Path) -> list[tuple[str, int | None, str]]:
    """Everything that is wrong with a directory, without the ways out."""
    return [(each.file, each.line, each.error) for each in load(str(folder)).problems]


# the way in and out


def test_a_shell_script_gets_the_payload_and_gives_the_output(tmp_path: Path, write: Write) -> None:
    """Payload on stdin, output on stdout; the job type is the name without its suffix."""
    write("echo.sh", '#!/bin/sh\nread -r line\nprintf %s "$line"\n')
    assert call(tmp_path, "echo", '{"a": [1, "é"]}') == {"a": [1, "é"]}


def test_a_node_script_gets_the_payload_and_gives_the_output(tmp_path: Path, write: Write) -> None:
    """Its modules are found beside it, where a package.json may decide their kind."""
    need("node")
    write("lib/double.js", "module.exports = (n) => 2 * n;", mode=0o644)
    write(
        "double.js",
        """
        #!/usr/bin/env node
        const fs = require("fs");
        const n = JSON.parse(fs.readFileSync(0)).n;
        fs.writeSync(3, "progress 50\\n");
        console.log(JSON.stringify({doubled: require("./lib/double")(n)}));
        """,
    )
    context = JobContext()
    assert call(tmp_path, "double", '{"n": 21}', context) == {"doubled": 42}
    assert context.progress == 50


def test_a_compiled_program_gets_the_payload_and_gives_the_output(tmp_path: Path) -> None:
    """A binary needs no suffix and no first line."""
    compile_c(COMPILED, tmp_path / "measure")
    assert call(tmp_path, "measure", "[1, 2]") == {"read": [1, 2]}


@pytest.mark.parametrize(
    ("printed", "output"),
    [
        ("", None),
        ("\\n", None),
        ("42\\n", 42),
        ("true", True),
        ('{"a": 1}\\n', {"a": 1}),
        ("null", None),
        ("hello\\nworld\\n\\n", "hello\nworld"),
        ("NaN", "NaN"),
        ('{"a": 1} and more', '{"a": 1} and more'),
        ("\\377\\000", "\\xff\\0"),
    ],
)
def test_stdout_is_json_if_it_parses_and_text_otherwise(
    tmp_path: Path, write: Write, printed: str, output: object
) -> None:
    """Text loses the line ends after it, as in a shell's $(...); what no store keeps is written out."""
    write("say", f"#!/bin/sh\nprintf '{printed}'\n")
    assert call(tmp_path, "say") == output


def test_stdout_over_the_limit_fails_for_good_and_ends_a_flood(tmp_path: Path, write: Write) -> None:
    """Nobody reads on, so `yes` meets SIGPIPE; trying again would give the same."""
    write("flood", "#!/bin/sh\nexec yes\n")
    found = failure(tmp_path, "flood", context=JobContext(max_output_bytes=100_000))
    assert (found.kind, "100000 bytes" in found.message) == (PERMANENT, True)


def test_a_megabyte_passes_in_and_out(tmp_path: Path, write: Write) -> None:
    """No pipe fills up on the way, and whoever does not read the payload is not held up."""
    write("cat", "#!/bin/sh\nexec cat\n")
    write("ignore", "#!/bin/sh\necho done\n")
    large = '"' + "x" * 1_000_000 + '"'
    assert call(tmp_path, "cat", large) == "x" * 1_000_000
    assert call(tmp_path, "ignore", large) == "done"


def test_what_it_wrote_last_is_not_lost_with_it(write: Write) -> None:
    """Its end is seen while more stands in the pipe than one read takes."""
    path = write(
        "last",
        """
        #!/usr/bin/env python3
        import fcntl, os
        fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 1 << 20)
        os.write(1, b"x" * 900_000)
        """,
    )
    found: list[bytes] = []

    def take(data: bytes) -> bool:
        found.append(data)
        return True

    program = Program(str(path), sinks={1: take}, shield=nullcontext())
    program.start(b"", dict(os.environ))
    os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    assert program.run() == 0
    program.close()
    assert sum(map(len, found)) == 900_000


def test_it_finds_its_job_in_the_environment(tmp_path: Path, write: Write) -> None:
    """An empty value where the job has no such limit."""
    write("variables", "#!/bin/sh\nenv | grep ^JOBWARDEN_ | sort\n")
    context = JobContext(job_id=7, job_type="variables", attempt=2, max_attempts=5, fence=9, timeout_ms=1500)
    assert call(tmp_path, "variables", context=context) == "\n".join(
        [
            "JOBWARDEN_ATTEMPT=2",
            "JOBWARDEN_FENCE=9",
            f"JOBWARDEN_HANDLERS={tmp_path}",
            "JOBWARDEN_HEARTBEAT_TIMEOUT_MS=",
            "JOBWARDEN_JOB_ID=7",
            "JOBWARDEN_JOB_TYPE=variables",
            "JOBWARDEN_MAX_ATTEMPTS=5",
            "JOBWARDEN_TIMEOUT_MS=1500",
        ]
    )


def test_only_four_descriptors_are_open_in_it(tmp_path: Path, write: Write) -> None:
    """Whatever the worker has open, inheritable or not, stays its own; signals are as they should be."""
    write(
        "listing",
        """
        #!/bin/sh
        for number in 0 1 2 3 4 5 6 7 8 9 11 12 13 14 15 16; do
            [ -e "/proc/$$/fd/$number" ] && printf '%s ' "$number"
        done
        echo
        exec grep -E '^Sig(Ign|Blk)' /proc/self/status
        """,
    )
    leak = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(leak, True)  # noqa: FBT003 - its signature
    try:
        printed = str(call(tmp_path, "listing"))
    finally:
        os.close(leak)
    descriptors, *masks = printed.splitlines()
    assert descriptors.split() == ["0", "1", "2", "3"]  # and 10, which is dash's own, on its script
    own_of_glibc = 0b11 << 31  # 32 and 33, which posix_spawn(3) leaves ignored
    assert all(int(mask.split()[1], 16) & ~own_of_glibc == 0 for mask in masks)


# its end


def test_a_failing_one_says_why_in_its_last_line(
    tmp_path: Path, write: Write, capfd: pytest.CaptureFixture[str]
) -> None:
    """Errors are captured as it comes; what it printed is no output, so that is captured too."""
    write("fail", "#!/bin/sh\necho half\necho first >&2\necho 'no such city' >&2\necho >&2\nexit 3\n")
    assert failure(tmp_path, "fail") == Failure(PERMANENT, "exit code 3: no such city")
    captured = capfd.readouterr().err
    assert captured.startswith("first\nno such city\n")
    assert captured.endswith("half\n")


def test_exit_code_75_asks_for_another_attempt_perhaps_later(tmp_path: Path, write: Write) -> None:
    """EX_TEMPFAIL; descriptor 3 may say when, and what to remember."""
    write("busy", "#!/bin/sh\nexit 75\n")
    write("later", "#!/bin/sh\necho 'retry 30' >&3\necho 'error quota used up' >&3\nexit 75\n")
    assert failure(tmp_path, "busy") == Failure(HANDLER_ERROR, "exit code 75 (EX_TEMPFAIL)")
    assert failure(tmp_path, "later") == Failure(
        HANDLER_ERROR, "exit code 75 (EX_TEMPFAIL): quota used up", retry_after=30.0
    )


def test_a_side_file_says_which_exit_codes_are_tried_again(tmp_path: Path, write: Write) -> None:
    """The decorator's `retry_on` and `fail_on`, with exit codes."""
    write("code", '#!/bin/sh\nread -r code\nexit "$code"\n')
    write("code.toml", 'retry_on = "all"\nfail_on = [64]\n', mode=0o644)
    assert [failure(tmp_path, "code", str(code)).kind for code in (1, 64)] == [HANDLER_ERROR, PERMANENT]


def test_a_death_by_a_signal_is_tried_again(tmp_path: Path, write: Write) -> None:
    """It is a crash."""
    write("crash", "#!/bin/sh\nkill -SEGV $$\n")
    assert failure(tmp_path, "crash") == Failure(HANDLER_ERROR, "it was killed by signal 11 (SIGSEGV)")


def test_what_it_leaves_running_holds_nothing_up(tmp_path: Path, write: Write) -> None:
    """The end of the executable is the end of the attempt, whoever still has its pipes; the worker finds the rest."""
    write("leave", "#!/bin/sh\nsleep 60 &\necho $!\n")
    pid = call(tmp_path, "leave")
    assert isinstance(pid, int)
    os.kill(pid, signal.SIGKILL)


def test_one_that_cannot_be_run_any_more_is_an_error_of_its_own(tmp_path: Path, write: Write) -> None:
    """An interpreter that was taken away meanwhile, for example."""
    path = write("gone", "#!/bin/sh\n")
    found = served(tmp_path)["gone"]
    path.unlink()
    with pytest.raises(ExecutableFailedError, match="cannot be run: No such file"):
        found.call("null", JobContext())


def test_no_descriptor_is_left_open_however_it_ends(tmp_path: Path, write: Write) -> None:
    """A worker runs many of them."""
    write("end", '#!/bin/sh\nread -r code\n[ "$code" = 9 ] && kill -9 $$\nexit "$code"\n')
    handlers = served(tmp_path)
    write("gone", "#!/bin/sh\n")
    handlers |= {"gone": served(tmp_path)["gone"]}
    (tmp_path / "gone").unlink()
    before = open_descriptors()
    for job_type, payload in [("end", "0"), ("end", "1"), ("end", "9"), ("gone", "0")]:
        with suppress(ExecutableFailedError):
            handlers[job_type].call(payload, JobContext())
    assert open_descriptors() == before


# what is served


def test_which_files_are_served(tmp_path: Path, write: Write) -> None:
    """At the top whatever can run, deeper only what has a side file; nothing hidden, no helper, no library."""
    script = "#!/bin/sh\n"
    for name in ("top", "top.d/tool", "top.d/deep", "_lib.sh", ".hidden", "node_modules/.bin/tool", "node_modules/x"):
        write(name, script)
    write("top.d/deep.toml", "", mode=0o644)
    write("plain.sh", script, mode=0o644)
    write("README.md", "# not a program\n")
    write("photo", "\x89PNG", mode=0o644)
    assert sorted(served(tmp_path)) == ["deep", "top"]


def test_the_bit_to_run_is_part_of_the_content(tmp_path: Path, write: Write) -> None:
    """A `chmod +x` is a deployment; the watcher's hash says so too."""
    write("first.sh", "#!/bin/sh\n")
    second = write("second.sh", "#!/bin/sh\n", mode=0o644)
    before = read_tree(str(tmp_path)).content_hash
    second.chmod(0o755)
    after = read_tree(str(tmp_path)).content_hash
    assert after != before
    assert fingerprint(str(tmp_path), at=look(str(tmp_path))) == after


def test_a_side_file_gives_the_options_of_the_decorator(tmp_path: Path, write: Write) -> None:
    """The supervisor is told what it would be told of a function."""
    write("greet.sh", "#!/bin/sh\n")
    write("greet.toml", 'job_type = "hello"\ntimeout_ms = 5000\nmax_concurrency = 2\n', mode=0o644)
    info = served(tmp_path)["hello"].info()
    assert (info.file, info.timeout_ms, info.max_concurrency, info.schema) == ("greet.sh", 5000, 2, None)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.sh", "echo\n", "neither a program"),
        ("a", "", "neither a program"),
        ("a.sh", "#!/no/such/sh\n", "interpreter /no/such/sh is not there"),
        ("a.sh", "#!/usr/bin/env no-such-sh\n", "interpreter no-such-sh (on PATH="),
        ("a.sh", "#!/bin/sh\r\n", "CR LF"),
        ("a.sh", "#!\n", "names no interpreter"),
    ],
)
def test_what_keeps_an_executable_from_running_is_said_when_it_is_loaded(
    tmp_path: Path, write: Write, name: str, text: str, said: str
) -> None:
    """Not at its first job; the other files are served."""
    write(name, text)
    write("good", "#!/bin/sh\n")
    ((file, where, error),) = problems(tmp_path)
    assert (file, where) == (name, 1)
    assert said in error
    assert list(load(str(tmp_path)).handlers) == ["good"]


def test_a_huge_file_is_named_and_not_read(tmp_path: Path, write: Write) -> None:
    """Each file of a generation is in memory for a while; a small script may start a large program elsewhere."""
    os.truncate(write("huge", "#!/bin/sh\n"), 2**40)
    write("good", "#!/bin/sh\n")
    assert problems(tmp_path) == [("huge", None, "it cannot be read: it is larger than 256 MiB")]
    assert list(load(str(tmp_path)).handlers) == ["good"]


def test_a_side_file_without_the_bit_to_run_says_chmod(tmp_path: Path, write: Write) -> None:
    """The commonest slip, and silence would be the worst answer."""
    write("greet.sh", "#!/bin/sh\n", mode=0o644)
    write("greet.toml", "", mode=0o644)
    (problem,) = load(str(tmp_path)).problems
    assert (problem.file, problem.way_out) == ("greet.sh", "chmod +x greet.sh")


def test_a_wrong_side_file_is_named_and_its_executable_not_served(tmp_path: Path, write: Write) -> None:
    """Without its limits it must not run."""
    write("greet.sh", "#!/bin/sh\n")
    write("greet.toml", "# greets\ntimeout_ms = 'soon'\n", mode=0o644)
    assert [each[:2] for each in problems(tmp_path)] == [("greet.toml", 2)]
    assert load(str(tmp_path)).handlers == {}


def test_two_side_files_for_one_executable_are_a_problem(tmp_path: Path, write: Write) -> None:
    """Which of them counts is not for us to guess."""
    write("greet.sh", "#!/bin/sh\n")
    for name in ("greet.toml", "greet.sh.toml"):
        write(name, "", mode=0o644)
    assert [each[0] for each in problems(tmp_path)] == ["greet.sh.toml"]


def test_two_files_with_one_job_type_are_named_both(tmp_path: Path, write: Write) -> None:
    """Executables and Python files alike; the first one serves."""
    write("greet.py", 'from jobwarden import handler\n\n@handler("greet")\ndef greet(payload): ...\n', mode=0o644)
    write("greet.sh", "#!/bin/sh\n")
    write("greet.js", "#!/bin/sh\n")
    errors = [error for _file, _line, error in problems(tmp_path)]
    assert errors == ["the job type 'greet' is served by greet.py (line 3) already"] * 2


def test_an_executable_that_fails_over_the_memory_limit_has_failed_for_that(tmp_path: Path, write: Write) -> None:
    """Programs that get no memory only say that they end; what they had used says why."""
    write("eat", "#!/bin/sh\nhead -c 64M /dev/zero | tail -c 63M | wc -c >&2\nexit 3\n")
    write("taste", "#!/bin/sh\nexit 3\n")
    with played(tmp_path, "", bounds=WorkerBounds(memory_limit_bytes=48 * 1024 * 1024)) as supervisor:
        ends = [supervisor.spawn().run(job_type) for job_type in ("eat", "taste")]
    assert [each.failure and each.failure.kind for each in ends] == [MEMORY, PERMANENT]
    assert ends[0].peak_rss_kb > 60_000


def test_what_an_executable_has_used_is_told_with_its_end(tmp_path: Path, write: Write) -> None:
    """CPU time of the worker's children counts as the job's; a later job does not pay for it."""
    write("count", "#!/bin/sh\ni=0\nwhile [ $i -lt 100000 ]; do i=$((i + 1)); done\n")
    write("nothing", "#!/bin/sh\n")
    with played(tmp_path, "") as supervisor:
        worker = supervisor.spawn()
        busy, idle = worker.run("count"), worker.run("nothing")
    assert busy.cpu_us > 2 * idle.cpu_us


def test_the_shipped_executable_compresses_a_file(tmp_path: Path) -> None:
    """The result appears as a whole beside the file; what it cannot do it says in one sentence, for good."""
    found = served(SHIPPED)["compress_file"]
    source = tmp_path / "app.log"
    source.write_bytes(b"line\n" * 10_000)
    context = JobContext(job_type="compress_file")
    output = found.call(json.dumps(str(source)), context)
    packed = tmp_path / "app.log.gz"
    assert output == {"target": str(packed), "bytes": packed.stat().st_size}
    assert gzip.decompress(packed.read_bytes()) == source.read_bytes()
    assert sorted(tmp_path.iterdir()) == [source, packed]
    for payload, said in {'"nowhere"': "nowhere: there is no such file", "[1]": "the payload is not the path"}.items():
        with pytest.raises(ExecutableFailedError, match=said) as caught:
            found.call(payload, context)
        assert caught.value.failure.kind == PERMANENT
