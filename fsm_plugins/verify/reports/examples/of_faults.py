"""What a plugin does after something went wrong (L2)."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Final

from fsm_plugins.verify.reports.examples.writing import both

__all__ = ["OF_FAULTS"]

_WIRED = """
    lines: Receiver[str]
    copies: Sender[str]
"""

OF_FAULTS: Final[Mapping[str, tuple[str, str]]] = {
    "cancellation-swallowed": both(
        """
            async def on_start(self) -> None:
                for _ in range(3):
                    try:
                        return await asyncio.sleep(1)
                    except BaseException:
                        continue  # try again
            """,
        """
            async def on_start(self) -> None:
                for _ in range(3):
                    try:
                        return await asyncio.sleep(1)
                    except Exception:
                        continue  # try again
            """,
    ),
    "stop-after-fault-fails": both(
        """
            async def on_start(self) -> None:
                await asyncio.sleep(1)
                self.log = []

            async def on_stop(self) -> None:
                self.log.clear()
            """,
        """
            log: list[str] = []

            async def on_start(self) -> None:
                await asyncio.sleep(1)
                self.log = []

            async def on_stop(self) -> None:
                self.log.clear()
            """,
    ),
    "lock-held": both(
        """
            def __init__(self) -> None:
                self.lock = asyncio.Lock()

            async def on_start(self) -> None:
                await self.lock.acquire()
                await asyncio.sleep(1)
                self.lock.release()
            """,
        """
            def __init__(self) -> None:
                self.lock = asyncio.Lock()

            async def on_start(self) -> None:
                async with self.lock:
                    await asyncio.sleep(1)
            """,
    ),
    "message-lost": both(
        f"""{textwrap.dedent(_WIRED).rstrip()}

async def on_start(self) -> None:
    self.spawn(self._copy())

async def _copy(self) -> None:
    batch = []
    while True:
        try:
            async with asyncio.timeout(0.5):
                batch.append(await self.lines.recv())
        except TimeoutError:
            while batch:
                await self.copies.send(batch.pop(0))
        except ChannelClosed:
            return  # and what is in the batch is lost
""",
        f"""{textwrap.dedent(_WIRED).rstrip()}

async def on_start(self) -> None:
    self.spawn(self._copy())

async def _copy(self) -> None:
    async for line in self.lines:
        await self.copies.send(line)
""",
    ),
    "double-release": both(
        """
            def __init__(self) -> None:
                self.lock = asyncio.Lock()

            async def on_start(self) -> None:
                await self.lock.acquire()

            async def on_stop(self) -> None:
                if self.state == "running" or self.failure is not None:
                    self.lock.release()
                    await asyncio.sleep(1)
            """,
        """
            def __init__(self) -> None:
                self.lock = asyncio.Lock()

            async def on_start(self) -> None:
                await self.lock.acquire()

            async def on_stop(self) -> None:
                if self.lock.locked():
                    self.lock.release()
                await asyncio.sleep(1)
            """,
    ),
}
