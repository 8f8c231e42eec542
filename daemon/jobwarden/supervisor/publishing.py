"""What a node says in its row of the job types that it serves: who asks why a job does not run reads it there.

Called by the loop when a generation becomes current.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from jobwarden.store.work import ServedType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jobwarden.wire.messages import HandlerInfo


def published_types(handlers: Iterable[HandlerInfo]) -> str:
    """JSON array of `ServedType`, by name."""
    served = [ServedType(job_type=each.job_type, schema=_schema(each.schema), secret=each.secret) for each in handlers]
    return msgspec.json.encode(sorted(served, key=lambda each: each.job_type)).decode()


def _schema(text: str | None) -> dict[str, Any] | None:
    """It comes from a process that runs handler code; what is no schema is left out."""
    try:
        return None if text is None else msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return None
