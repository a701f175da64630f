"""Which containers there are: a cache, kept up to date by the events of the engine.

The engine is asked for all that changed since a moment before the list was made, so that nothing falls between the two.
When the connection is lost, what was known stays, and it is tried again, ever more slowly, for as long as it takes.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing

from attrs import define, field

from ironpost.guard.engine import Engine, EngineError
from ironpost.guard.policies import Container

__all__ = ["Inventory"]


@define
class Inventory:
    """The containers of an engine.

    Args:
        engine: who knows them.
        patience: seconds between two tries, at first and at most; doubled after each.

    Attributes:
        connected: whether the engine can be asked at present.
        trouble: why not; empty if it can.
        counts: ``listed``, ``refreshed``, ``lost``.
    """

    engine: Engine
    patience: tuple[float, float] = (0.5, 30.0)
    clock: Callable[[], float] = time.time
    connected: bool = field(default=False, init=False)
    trouble: str = field(default="the engine was not asked yet", init=False)
    counts: Counter[str] = field(factory=Counter, init=False)
    _known: dict[str, Container] = field(factory=dict, init=False)
    _asked: asyncio.Event = field(factory=asyncio.Event, init=False)

    @property
    def containers(self) -> list[Container]:
        """Those that are known, by name."""
        return sorted(self._known.values(), key=lambda each: each.name)

    async def asked(self) -> None:
        """Wait until the engine was asked once, whatever came of it."""
        await self._asked.wait()

    async def follow(self) -> None:
        """Keep the cache up to date, until cancelled."""
        wait, longest = self.patience
        while True:
            try:
                await self._follow_once()
            except EngineError as error:
                wait = self.patience[0] if self.connected else min(wait * 2, longest)
                self.counts["lost"] += self.connected
                self.connected, self.trouble = False, str(error)
            self._asked.set()
            await asyncio.sleep(wait)

    async def _follow_once(self) -> None:
        since = self.clock()
        listed = await self.engine.list()
        self._known = {each.id: each for each in listed}
        self.connected, self.trouble = True, ""
        self.counts["listed"] += 1
        self._asked.set()
        async with aclosing(self.engine.changes(since)) as changes:
            async for container in changes:
                now = await self.engine.inspect(container)
                self._known.pop(container, None)
                if now is not None:
                    self._known[now.id] = now
                self.counts["refreshed"] += 1
