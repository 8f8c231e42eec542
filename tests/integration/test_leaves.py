"""Which cgroup is ours to divide, and the leaves of workers, on this machine's own cgroup v2 (decision 025)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobwarden import events
from jobwarden.supervisor.cgroup import Leaf, Leaves, Usher, level_of
from jobwarden.supervisor.channel import Channel
from jobwarden.supervisor.delegation import DAEMON
from tests.support.cgroups import MARK, delegated, members, within
from tests.support.daemon import clean_environment

ASK = """
import os, sys
from jobwarden.supervisor import delegation
import msgspec
if len(sys.argv) > 2:
    os.setresuid(*[int(sys.argv[2])] * 3)
found = getattr(delegation, sys.argv[1])()
own = next(line[3:].rstrip() for line in open("/proc/self/cgroup") if line.startswith("0::"))
print(msgspec.json.encode([found.folder and str(found.folder), found.why_not, found.meant, own]).decode())
"""
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && cd / && exec "$@"'
ORDINARY = 65_534


@pytest.fixture
def given() -> Iterator[Path]:
    """A cgroup that is marked as delegated."""
    with delegated() as folder:
        yield folder


def asked(verb: str, *before: str, user: int | None = None) -> list[Any]:
    """What a process that was started like that finds: the folder, why not, whether it was meant, where it is."""
    command = [*before, sys.executable, "-c", ASK, verb, *([] if user is None else [str(user)])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=clean_environment())
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, list)
    return found


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A child of ours that does nothing."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


# whose a cgroup is


def test_a_marked_cgroup_is_entered_one_level_below(given: Path) -> None:
    """The mark is systemd's for `Delegate=yes`. What an earlier daemon left there, empty, is removed."""
    (given / "slot-7" / "made" / "by a handler").mkdir(parents=True)
    assert asked("look", *within(given)) == [str(given), "", False, f"/{given.name}"]
    assert asked("claim", *within(given)) == [str(given), "", False, f"/{given.name}/{DAEMON}"]
    assert [each.name for each in given.iterdir() if each.is_dir()] == [DAEMON]


def test_who_was_started_in_the_leaf_divides_what_is_above(given: Path) -> None:
    """As systemd 254 and later does it with `DelegateSubgroup=daemon`."""
    (given / DAEMON).mkdir()
    assert asked("claim", *within(given / DAEMON)) == [str(given), "", False, f"/{given.name}/{DAEMON}"]


def test_a_cgroup_that_root_could_write_is_left_alone_unless_it_was_delegated(given: Path) -> None:
    """Every cgroup has one manager; a shell's, or a unit's without `Delegate=yes`, is not ours."""
    os.removexattr(given, MARK)
    folder, why_not, meant, place = asked("claim", *within(given))
    assert (folder, meant, place) == (None, False, f"/{given.name}")
    assert "Delegate=yes" in why_not


def test_a_user_divides_what_was_handed_to_him_and_nothing_below_that() -> None:
    """At the border the kernel says so by the owner; below it are the cgroups of his own service manager's programs."""
    with delegated(to=ORDINARY) as given:
        (given / "app").mkdir()
        for each in ("app", "app/cgroup.procs"):
            os.chown(given / each, ORDINARY, -1)
        assert asked("look", *within(given), user=ORDINARY)[:3] == [str(given), "", False]
        assert "is not delegated" in asked("look", *within(given / "app"), user=ORDINARY)[1]


def test_a_delegated_cgroup_with_others_in_it_is_not_divided(given: Path, sleeper: subprocess.Popen[bytes]) -> None:
    """They may be of another daemon; what is in a unit with a shell around the daemon is told."""
    (given / "cgroup.procs").write_text(str(sleeper.pid))
    folder, why_not, meant, place = asked("claim", *within(given))
    assert (folder, meant, place) == (None, True, f"/{given.name}")
    assert str(sleeper.pid) in why_not
    (given / "slot-1").mkdir()
    (given / "slot-1" / "cgroup.procs").write_text(str(sleeper.pid))
    assert "slot-1" in asked("claim", *within(given))[1]


