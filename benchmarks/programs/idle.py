"""The plugin that the programs run: it has a worker that waits."""

from __future__ import annotations

import asyncio

from benchmarks.programs import SERVING
from fsm_plugins import Plugin, PluginInfo

__all__ = ["Idle"]


class Idle(Plugin):
    """Waits until it is stopped."""

    info = PluginInfo("idle", "1.0.0")

    async def on_start(self) -> None:
        """Begin to wait."""
        self.spawn(self._wait())

    async def _wait(self) -> None:
        with SERVING:
            await asyncio.Event().wait()
