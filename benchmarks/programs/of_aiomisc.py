"""aiomisc: an entrypoint with its services, as its documentation shows (https://docs.aiomisc.com)."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from aiomisc import Service, entrypoint

from benchmarks.programs import SERVING, ready


class Idle(Service):  # type: ignore[misc]
    """Waits until it is stopped."""

    async def start(self) -> Any:
        """Begin to wait."""
        self.start_event.set()
        with SERVING:
            await asyncio.Event().wait()


if __name__ == "__main__":
    services = [Idle() for _ in range(int(sys.argv[1]))]
    with entrypoint(*services) as loop:
        ready(len(services))
        loop.run_forever()
