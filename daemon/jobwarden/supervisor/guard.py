"""What must be safe from other users before a daemon trusts it: configuration, passwords, state folder, database.

The rule is in `strict_modes`; the handlers themselves are judged by whoever reads them. Looks only, tells no secret.
Called at a start, when the configuration is read again, by `check` and by `doctor`.
"""

from __future__ import annotations

import os
import shlex
import stat
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import make_url

from jobwarden.errors import DistrustedError, InvalidSettingsError
from jobwarden.findings import notice, ok, problem, warning
from jobwarden.settings.address import mask_password
from jobwarden.settings.gather import CONF_D, config_files
from jobwarden.settings.load import find_config, trace_settings
from jobwarden.sources.look import look
from jobwarden.strict_modes import RELAX, Guard, may_open, steps_to, user_name
from jobwarden.supervisor.identity import identity_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from jobwarden.findings import Finding
    from jobwarden.settings import Settings
    from jobwarden.settings.found import Found
    from jobwarden.settings.pool import PoolSettings

_NOBODY = -1
"""A user id that nobody has: what he may do, everybody may."""
_MOST_TOLD = 20
"""Files of one folder."""
_STATE_MODE, _WAY_MODE = 0o700, 0o755


def require_safe(settings: Settings, *, config: Path | None, flags: Mapping[str, object]) -> None:
    """Raise InvalidSettingsError with a sentence for each thing that is in reach of other users."""
    problems = list(breaches(settings, config=config, flags=flags)) if settings.strict_modes else []
    if problems:
        raise InvalidSettingsError(problems)


def breaches(
    settings: Settings, *, config: Path | None, flags: Mapping[str, object], daemon: int | None = None
) -> Iterator[str]:
    """One sentence for each: the file, who can change or read it, the command that ends that. Whatever the option says.

    `daemon` is the user of the daemon, if somebody else asks.
    """
    trusted = tuple(dict.fromkeys((os.geteuid() if daemon is None else daemon, 0, os.geteuid())))
    path = find_config(config)
    files = [] if path is None else [each for each in config_files(path, []) if each.exists()]
    secret = list(_secret_files(settings, files, config=config, flags=flags))
    conf_d = [] if path is None else [path.parent / CONF_D]
    found = [
        *_changeable([*files, *secret], trusted),
        *_changeable([*conf_d, settings.state_dir], trusted, closed=True),
        *(each for file in secret for each in _readable(file, settings.pools)),
        *_of_database(settings),
    ]
    first = {each.path: each for each in reversed(found)}
    yield from (str(each) for each in found if first[each.path] is each)


def examine_reach(settings: Settings, *, config: Path | None, flags: Mapping[str, object]) -> Iterator[Finding]:
    """What `doctor` says: of all that a daemon with these settings reads, handlers and interpreters included."""
    daemon = daemon_of(settings.state_dir)
    told_by = breaches(settings, config=config, flags=flags, daemon=daemon), _of_pools(settings.pools, daemon)
    found = list(dict.fromkeys(chain(*told_by)))
    why = "who can change them, or read the password, has the rights of the daemon or of its jobs"
    for sentence in found:
        told, _, do = sentence.rpartition("; ")
        if settings.strict_modes:
            yield problem("strict-modes", told, why=f"{why}; it is refused", do=do)
        else:
            yield warning("strict-modes", told, why=f"{why}; strict_modes is off, so it is not refused", do=do)
    if not found:
        yield ok("strict-modes", "configuration, handlers, state folder and database are safe from other users")
    for pool in settings.pools:
        yield from _own_to_jobs(pool)


def make_state_dir(state_dir: Path) -> None:
    """For its owner only, with folders above it that nobody else can write, whatever the umask. Raises OSError."""
    missing = [each for each in (state_dir, *state_dir.parents) if not each.exists()]
    for each in reversed(missing):
        mode = _STATE_MODE if each == state_dir else _WAY_MODE
        each.mkdir(mode=mode, exist_ok=True)


def daemon_of(state_dir: Path) -> int:
    """The user of the daemon with this state folder: whoever owns it; before the first start, whoever asks.

    For those who only look: a daemon that believed this would believe everybody.
    """
    try:
        return state_dir.stat().st_uid
    except OSError:
        return os.geteuid()