def test_a_delegated_cgroup_that_is_read_only_is_told_with_the_line_that_is_missing(given: Path) -> None:
    """`ProtectControlGroups=yes` makes it so."""
    read_only = ("unshare", "--mount", "sh", "-c", READ_ONLY, str(given))
    folder, why_not, meant, place = asked("claim", *within(given), *read_only)
    assert (folder, meant, place) == (None, True, f"/{given.name}")
    assert "ReadWritePaths=-/sys/fs/cgroup/SLICE/%n" in why_not


# leaves


def test_a_leaf_is_killed_with_all_below_it_and_removed_with_what_was_made_there(
    given: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    """Handlers may make cgroups of their own, as containers do. Its files are open, so modes do not matter."""
    leaf = Leaf(given / "slot-1")
    assert leaf.is_empty()
    leaf.take_in(sleeper.pid)
    assert (leaf.is_empty(), level_of(leaf)) == (False, "cgroup")
    below = leaf.folder / "a" / "b"
    below.mkdir(parents=True)
    (below / "cgroup.procs").write_text(str(sleeper.pid))
    for name in ("cgroup.kill", "cgroup.events", "cgroup.procs"):
        (leaf.folder / name).chmod(0)
    assert not leaf.is_empty()
    leaf.kill()
    assert sleeper.wait(30) == -9
    assert leaf.is_empty()
    leaf.remove()
    assert not leaf.folder.exists()
    leaf.remove()


def test_the_usher_opens_the_latch_when_the_worker_is_in_its_leaf(
    given: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    """Until then its number is in the usher's hand, and it is not to be reaped."""
    usher, leaf = Usher(), Leaf(given / "slot-1")
    latch, theirs = os.pipe()
    usher.admit(leaf, pid=sleeper.pid, latch=theirs)
    assert leaf.entering
    usher.start()
    assert os.read(latch, 1) == b""
    assert (members(leaf.folder), leaf.entering, leaf.sure) == ({sleeper.pid}, False, True)
    os.close(latch)
    leaf.remove()


def test_a_worker_that_cannot_be_moved_works_all_the_same_and_its_kill_level_says_so(
    given: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    """Its latch is opened, and people are told once."""
    told: list[events.Fact] = []
    forget = events.listen(told.append)
    usher = Usher()
    usher.start()
    for number in (1, 2):
        leaf = Leaf(given / f"slot-{number}")
        leaf.folder.rmdir()
        latch, theirs = os.pipe()
        usher.admit(leaf, pid=sleeper.pid, latch=theirs)
        assert os.read(latch, 1) == b""
        assert level_of(leaf) == "tree"
        os.close(latch)
        leaf.remove()
    forget()
    assert [type(each) for each in told] == [events.Alerted]


def test_where_no_leaf_can_be_made_workers_are_born_without(given: Path) -> None:
    """A fork bomb or a limit may be in the way: the job runs all the same, and people are told once."""
    told: list[events.Fact] = []
    forget = events.listen(told.append)
    (given / "cgroup.max.descendants").write_text("1")
    leaves = Leaves(given)
    made = [leaves.make(slot) for slot in (1, 2, 3)]
    forget()
    assert [level_of(each) if each is None else each.folder.name for each in made] == ["slot-1", "tree", "tree"]
    assert [type(each) for each in told] == [events.Alerted]
    assert Leaves(None).make(1) is None
    assert made[0] is not None
    made[0].remove()


def test_no_descriptor_of_a_cgroup_goes_to_a_worker(given: Path) -> None:
    """Whoever holds one moves any process of ours, the supervisor too, with the rights of whoever opened it."""
    channel = Channel(1, generation=1, tail_bytes=1, leaf=Leaf(given / "slot-1"))
    held = {int(each.name): str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()}
    ours = {number for number, place in held.items() if place.startswith(str(given))}
    assert ours
    assert not ours & set(channel.worker_ends())
    assert not any(os.get_inheritable(each) for each in ours)
    channel.close()
    assert not (given / "slot-1").exists()
