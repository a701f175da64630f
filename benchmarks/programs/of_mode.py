"""mode: a Worker with a service that has the others as its dependencies, as its documentation shows."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import mode

from benchmarks.programs import SERVING, ready


class Idle(mode.Service):  # type: ignore[misc]
    """Waits until it is stopped."""

    @mode.Service.task  # type: ignore[untyped-decorator]
    async def idle(self) -> None:
        """Wait."""
        with SERVING:
            await self.wait_for_stopped(asyncio.Event())


class Root(mode.Service):  # type: ignore[misc]
    """Has the others."""

    def __init__(self, count: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.count = count
        for _ in range(count):
            self.add_dependency(Idle())

    async def on_started(self) -> None:
        """Tell that all run."""
        await asyncio.sleep(0)  # the tasks of the others have been made; now they begin
        ready(self.count)


if __name__ == "__main__":
    mode.Worker(Root(int(sys.argv[1])), loglevel="ERROR", daemon=True).execute_from_commandline()
