"""The limit: asyncio and a task for each service."""

from __future__ import annotations

import asyncio
import signal
import sys

from benchmarks.programs import SERVING, ready


async def serve() -> None:
    """Wait until it is cancelled."""
    with SERVING:
        await asyncio.Event().wait()


async def main(count: int) -> None:
    """Run ``count`` services."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    tasks = [asyncio.create_task(serve()) for _ in range(count)]
    await asyncio.sleep(0)
    ready(count)
    await ended.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
