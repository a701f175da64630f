"""Timers, tickers, and hooks that take their time."""

from __future__ import annotations

import asyncio
import heapq

from attrs import Factory, define

from fsm_plugins import Deadlines, HealthStatus, Plugin, PluginInfo
from tests.zoo.specimen import Specimen


@define
class Ticker(Plugin):
    """A worker that sleeps and counts."""

    info = PluginInfo("ticker", "1.0.0", "Ticks")
    every: float = 0.5
    ticks: int = 0

    async def on_start(self) -> None:
        self.spawn(self._tick())

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self.every)
            self.ticks += 1


class Chain(Plugin):
    """Calls of the loop, each of which arranges the next. There is one handle, and whoever arms it disarms it first."""

    info = PluginInfo("chain", "1.0.0", "Samples")

    def __init__(self, every: float = 0.5) -> None:
        self.every = every
        self.handle: asyncio.TimerHandle | None = None
        self.samples = 0

    async def on_start(self) -> None:
        self._arm()

    async def on_stop(self) -> None:
        self._disarm()

    def _arm(self) -> None:
        self._disarm()
        self.handle = asyncio.get_running_loop().call_later(self.every, self._sample)

    def _disarm(self) -> None:
        if self.handle is not None:
            self.handle.cancel()
            self.handle = None

    def _sample(self) -> None:
        self.samples += 1
        self._arm()


class Debounced(Plugin):
    """Acts when nothing has happened for a while."""

    info = PluginInfo("debounced", "1.0.0", "Saves when the typing stops")

    def __init__(self, quiet: float = 0.05) -> None:
        self.quiet = quiet
        self.timer: asyncio.TimerHandle | None = None
        self.saved = 0

    async def on_start(self) -> None:
        self.spawn(self._type())

    async def on_stop(self) -> None:
        for worker in self.workers:  # who types no more arms no timer
            worker.cancel()
        await asyncio.gather(*self.workers, return_exceptions=True)
        if self.timer is not None:
            self.timer.cancel()

    async def _type(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                for _ in range(3):
                    if self.timer is not None:
                        self.timer.cancel()
                    self.timer = loop.call_later(self.quiet, self._save)
                    await asyncio.sleep(self.quiet / 5)
                await asyncio.sleep(self.quiet * 3)
        finally:
            if self.timer is not None:
                self.timer.cancel()

    def _save(self) -> None:
        self.saved += 1


class Watchdog(Plugin):
    """Fails itself when nobody has fed it for a while. In its worker, and not in the one who feeds."""

    info = PluginInfo("watchdog", "1.0.0", "Bites")

    def __init__(self, patience: float = 100.0) -> None:
        self.patience = patience
        self.fed = 0.0

    async def on_start(self) -> None:
        self.fed = asyncio.get_running_loop().time()
        self.spawn(self._watch())

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while (left := self.fed + self.patience - loop.time()) > 0:  # noqa: ASYNC110 - it waits for time to pass
            await asyncio.sleep(left)
        await self.fail(TimeoutError("nobody has fed the watchdog"))


@define
class Slow(Plugin):
    """Hooks that take long, and less than they may."""

    info = PluginInfo("slow", "1.0.0", "Warms up")
    deadlines = Deadlines(init=30.0, start=30.0, stop=30.0, health=5.0)
    warm_up: float = 20.0
    warm: bool = False

    async def on_init(self) -> None:
        await asyncio.sleep(self.warm_up / 2)

    async def on_start(self) -> None:
        for _ in range(4):
            await asyncio.sleep(self.warm_up / 4)
        self.warm = True

    async def on_stop(self) -> None:
        self.warm = False
        await asyncio.sleep(self.warm_up)

    async def on_health_check(self) -> HealthStatus:
        await asyncio.sleep(1.0)
        return HealthStatus.healthy() if self.warm else HealthStatus.degraded("cold")


@define
class Agenda(Plugin):
    """Does things at their time, in the order of time; sleeps until the next one is due."""

    info = PluginInfo("agenda", "1.0.0", "Does things on time")
    delays: tuple[float, ...] = (3.0, 1.0, 2.0)
    done: list[float] = Factory(list)
    _due: list[float] = Factory(list)

    async def on_start(self) -> None:
        now = asyncio.get_running_loop().time()
        self._due = [now + delay for delay in self.delays]
        heapq.heapify(self._due)
        self.spawn(self._work())

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._due:
            await asyncio.sleep(max(0.0, self._due[0] - loop.time()))
            self.done.append(heapq.heappop(self._due))


@define
class Leases(Plugin):
    """Renews a lease in half its time, with a time limit for each attempt, and gives it back once."""

    info = PluginInfo("leases", "1.0.0", "Holds a lease")
    seconds: float = 4.0
    renewed: int = 0
    held: bool = False

    async def on_start(self) -> None:
        await self._renew()
        self.held = True
        self.spawn(self._keep())

    async def on_stop(self) -> None:
        self.held = False

    async def _renew(self) -> None:
        async with asyncio.timeout(self.seconds / 4):
            await asyncio.sleep(0.01)
        self.renewed += 1

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self.seconds / 2)
            await self._renew()


CORRECT = [Specimen(cls) for cls in (Ticker, Chain, Debounced, Watchdog, Slow, Agenda, Leases)]
