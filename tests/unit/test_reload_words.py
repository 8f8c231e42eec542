"""What `jobwarden reload` says: differences of job types, and answers as lines and as a document."""

from __future__ import annotations

from typing import Any

from jobwarden.cli.reload_report import as_document, in_words, is_well
from jobwarden.cli.types_diff import compare_types
from jobwarden.wire.desk import Answer, PoolAnswer
from jobwarden.wire.messages import HandlerInfo

GREET = HandlerInfo(job_type="greet", file="a.py", timeout_ms=5_000)
WAVE = HandlerInfo(job_type="wave", file="b.py")


def pool(**changed: Any) -> PoolAnswer:
    """A reload of `greet` that went well, unless something else is said."""
    fields = {"name": "default", "handlers": "code", "generation": 2, "tried": 2, "before": [GREET], "found": [GREET]}
    return PoolAnswer(**{**fields, "problems": [], **changed})


def words(*pools: PoolAnswer, check: bool = False, **more: Any) -> list[str]:
    """The lines about these pools."""
    return list(in_words(Answer(pools=list(pools), **more), check=check))


def test_types_that_came_went_or_changed_are_told_by_name() -> None:
    """Each changed option is told with both values; the schema, which is long, without."""
    changed = HandlerInfo(job_type="greet", file="c.py", max_attempts=7, schema='{"type": "object"}')
    diff = compare_types([GREET, WAVE], [changed, HandlerInfo(job_type="bow", file="b.py")])
    assert list(diff.lines()) == [
        "  + bow (b.py)",
        "  - wave (was in b.py); its jobs stay pending",
        "  ~ greet: file a.py -> c.py, timeout_ms 5000 -> none, max_attempts none -> 7, another payload schema",
    ]
    assert diff.as_json()["changed"] == {
        "greet": {
            "file": {"before": "a.py", "after": "c.py"},
            "timeoutMs": {"before": 5_000, "after": None},
            "maxAttempts": {"before": None, "after": 7},
            "schema": {"before": None, "after": '{"type": "object"}'},
        }
    }


def test_the_same_types_are_no_difference() -> None:
    """Nothing is listed then."""
    assert compare_types([WAVE, GREET], [GREET, WAVE]).empty


def test_names_from_handler_files_cannot_drive_a_terminal() -> None:
    """Control characters in them are made visible."""
    (line,) = compare_types([], [HandlerInfo(job_type="a\x1b[2J", file="b.py")]).lines()
    assert line == "  + a\\x1b[2J (b.py)"


def test_what_serves_is_told_in_one_line_with_the_differences_below() -> None:
    """For a check the directory is what it is about, for a reload the generation."""
    assert words(pool()) == ["generation 2 serves 1 job type of code, the same as before"]
    assert words(pool(found=[GREET, WAVE])) == ["generation 2 serves 2 job types of code", "  + wave (b.py)"]
    assert words(pool(tried=None), check=True) == ["code is well, with 1 job type, the same as before"]


def test_broken_code_is_told_with_what_serves_on() -> None:
    """All problems are below it, and nothing about differences, as there are none."""
    problems = ["a.py:3: SyntaxError: invalid syntax", "b.py:1: NameError"]
    indented = ["  a.py:3: SyntaxError: invalid syntax", "  b.py:1: NameError"]
    assert words(pool(tried=3, problems=problems)) == ["generation 3 is broken, generation 2 serves on", *indented]
    broken = pool(tried=None, found=[], problems=problems)
    assert words(broken, check=True) == ["code is broken; generation 2 serves on", *indented]
    nothing = pool(tried=1, generation=None, before=[], found=[], problems=problems)
    assert words(nothing)[0] == "generation 1 is broken, nothing serves"


def test_a_cold_start_with_a_broken_file_is_told_as_such() -> None:
    """The new generation serves, but not all of it, and that is not well."""
    partly = pool(before=[], problems=["b.py:1: NameError"])
    assert words(partly) == ["generation 2 serves, but not all of code", "  b.py:1: NameError", "  + greet (a.py)"]
    assert not is_well(Answer(pools=[partly]))


def test_each_of_several_pools_is_named() -> None:
    """One alone needs no name."""
    assert [line.partition(":")[0] for line in words(pool(name="quick"), pool(name="heavy"))] == [
        "pool quick",
        "pool heavy",
    ]


def test_a_broken_configuration_is_not_well_but_a_note_is() -> None:
    """It stays as it was; what needs a restart is only told."""
    told = words(pool(), configuration=["x.toml, key wrokers: there is no such option"], notes=["restart needed"])
    assert told[:2] == [
        "the configuration stays as it was: x.toml, key wrokers: there is no such option",
        "restart needed",
    ]
    assert not is_well(Answer(configuration=["no"]))
    assert is_well(Answer(pools=[pool()], notes=["restart needed"]))
    assert not as_document(Answer(configuration=["no"]), check=False)["ok"]