def _of_pools(pools: Iterable[PoolSettings], daemon: int) -> Iterator[str]:
    for pool in pools:
        with suppress(InvalidSettingsError):
            identity = identity_of(pool)
            own = () if identity is None else (identity.uid,)
            trusted = tuple(dict.fromkeys((daemon, 0, os.geteuid(), *own)))
            found = list(_changeable([] if pool.python is None else [pool.python.absolute()], trusted))
            found += _of_handlers(pool.handlers, trusted)
            yield from (str(each) for each in found)


def _of_handlers(handlers: Path, trusted: tuple[int, ...]) -> Iterator[DistrustedError]:
    found = look(str(handlers))
    files = [] if found is None else [Path(found.root, relative) for relative in found.files]
    folder = list(_changeable([handlers], trusted, closed=True))
    told = {each.path: each for each in folder or _changeable(files, trusted)}
    yield from list(told.values())[:_MOST_TOLD]


def _own_to_jobs(pool: PoolSettings) -> Iterator[Finding]:
    """Allowed, as nobody else ever runs that code; but a job that was taken over can stay."""
    with suppress(InvalidSettingsError, OSError):
        identity = identity_of(pool)
        if identity is not None and identity.uid and pool.handlers.stat().st_uid == identity.uid:
            yield notice(
                "handlers",
                f"{pool.handlers} belongs to {identity.name}, as whom the jobs of pool {pool.name} run",
                why="a job can change the code of the jobs after it",
                do=f"chown -R root {shlex.quote(str(pool.handlers))}, unless it is meant to",
            )


def _changeable(paths: Iterable[Path], trusted: tuple[int, ...], *, closed: bool = False) -> Iterator[DistrustedError]:
    for path in paths:
        try:
            Guard(trusted, closed=os.path.realpath(path) if closed else None).require_way(os.fspath(path))
        except DistrustedError as error:
            yield error


# secrets


def _secret_files(
    settings: Settings, files: Iterable[Path], *, config: Path | None, flags: Mapping[str, object]
) -> Iterator[Path]:
    """Those that hold the password of the database."""
    said = trace_settings(config=config, flags=flags).gathered.options
    yield from (each for each in files if any(found.place.startswith(f"{each}, ") for found in _secrets(said)))
    if settings.database_password_file is not None and settings.database_password_file.exists():
        yield settings.database_password_file


def _secrets(said: Mapping[str, Found]) -> Iterator[Found]:
    url, password = said.get("database_url"), said.get("database_password")
    if url is not None and isinstance(url.value, str) and mask_password(url.value) != url.value:
        yield url
    if password is not None and "database_password_file" not in said:
        yield password


def _readable(path: Path, pools: Iterable[PoolSettings]) -> Iterator[DistrustedError]:
    """Whether strangers, or jobs that run as another user, get at a secret."""
    if may_open(path, uid=_NOBODY, groups=()):
        told = "it holds a password, and every user can read it"
        yield DistrustedError(str(path), told, f"chmod o-r {shlex.quote(str(path))}, {RELAX}")
    else:
        yield from _open_to_jobs(path, pools, what="it holds a password")


# the database


def _of_database(settings: Settings) -> Iterator[DistrustedError]:
    """Its group may share it (`database_mode`); the owner may be whoever adds jobs."""
    path = _database_file(settings.database_url)
    if path is None:
        return
    for step, found in steps_to(os.fspath(path)):
        if found.st_mode & stat.S_IWOTH and not stat.S_ISLNK(found.st_mode) and not found.st_mode & stat.S_ISVTX:
            told = f"every user can write it (mode {stat.S_IMODE(found.st_mode):04o}), and the jobs with it"
            yield DistrustedError(step, told, f"chmod o-w {shlex.quote(step)}, {RELAX}")
    yield from _open_to_jobs(path, settings.pools, what="it is the database")


def _database_file(url: str) -> Path | None:
    """The file of an SQLite database."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return None
    return Path(os.path.abspath(os.path.expanduser(parsed.database)))  # noqa: PTH100, PTH111 - as the store does


def _open_to_jobs(path: Path, pools: Iterable[PoolSettings], *, what: str) -> Iterator[DistrustedError]:
    for pool in pools:
        with suppress(InvalidSettingsError):  # an unknown user is told of by whoever asks for that
            identity = identity_of(pool)
            if identity is None or identity.uid == os.geteuid():
                continue
            if may_open(path, uid=identity.uid, groups=identity.groups):
                who = f"the jobs of pool {pool.name}, which run as {user_name(identity.uid)}, can open it"
                way_out = "take the rights of that user or group away with chmod or chown"
                yield DistrustedError(str(path), f"{what}, and {who}", f"{way_out}, {RELAX}")
