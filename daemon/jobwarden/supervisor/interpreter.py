"""The Python that loads a pool's handlers: how it is started, what its environment is, and what may be wrong with it.

Whether it is fit for us is found out by itself (`entrance`); here its answer becomes a sentence with the way out.
Builds command lines and texts only; the launcher starts them.
"""

from __future__ import annotations

import os
import shlex
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import msgspec

from jobwarden.supervisor import entrance, runas
from jobwarden.version import __version__
from jobwarden.wire.messages import WIRE_VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobwarden.supervisor.identity import Identity
    from jobwarden.wire.messages import Unfit

_OURS = ("PYTHONPATH", "VIRTUAL_ENV")
"""Variables that describe the daemon's own Python."""
_OLDEST = ".".join(map(str, entrance.OLDEST_PYTHON))


class Interpreter:
    """One pool's Python, run as `identity` (None: as whoever the daemon is)."""

    def __init__(self, python: Path | None, *, identity: Identity | None) -> None:
        """`python` may be relative to the working directory; None is the daemon's own."""
        # Not resolved: that a link lies in a virtual environment is what makes it that environment's interpreter.
        self.path = sys.executable if python is None else str(python.absolute())
        self._is_ours = python is None
        self._identity = identity

    def command(self, terms: str, *, control: int) -> list[str]:
        """The command line of a template; `control` is the number of its control descriptor."""
        safe_path = ["-P"] if self._is_ours else []  # older ones do not know it; `entrance` does the same by hand
        arguments = [*safe_path, "-c", _entrance(), str(control), str(WIRE_VERSION), terms]
        return [*self._threshold(control), self.path, *arguments]

    def _threshold(self, control: int) -> list[str]:
        return [] if self._identity is None else [*run_as("exec", self._identity), str(control)]

    def environment(self, inherited: Mapping[str, str], *, asked: Sequence[str] = ()) -> dict[str, str]:
        """These variables, as this interpreter and this user would have them.

        A named interpreter has packages of its own: the daemon's PYTHONPATH would put packages in front of them that
        were made for the daemon's Python. It is passed on only if somebody `asked` for it by name.
        """
        own = {} if self._identity is None else self._identity.environment
        kept = {name: value for name, value in inherited.items() if self._is_ours or name not in {*_OURS} - {*asked}}
        return {**kept, **self._activation(kept), **own}

    def _activation(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """What the `activate` of a virtual environment sets, if the interpreter was named and lies in one."""
        folder = Path(self.path).parent
        if self._is_ours or not (folder.parent / "pyvenv.cfg").is_file():
            return {}
        path = inherited.get("PATH", os.defpath)
        return {"VIRTUAL_ENV": str(folder.parent), "PATH": f"{folder}{os.pathsep}{path}"}

    def why_unfit(self, unfit: Unfit) -> str:
        """One sentence: what is wrong with this interpreter or this user, and the way out."""
        name = "?" if self._identity is None else self._identity.name
        match unfit.kind:
            case "identity":
                return f"the daemon cannot become the user {name} ({unfit.detail}); see `user` in the configuration"
            case "interpreter":
                return self.why_not_started(unfit.detail)
            case "python":
                return f"{self.path} is Python {unfit.detail}, too old for jobwarden; name one from {_OLDEST} on"
            case "version":
                theirs = f"has jobwarden {unfit.detail}, with which this one ({__version__}) cannot talk"
                return f"{self.path} {theirs}; install the same one there: {self.pip_command}"
            case "missing":
                # A folder that a user may not enter hides what is in it.
                in_sight = "" if self._identity is None else f" that the user {name} may read"
                return f"{self.path} has no jobwarden{in_sight}; install it there: {self.pip_command}"
            case _:
                for_whom = "" if self._identity is None else f" for the user {name}"
                why = f"{self.path} cannot import jobwarden{for_whom} ({unfit.detail})"
                return f"{why}; install it there: {self.pip_command}"

    def why_not_started(self, detail: str) -> str:
        """The sentence for an interpreter that cannot be executed."""
        who = "the daemon" if self._identity is None else f"the user {self._identity.name}"
        return f"{who} cannot run {self.path} ({detail}); name a Python that it can run as `python` of this pool"

    @property
    def pip_command(self) -> str:
        """What installs our own version into that interpreter."""
        return f"{shlex.quote(self.path)} -m pip install {shlex.quote(_requirement())}"


def run_as(verb: str, identity: Identity) -> list[str]:
    """The beginning of a command line that becomes this user first; see `runas`."""
    groups = ",".join(map(str, identity.groups))
    return [sys.executable, "-I", "-S", "-E", runas.__file__, verb, str(identity.uid), str(identity.gid), groups]


@cache
def _entrance() -> str:
    return Path(entrance.__file__).read_text(encoding="utf-8")


@cache
def _requirement() -> str:
    """Our version by its number, or the path that it was installed from if that was no index (PEP 610)."""
    try:
        origin = distribution("jobwarden").read_text("direct_url.json")
        url = "" if origin is None else msgspec.json.decode(origin, type=_DirectUrl).url
    except (PackageNotFoundError, msgspec.MsgspecError):
        url = ""
    return unquote(url.removeprefix("file://")) if url.startswith("file://") else f"jobwarden=={__version__}"


class _DirectUrl(msgspec.Struct):
    url: str = ""
