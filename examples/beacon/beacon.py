"""Plugins that go on until they are told to stop: one counts, one tells."""

from __future__ import annotations

import asyncio
from itertools import count

from attrs import define, field
from attrs.validators import gt

from fsm_plugins import HealthStatus, Plugin, PluginInfo, Receiver, Sender


@define
class Beat(Plugin):
    """Counts from 1, once in ``interval`` seconds."""

    info = PluginInfo("beat", "1.0.0", "Counts")

    beats: Sender[int]
    interval: float = field(default=1.0, validator=gt(0))

    async def on_start(self) -> None:
        self.spawn(self._beat())

    async def _beat(self) -> None:
        for number in count(1):
            await self.beats.send(number)
            await asyncio.sleep(self.interval)


@define
class Tell(Plugin):
    """Prints what it receives, to the last one."""

    info = PluginInfo("tell", "1.0.0", "Prints the count")

    beats: Receiver[int]
    told: int = field(default=0, init=False)

    async def on_start(self) -> None:
        self.spawn(self._tell())

    async def _tell(self) -> None:
        async for number in self.beats:
            print(f"beat {number}", flush=True)
            self.told = number

    async def on_health_check(self) -> HealthStatus:
        return HealthStatus.healthy() if self.told else HealthStatus.degraded("no beat yet")
