"""Carries what a listener's thread hears into an event loop: callbacks of `AsyncClient` run where its user lives.

Never waits for the loop, which may be busy or closed.
"""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobwarden.client.client import Client
    from jobwarden.client.listeners import Callback


@dataclass(frozen=True)
class InLoop:
    """A callback and the loop that it belongs to; equal if the callbacks are, so that `off` finds it again."""

    callback: Callback
    loop: asyncio.AbstractEventLoop = field(compare=False)
    client: Client = field(compare=False)

    def __call__(self, data: dict[str, Any]) -> None:
        """From the listeners' thread. A loop that is closed hears nothing more."""
        if not self.loop.is_closed():
            asyncio.run_coroutine_threadsafe(self._call(data), self.loop)

    async def _call(self, data: dict[str, Any]) -> None:
        try:
            answer = self.callback(data)
            if inspect.isawaitable(answer):
                await answer
        except Exception as error:  # noqa: BLE001 - anybody's code; its errors have listeners of their own
            self.client.report(error, about=data)
