"""Running as another user, under another Python: what is decided before any process is started."""

from __future__ import annotations

import ast
import grp
import os
import pwd
import socket
import sys
from pathlib import Path

import pytest

from jobwarden.errors import InvalidSettingsError
from jobwarden.settings.pool import PoolSettings
from jobwarden.supervisor import entrance, interpreter, runas
from jobwarden.supervisor.identity import Identity, identity_of
from jobwarden.supervisor.interpreter import Interpreter
from jobwarden.version import __version__
from jobwarden.wire.exits import EXIT_UNFIT
from jobwarden.wire.frames import FrameReader
from jobwarden.wire.messages import Unfit, decode_from_template

SOMEBODY = Identity(uid=4711, gid=12, groups=(12, 13), name="ada", environment={"HOME": "/srv/ada", "USER": "ada"})
SAME, ANOTHER = "install the same one there: ", "name a Python that it can run as `python` of this pool"
PIP = f"/venv/bin/python -m pip install jobwarden=={__version__}"


@pytest.mark.parametrize("detail", ["", "Permission denied", "é" * 100, "x" * 10_000])
def test_what_the_threshold_writes_by_hand_is_a_message(detail: str) -> None:
    """It cannot import the codec: the bytes have to be the same, and short enough for any socket."""
    ours, theirs = socket.socketpair()
    with ours:
        assert runas.refuse(theirs.detach(), "identity", detail) == EXIT_UNFIT
        (message,) = FrameReader().feed(ours.recv(100_000))
    assert decode_from_template(message) == Unfit("identity", detail[:4096])


def test_both_scripts_write_and_exit_alike() -> None:
    """Each stands alone, so what they share is written twice."""
    assert [entrance.packed(text) for text in ("", "é", "x" * 9_999)] == [
        runas.packed(text) for text in ("", "é", "x" * 9_999)
    ]
    assert runas.EXIT_UNFIT == entrance.EXIT_UNFIT == EXIT_UNFIT


def test_an_old_python_can_read_the_entrance() -> None:
    """What an interpreter that is too old cannot read it cannot answer either."""
    ast.parse(Path(entrance.__file__).read_text(encoding="utf-8"), feature_version=(3, 6))


def test_a_user_brings_his_groups_and_his_home() -> None:
    """The numbers are those of the system's user database."""
    person = pwd.getpwnam("nobody")
    by_name, by_number = (identity_of(PoolSettings(user=each)) for each in ("nobody", str(person.pw_uid)))
    assert (
        by_name
        == by_number
        == Identity(
            uid=person.pw_uid,
            gid=person.pw_gid,
            groups=(person.pw_gid,),
            name="nobody",
            environment={"HOME": person.pw_dir, "USER": "nobody", "LOGNAME": "nobody"},
        )
    )


def test_a_group_replaces_that_of_the_user_and_goes_alone_too() -> None:
    """`group` without `user` is the daemon's own user in another group."""
    wanted = grp.getgrnam("daemon").gr_gid
    both, alone = identity_of(PoolSettings(user="nobody", group="daemon")), identity_of(PoolSettings(group="daemon"))
    assert both is not None
    assert alone is not None
    assert (both.uid, both.gid, both.groups) == (pwd.getpwnam("nobody").pw_uid, wanted, (wanted,))
    assert (alone.uid, alone.gid) == (os.geteuid(), wanted)
    assert wanted in alone.groups


