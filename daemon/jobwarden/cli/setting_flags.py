"""One flag for each setting, made from `Settings`, so that each default and each explanation exists once.

Used by `run` and `check`. It must never judge a value: that is for `Settings`, which names the flag.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobwarden.cli.signatures import extended, option
from jobwarden.settings.describe import default_text
from jobwarden.settings.gather import POOLS_FLAG
from jobwarden.settings.model import OPTIONS
from jobwarden.settings.storage import PASSWORD

if TYPE_CHECKING:
    import inspect
    from collections.abc import Callable

_METAVARS = {"database_url": "URL", "handlers": "DIR", "state_dir": "DIR", "worker_environment": "NAMES"}


def with_a_flag_per_setting(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that takes `**flags` one option per setting, and `--pool`; all are text, judged by `Settings`.

    A password has none: everybody on the machine can read a command line.
    """
    return extended(command, [_pools(), *(_flag(name) for name in OPTIONS if name != PASSWORD)])


def _pools() -> inspect.Parameter:
    about = "Only this pool of the config file; repeat it for more. Default: all."
    return option(POOLS_FLAG, list[str] | None, "--pool", metavar="NAME", about=about)


def _flag(name: str) -> inspect.Parameter:
    words = name.replace("_", "-")
    switch = OPTIONS[name].annotation is bool
    return option(
        name,
        bool | None if switch else str | None,
        f"--{words}/--no-{words}" if switch else f"--{words}",
        metavar=None if switch else _METAVARS.get(name, "VALUE"),
        about=f"{OPTIONS[name].description} Default: {default_text(name) or 'none'}.",
    )
