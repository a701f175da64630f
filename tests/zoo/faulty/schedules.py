"""Mistakes that need two things at the same time, in the wrong order. Most runs of these plugins are fine."""

from __future__ import annotations

import asyncio
import random

from attrs import define

from fsm_plugins import LIFECYCLE, Deadlines, HealthStatus, Plugin, PluginInfo
from tests.zoo.specimen import Specimen

SHORT = Deadlines(init=0.5, start=0.5, stop=0.3, health=0.3, grace=0.1)

RELOADABLE = LIFECYCLE.extend([("reload", "running", "running")])


@define
class Link:
    """A connection that knows whether it is open."""

    open: bool = True


class Reconnects(Plugin):
    """Check, await, set: the worker reconnects while stop closes, and what it opens stays open. Very popular."""

    info = PluginInfo("reconnects", "1.0.0", "Keeps a link up")
    deadlines = SHORT

    def __init__(self) -> None:
        self.link: Link | None = None
        self.made: list[Link] = []

    async def on_start(self) -> None:
        self.spawn(self._keep_up())

    async def on_stop(self) -> None:
        if self.link is not None:
            self.link.open = False
            self.link = None
        for _ in range(2):  # say goodbye, and wait for the answer
            await asyncio.sleep(0)

    async def _keep_up(self) -> None:
        while True:
            if self.link is None:
                await asyncio.sleep(0)  # shake hands; meanwhile it may have been stopped
                self.link = Link()
                self.made.append(self.link)
            for _ in range(4):  # look again in a while
                await asyncio.sleep(0)


class LosesCounts(Plugin):
    """Read, await, write, in a worker and in the health check: one of them overwrites the other. The toy race."""

    info = PluginInfo("loses-counts", "1.0.0", "Counts requests and probes")

    def __init__(self, requests: int = 4) -> None:
        self.requests = requests
        self.served = 0
        self.probed = 0
        self.count = 0

    async def on_start(self) -> None:
        self.spawn(self._serve())

    async def on_health_check(self) -> HealthStatus:
        await self._add_one()
        self.probed += 1
        return HealthStatus.healthy()

    async def _serve(self) -> None:
        while self.served < self.requests:
            await self._add_one()
            self.served += 1
            for _ in range(5):
                await asyncio.sleep(0)

    async def _add_one(self) -> None:
        count = self.count
        await asyncio.sleep(0)  # ask the store
        self.count = count + 1


class LocksCrosswise(Plugin):
    """Two locks, taken in one order by the worker and in the other by stop. A deadlock, once in a while."""

    info = PluginInfo("locks-crosswise", "1.0.0", "Moves entries between an index and a log")
    deadlines = SHORT

    def __init__(self, moves: int = 3) -> None:
        self.index = asyncio.Lock()
        self.log = asyncio.Lock()
        self.moves = moves
        self.moved = 0

    async def on_start(self) -> None:
        self.spawn(self._move())

    async def on_stop(self) -> None:
        async with self.log:
            await asyncio.sleep(0)
            async with self.index:
                self.moved = 0

    async def _move(self) -> None:
        while self.moved < self.moves:
            async with self.index:
                await asyncio.sleep(0)
                async with self.log:
                    self.moved += 1
            for _ in range(4):
                await asyncio.sleep(0)


class HealthReplaces(Plugin):
    """A health check that empties the cache before it has the new one, and is cancelled in between by a reload.

    Popular: nobody expects a health check to be cancelled. One after the other, the two calls work in either order.
    """

    info = PluginInfo("health-replaces", "1.0.0", "Keeps rules, and checks that they are fresh")
    lifecycle = RELOADABLE

    def __init__(self) -> None:
        self.rules: dict[str, int] | None = None
        self.version = 0

    async def on_start(self) -> None:
        self.rules = {"version": 0}

    async def on_health_check(self) -> HealthStatus:
        self.rules = None
        self.rules = await self._fetch()
        return HealthStatus.healthy()

    async def on_reload(self) -> None:
        if self.rules is None:
            raise RuntimeError("there are no rules to reload")
        self.rules = await self._fetch()

    async def on_stop(self) -> None:
        self.rules = None

    async def _fetch(self) -> dict[str, int]:
        await asyncio.sleep(0.01)
        self.version += 1
        return {"version": self.version}


class ChecksThenCloses(Plugin):
    """The worker closes an idle session itself, stop closes it too, and both have looked before. Check, then await."""

    info = PluginInfo("checks-then-closes", "1.0.0", "Closes a session that idles")
    deadlines = SHORT

    def __init__(self) -> None:
        self.session: list[str] | None = None

    async def on_start(self) -> None:
        self.session = ["open"]
        self.spawn(self._expire())

    async def on_stop(self) -> None:
        if self.session is not None:
            await asyncio.sleep(0)  # say goodbye
            self.session.clear()
            self.session = None

    async def _expire(self) -> None:
        for _ in range(4):
            await asyncio.sleep(0)
        if self.session is not None:
            await asyncio.sleep(0)
            self.session = None


class JittersItsStart(Plugin):
    """Does one thing or another by chance, and no seed can be given: what was seen once cannot be seen again."""

    info = PluginInfo("jitters-its-start", "1.0.0", "Spreads the load of a thousand starts")

    def __init__(self, replicas: int = 3) -> None:
        self.replicas = replicas
        self.chosen = 0
        self.tried: list[int] = []

    async def on_start(self) -> None:
        order = list(range(self.replicas))
        random.shuffle(order)
        for replica in order:
            self.tried.append(replica)
            await asyncio.sleep(0)
            if replica == 0:  # the only one that is up
                break
        self.chosen = self.tried[-1]

    async def on_stop(self) -> None:
        self.tried.clear()


FAULTY = [
    Specimen(
        Reconnects,
        slug=("race", "invariant-broken"),
        layer="L4",
        shortest="init -> start -> stop",
        why="the worker opens a link after on_stop has looked for one",
        invariant=lambda plugin: plugin.state != "stopped" or not any(link.open for link in plugin.made),
    ),
    Specimen(
        LosesCounts,
        slug=("race", "not-linearizable", "invariant-broken"),
        layer="L4",
        shortest="init -> start -> health_check",
        why="the health check and the worker read the same count, and each writes its own",
        invariant=lambda plugin: plugin.count >= plugin.served + plugin.probed,
    ),
    Specimen(
        LocksCrosswise,
        slug=("deadlock", "hook-hangs"),
        layer="L4",
        shortest="init -> start -> stop",
        why="stop holds the log and waits for the index, the worker the other way round",
    ),
    Specimen(
        HealthReplaces,
        slug=("race", "not-linearizable", "hook-raises"),
        layer="L4",
        shortest="init -> start -> health_check || reload",
        why="a health check that a reload interrupts leaves no rules, which neither order of the two calls does",
    ),
    Specimen(
        ChecksThenCloses,
        slug=("race", "hook-raises"),
        layer="L4",
        shortest="init -> start -> stop",
        why="the session is gone when on_stop, which has seen it, comes back from its wait",
    ),
    Specimen(
        JittersItsStart,
        slug="uncontrolled",
        layer="L4",
        shortest="init -> start",
        why="the number of awaits depends on chance",
    ),
]
