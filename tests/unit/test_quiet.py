"""When a directory has come to rest, in a played time."""

from __future__ import annotations

from jobwarden.sources.look import Look, State
from jobwarden.supervisor.quiet import DEPLOY_REST_NS, LONGEST_UNREST_NS, SAVE_REST_NS, Quiet

MS_NS = 1_000_000


def seen(**files: State | None) -> Look:
    """A look at these files."""
    return Look("/handlers", {f"{name}.py": state for name, state in files.items()}, {"/handlers": (1, 1)})


def written(at: int, *, size: int = 10) -> State:
    """A file as it is after it was written at this time."""
    return 1, 2, size, at, at


def rested(first: Look | None) -> Quiet:
    """A directory that is at rest as of this look."""
    quiet = Quiet()
    quiet.saw(first, now_ns=0)
    quiet.was_read()
    return quiet


def ripens_after(quiet: Quiet, *, from_ns: int) -> int:
    """How long after `from_ns` the same look is told to be read, in ms."""
    now_ns = from_ns
    while not quiet.saw(quiet.last, now_ns=now_ns):
        now_ns += MS_NS
    return (now_ns - from_ns) // MS_NS


def test_the_first_look_is_a_change() -> None:
    """What stood there before anybody watched may differ from what was loaded."""
    quiet = Quiet()
    assert not quiet.saw(seen(a=written(1)), now_ns=0)
    assert ripens_after(quiet, from_ns=0) == SAVE_REST_NS // MS_NS


def test_a_directory_at_rest_is_not_read() -> None:
    """Equal looks are no change, however many."""
    quiet = rested(seen(a=written(1)))
    assert not any(quiet.saw(seen(a=written(1)), now_ns=at * 10**9) for at in range(1, 100))
    assert quiet.due_ns() is None


def test_one_file_that_was_written_whole_is_read_soon() -> None:
    """Somebody has saved it and waits."""
    quiet = rested(seen(a=written(1), b=written(1)))
    assert not quiet.saw(seen(a=written(2), b=written(1)), now_ns=10**9)
    assert ripens_after(quiet, from_ns=10**9) == SAVE_REST_NS // MS_NS


def test_several_files_an_empty_one_and_a_missing_directory_get_more_time() -> None:
    """They look like a deploy under way, or like a file whose writing has just begun."""
    several = seen(a=written(2), b=written(2))
    renamed = seen(b=written(1), c=written(1))
    empty = seen(a=written(2, size=0), b=written(1))
    for found in (several, renamed, empty, None):
        quiet = rested(seen(a=written(1), b=written(1)))
        assert not quiet.saw(found, now_ns=10**9)
        assert ripens_after(quiet, from_ns=10**9) == DEPLOY_REST_NS // MS_NS


def test_each_further_change_begins_the_wait_anew() -> None:
    """It is the end of a deploy that counts."""
    quiet = rested(seen(a=written(1)))
    for at in range(5):
        assert not quiet.saw(seen(a=written(at + 2)), now_ns=10**9 + at * SAVE_REST_NS // 2)
    assert ripens_after(quiet, from_ns=10**9 + 2 * SAVE_REST_NS) == SAVE_REST_NS // MS_NS


def test_what_never_rests_is_read_nevertheless() -> None:
    """Otherwise one log file with the wrong suffix would keep all new code away."""
    quiet = rested(seen(a=written(1)))
    now_ns = 10**9
    while not quiet.saw(seen(a=written(now_ns)), now_ns=now_ns):
        now_ns += 10 * MS_NS
    assert now_ns - 10**9 == LONGEST_UNREST_NS
    assert quiet.never_rests(now_ns=now_ns)


def test_a_reading_that_failed_is_tried_again() -> None:
    """Only what was read ends the unrest."""
    quiet = Quiet()
    quiet.saw(seen(a=written(1)), now_ns=0)
    assert quiet.saw(seen(a=written(1)), now_ns=10**9)
    assert quiet.saw(seen(a=written(1)), now_ns=10**9 + 1)
