"""mode: a Worker with a service that has the others as its dependencies, as its documentation shows."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import mode

from benchmarks.programs import ready


class Idle(mode.Service):  # type: ignore[misc]
    """Waits until it is stopped."""

    @mode.Service.task  # type: ignore[untyped-decorator]
    async def idle(self) -> None:
        """Wait."""
        await self.wait_for_stopped(asyncio.Event())


class Root(mode.Service):  # type: ignore[misc]
    """Has the others."""

    def __init__(self, count: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for _ in range(count):
            self.add_dependency(Idle())

    async def on_started(self) -> None:
        """Tell that all run."""
        ready()


if __name__ == "__main__":
    mode.Worker(Root(int(sys.argv[1])), loglevel="ERROR", daemon=True).execute_from_commandline()
