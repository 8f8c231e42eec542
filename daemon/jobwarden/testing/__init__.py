"""For tests: of an application (`run_jobs`), of handlers (the fixtures `run_handler` and `run_job`), of a store.

Nothing is imported before it is used: this package stands in the way of the pytest plugin, which every pytest run on
the machine loads. `store_contract` is the suite that every store passes.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobwarden.testing.in_process import HandlerFailedError, HandlerRun, RunHandler
    from jobwarden.testing.in_worker import RunJob
    from jobwarden.testing.running import ErrandFailedError, run_jobs

__all__ = ["ErrandFailedError", "HandlerFailedError", "HandlerRun", "RunHandler", "RunJob", "run_jobs"]

_HOMES = {
    "ErrandFailedError": "running",
    "HandlerFailedError": "in_process",
    "HandlerRun": "in_process",
    "RunHandler": "in_process",
    "RunJob": "in_worker",
    "run_jobs": "running",
}


def __getattr__(name: str) -> object:
    """See above; PEP 562."""
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
