"""As whom a pool's code runs: the options `user` and `group` in the kernel's numbers, and whether this daemon may.

Reads the system's user database, never the configuration. Used at the start, by `check` and by the launcher.
"""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobwarden.errors import InvalidSettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from jobwarden.settings.pool import PoolSettings

_NEEDED = {"CAP_SETUID": 7, "CAP_SETGID": 6, "CAP_KILL": 5}
"""Numbers of capabilities(7): to become somebody else, and to end what somebody else runs."""
_AMBIENT, _EFFECTIVE = "CapAmb", "CapEff"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Somebody, as the kernel knows him, and as his processes find themselves described."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str
    environment: Mapping[str, str]
    """What login(1) would set."""


def identity_of(pool: PoolSettings) -> Identity | None:
    """As whom the pool runs; None for whoever the daemon is. Raises InvalidSettingsError with one sentence."""
    if pool.user is None and pool.group is None:
        return None
    person = _person(pool)
    gid = person.pw_gid if pool.group is None else _group(pool, pool.group)
    return Identity(
        uid=person.pw_uid,
        gid=gid,
        groups=tuple(sorted(set(os.getgrouplist(person.pw_name, gid)))),
        name=person.pw_name,
        environment={"HOME": person.pw_dir, "USER": person.pw_name, "LOGNAME": person.pw_name},
    )


def require_run_as(pools: Iterable[PoolSettings]) -> None:
    """Raise InvalidSettingsError with a sentence for each `user` or `group` that does not exist or is out of reach."""
    problems = [problem for pool in pools if (problem := _problem_of(pool))]
    if problems:
        raise InvalidSettingsError(problems)


def other_users(pools: Iterable[PoolSettings]) -> tuple[Identity, ...]:
    """As whom these pools run, if they do not run as the daemon. Raises as `identity_of`."""
    found = {each.uid: each for pool in pools if (each := identity_of(pool)) is not None}
    return tuple(each for uid, each in found.items() if uid != os.geteuid())


def trusted_in(pool: PoolSettings) -> tuple[int, ...] | None:
    """The users that may change this pool's handlers, the daemon's own first; None: `strict_modes` is off.

    The pool's own user is one of them: nobody else ever runs what stands there. Raises as `identity_of`.
    """
    if not pool.strict_modes:
        return None
    identity = identity_of(pool)
    return tuple(dict.fromkeys((os.geteuid(), 0, *(() if identity is None else (identity.uid,)))))


def holds_passed_on_rights() -> bool:
    """Whether what this daemon starts inherits capabilities of its own (ambient ones): handlers must not have them."""
    return _capabilities(_AMBIENT) != 0


def own_identity() -> Identity:
    """Who the daemon is."""
    uid, groups = os.geteuid(), tuple(sorted(set(os.getgroups())))
    return Identity(uid=uid, gid=os.getegid(), groups=groups, name=f"number {uid}", environment={})


def _person(pool: PoolSettings) -> pwd.struct_passwd:
    wanted = str(os.geteuid()) if pool.user is None else pool.user
    try:
        return pwd.getpwuid(int(wanted)) if wanted.isdecimal() else pwd.getpwnam(wanted)
    except (KeyError, OverflowError):
        way_out = "create it (useradd --system), or name another one"
        raise _refusal(pool, "user", f"there is no user {wanted} on this machine; {way_out}") from None


def _group(pool: PoolSettings, wanted: str) -> int:
    try:
        return (grp.getgrgid(int(wanted)) if wanted.isdecimal() else grp.getgrnam(wanted)).gr_gid
    except (KeyError, OverflowError):
        way_out = "create it (groupadd --system), or name another one"
        raise _refusal(pool, "group", f"there is no group {wanted} on this machine; {way_out}") from None


def _problem_of(pool: PoolSettings) -> str | None:
    try:
        wanted = identity_of(pool)
        if wanted is not None:
            _require_rights(pool, wanted)
    except InvalidSettingsError as error:
        return str(error)
    return None


def _require_rights(pool: PoolSettings, wanted: Identity) -> None:
    own = own_identity()
    key = "user" if wanted.uid != own.uid else "group"
    if (wanted.uid, wanted.gid, wanted.groups) == (own.uid, own.gid, own.groups):
        return
    held = _capabilities(_EFFECTIVE)
    lacking = [name for name, number in _NEEDED.items() if not held >> number & 1]
    if lacking:
        why = f"this daemon cannot run handlers as somebody else, because it lacks {_listed(lacking)}"
        raise _refusal(pool, key, f"{why}; start it as root or with these capabilities, or leave the option out")
    if wanted.uid == 0:
        raise _refusal(pool, key, "only root's own daemon runs handlers as root; name another user")
    if not (_is_mapped(wanted.uid, "uid_map") and all(_is_mapped(gid, "gid_map") for gid in wanted.groups)):
        why = f"{wanted.name} has no id in this user namespace"
        raise _refusal(pool, key, f"{why}; map it (systemd: PrivateUsers=no), or leave the option out")


def _refusal(pool: PoolSettings, key: str, sentence: str) -> InvalidSettingsError:
    return InvalidSettingsError([f"pool {pool.name}, key {key}: {sentence}"])


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _capabilities(kind: str) -> int:
    """One set of this process, as bits (proc(5), status)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == kind:
            return int(value, 16)
    return 0


def _is_mapped(number: int, kind: str) -> bool:
    """Whether an id exists in our user namespace (user_namespaces(7))."""
    for line in Path(f"/proc/self/{kind}").read_text().splitlines():
        first, _outside, length = map(int, line.split())
        if first <= number < first + length:
            return True
    return False