def test_a_pool_without_a_user_runs_as_the_daemon() -> None:
    """Then there is no threshold and nothing to give up."""
    assert identity_of(PoolSettings()) is None


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"user": "nemo"}, "pool p, key user: there is no user nemo on this machine; create it (useradd --system)"),
        ({"user": "4000000000"}, "pool p, key user: there is no user 4000000000 on this machine"),
        ({"user": "9" * 30}, f"pool p, key user: there is no user {'9' * 30} on this machine"),
        ({"user": "nobody", "group": "nemo"}, "pool p, key group: there is no group nemo on this machine; create it"),
    ],
)
def test_an_unknown_user_or_group_is_one_sentence(options: dict[str, str], sentence: str) -> None:
    """It names the pool and the key, and the way out."""
    with pytest.raises(InvalidSettingsError) as caught:
        identity_of(PoolSettings.model_validate({"name": "p", **options}))
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("unfit", "sentence"),
    [
        (
            Unfit("missing", "No module named 'jobwarden'"),
            f"/venv/bin/python has no jobwarden; install it there: {PIP}",
        ),
        (
            Unfit("version", "9.9"),
            f"/venv/bin/python has jobwarden 9.9, with which this one ({__version__}) cannot talk; {SAME}{PIP}",
        ),
        (
            Unfit("broken", "No module named 'msgspec'"),
            f"/venv/bin/python cannot import jobwarden (No module named 'msgspec'); install it there: {PIP}",
        ),
        (Unfit("python", "3.8.18"), "/venv/bin/python is Python 3.8.18, too old for jobwarden; name one from 3.11 on"),
        (
            Unfit("interpreter", "Permission denied"),
            f"the daemon cannot run /venv/bin/python (Permission denied); {ANOTHER}",
        ),
        (
            Unfit("of some later version", "x"),
            f"/venv/bin/python cannot import jobwarden (x); install it there: {PIP}",
        ),
    ],
    ids=lambda value: value.kind if isinstance(value, Unfit) else "",
)
def test_what_is_wrong_with_an_interpreter_is_one_sentence_with_the_way_out(
    unfit: Unfit, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where jobwarden is missing, or is another one, the way out is the very command for pip."""
    monkeypatch.setattr(interpreter, "_requirement", lambda: f"jobwarden=={__version__}")
    assert Interpreter(Path("/venv/bin/python"), identity=None).why_unfit(unfit) == sentence


@pytest.mark.parametrize("kind", ["identity", "interpreter", "missing", "broken"])
def test_where_rights_may_be_the_reason_the_user_is_named(kind: str) -> None:
    """What another user may not read looks to him as if it were not there."""
    assert "ada" in Interpreter(Path("/venv/bin/python"), identity=SOMEBODY).why_unfit(Unfit(kind, "no"))


@pytest.mark.parametrize(
    ("origin", "wanted"),
    [
        (None, f"jobwarden=={__version__}"),
        ('{"url": "file:///srv/our%20builds/jobwarden.whl"}', "'/srv/our builds/jobwarden.whl'"),
        ('{"url": "https://example.org/jobwarden.git", "vcs_info": {"vcs": "git"}}', f"jobwarden=={__version__}"),
        ("no json", f"jobwarden=={__version__}"),
    ],
    ids=["an index", "a file", "elsewhere", "garbage"],
)
def test_the_command_installs_what_runs_here(origin: str | None, wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the index by its number, or from the path that our own installation came from (PEP 610)."""

    class Installed:
        def read_text(self, name: str) -> str | None:
            return origin if name == "direct_url.json" else None

    monkeypatch.setattr(interpreter, "distribution", lambda _name: Installed())
    interpreter._requirement.cache_clear()  # noqa: SLF001 - it is asked once per process
    try:
        command = Interpreter(Path("/venv/bin/python"), identity=None).pip_command
    finally:
        interpreter._requirement.cache_clear()  # noqa: SLF001
    assert command == f"/venv/bin/python -m pip install {wanted}"


def test_handlers_find_themselves_at_home() -> None:
    """The daemon's HOME and USER belong to somebody else."""
    found = Interpreter(None, identity=SOMEBODY).environment({"HOME": "/root", "USER": "root", "LANG": "C"})
    assert found == {"HOME": "/srv/ada", "USER": "ada", "LANG": "C"}


def test_a_named_interpreter_brings_its_own_environment(tmp_path: Path) -> None:
    """As after its `activate`; the daemon's PYTHONPATH is for the daemon's Python, unless somebody asks for it."""
    (tmp_path / "pyvenv.cfg").touch()
    named = Interpreter(tmp_path / "bin" / "python", identity=None)
    inherited = {"PATH": "/usr/bin", "PYTHONPATH": "/lib", "VIRTUAL_ENV": "/daemon", "TZ": "UTC"}
    activated = {"PATH": f"{tmp_path}/bin:/usr/bin", "VIRTUAL_ENV": str(tmp_path), "TZ": "UTC"}
    assert named.environment(inherited) == activated
    assert named.environment(inherited, asked=["PYTHONPATH"]) == {**activated, "PYTHONPATH": "/lib"}
    assert Interpreter(None, identity=None).environment(inherited) == inherited
    system = Interpreter(Path(sys.base_prefix) / "bin" / "python3", identity=None)
    assert system.environment(inherited) == {"PATH": "/usr/bin", "TZ": "UTC"}


def test_a_link_into_a_virtual_environment_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which environment an interpreter belongs to is told by the path of the link and not by what it leads to."""
    (tmp_path / "python").symlink_to(sys.executable)
    monkeypatch.chdir(tmp_path)
    assert Interpreter(Path("python"), identity=None).path == str(tmp_path / "python")
