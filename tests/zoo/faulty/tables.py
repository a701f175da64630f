"""Mistakes in the table, the hooks' signatures and the ports, to be seen without a single call.

A `Lifecycle` refuses tables that could strand a plugin. These get past it by what is done to the machine afterwards, as
in every code base where states were added over the years.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from attrs import Factory, define

from fsm_plugins import LIFECYCLE, HealthStatus, Lifecycle, Plugin, PluginInfo, Receiver, Sender
from tests.zoo.specimen import Specimen

if TYPE_CHECKING:
    from tests.zoo.faulty.messages import Packet

MAINTAINED = Lifecycle(LIFECYCLE.initial, LIFECYCLE.arcs)
MAINTAINED.machine.add_states(["maintenance"])
MAINTAINED.machine.add_transition("stop", "maintenance", "stopped")
MAINTAINED.machine.add_transition("fail", "maintenance", "failed")


@define
class Maintained(Plugin):
    """A state was declared with its ways out, and nobody wrote the way in. Popular where states are an enum."""

    info = PluginInfo("maintained", "1.0.0", "Rewrites its index while nobody asks")
    lifecycle = MAINTAINED
    index: dict[str, int] = Factory(dict)
    rewritten: int = 0

    async def on_init(self) -> None:
        self.index = {word: len(word) for word in ("alpha", "beta", "gamma")}

    async def on_maintain(self) -> None:
        self.index = dict(sorted(self.index.items()))
        self.rewritten += 1

    async def on_health_check(self) -> HealthStatus:
        return HealthStatus.healthy() if self.index else HealthStatus.degraded("the index is empty")


QUARANTINING = Lifecycle(LIFECYCLE.initial, LIFECYCLE.arcs)
QUARANTINING.machine.add_states(["quarantined"])
QUARANTINING.machine.add_transition("quarantine", "running", "quarantined")


@define
class Quarantining(Plugin):
    """A state that can be entered and never left: "an operator will look at it". Popular in device managers."""

    info = PluginInfo("quarantining", "1.0.0", "Isolates a device that misbehaves")
    lifecycle = QUARANTINING
    devices: list[str] = Factory(lambda: ["cam-1", "cam-2"])
    isolated: list[str] = Factory(list)
    polls: int = 0

    async def on_start(self) -> None:
        self.spawn(self._poll())

    async def on_quarantine(self) -> None:
        while self.devices:
            self.isolated.append(self.devices.pop())
            await asyncio.sleep(0)

    async def on_stop(self) -> None:
        self.isolated.clear()

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(5.0)
            self.polls += 1


UPGRADING = LIFECYCLE.extend(
    [
        ("upgrade", "running", "upgrading"),
        ("commit", "upgrading", "running"),
        ("fail", "upgrading", "failed"),
    ]
)
UPGRADING.machine.remove_transition("stop", source="running")
UPGRADING.machine.remove_transition("stop", source="failed")


@define
class Upgrading(Plugin):
    """Stop was taken away "so that nobody stops it in an upgrade", from everywhere. Popular in firmware updaters."""

    info = PluginInfo("upgrading", "1.0.0", "Replaces a model while it runs")
    lifecycle = UPGRADING
    model: str = "v1"
    staged: str | None = None

    async def on_upgrade(self) -> None:
        await asyncio.sleep(0.1)  # download
        self.staged = "v2"

    async def on_commit(self) -> None:
        if self.staged is not None:
            self.model, self.staged = self.staged, None

    async def on_stop(self) -> None:
        self.staged = None


TIERED = Lifecycle(LIFECYCLE.initial, LIFECYCLE.arcs)
TIERED.machine.add_states(["throttled"])
TIERED.machine.add_transition("start", "initialized", "throttled")  # meant for when the quota is spent
TIERED.machine.add_transition("stop", "throttled", "stopped")
TIERED.machine.add_transition("fail", "throttled", "failed")


@define
class Tiered(Plugin):
    """A second transition for the same trigger and source, whose condition was forgotten: the first always wins.

    Popular with every library that takes the first transition that fits.
    """

    info = PluginInfo("tiered", "1.0.0", "Sends at the rate that was paid for")
    lifecycle = TIERED
    quota: int = 0
    sent: int = 0

    async def on_start(self) -> None:
        self.sent = 0
        if self.quota:
            self.spawn(self._send())

    async def _send(self) -> None:
        while self.sent < self.quota:
            await asyncio.sleep(1.0)
            self.sent += 1


class Synchronous(Plugin):
    """A hook without ``async``, because nothing in it waits. Popular among those who come from threads."""

    info = PluginInfo("synchronous", "1.0.0", "Keeps counters")

    def __init__(self) -> None:
        self.counters: dict[str, int] = {}
        self.flushed: list[dict[str, int]] = []

    async def on_start(self) -> None:
        self.counters = {"seen": 0, "dropped": 0}
        self.spawn(self._count())

    def on_stop(self) -> None:  # type: ignore[override] # the mistake
        self.flushed.append(dict(self.counters))
        self.counters.clear()

    async def _count(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self.counters["seen"] += 1


class WantsLoop(Plugin):
    """A hook with an argument, as some frameworks call theirs: ``startup(app)``, ``setup(loop)``."""

    info = PluginInfo("wants-loop", "1.0.0", "Schedules a call")

    def __init__(self) -> None:
        self.handle: asyncio.TimerHandle | None = None
        self.calls = 0

    async def on_start(self, loop: asyncio.AbstractEventLoop) -> None:  # type: ignore[override] # the mistake
        self.handle = loop.call_later(1.0, self._called)

    async def on_stop(self) -> None:
        if self.handle is not None:
            self.handle.cancel()

    def _called(self) -> None:
        self.calls += 1


class Lifespan(Plugin):
    """A hook with a ``yield`` in it: set up, yield, tear down. Popular with web frameworks and fixtures."""

    info = PluginInfo("lifespan", "1.0.0", "Holds a pool for as long as it runs")

    def __init__(self, size: int = 4) -> None:
        self.size = size
        self.pool: list[str] = []

    async def on_start(self) -> AsyncIterator[None]:  # type: ignore[override] # the mistake
        self.pool = [f"connection-{number}" for number in range(self.size)]
        try:
            yield
        finally:
            self.pool.clear()

    async def on_health_check(self) -> HealthStatus:
        return HealthStatus.healthy() if self.pool else HealthStatus.unhealthy("no connection")


@define
class HiddenMessageType(Plugin):
    """The type of a port's messages is imported for the type checker only. Popular with tidy-minded linters."""

    info = PluginInfo("hidden-message-type", "1.0.0", "Counts packets")
    packets: Receiver[Packet]
    count: int = 0

    async def on_start(self) -> None:
        self.spawn(self._read())

    async def _read(self) -> None:
        async for _ in self.packets:
            self.count += 1


@define
class EitherWay(Plugin):
    """One port for both directions, as with a socket. Popular among those who come from ZeroMQ pairs."""

    info = PluginInfo("either-way", "1.0.0", "Answers on the line it was asked on")
    line: Sender[str] | Receiver[str]
    log: Sequence[str] = ()

    async def on_start(self) -> None:
        self.spawn(self._answer())

    async def _answer(self) -> None:
        while isinstance(self.line, Receiver):
            self.log = (*self.log, await self.line.recv())


FAULTY = [
    Specimen(Maintained, slug="unreachable-state", layer="L0", why="no arc leads to maintenance"),
    Specimen(Quarantining, slug=("dead-end", "no-way-to-rest"), layer="L0", why="no arc leaves quarantined"),
    Specimen(Upgrading, slug=("no-way-to-rest", "unreachable-state"), layer="L0", why="no arc leads to stopped"),
    Specimen(Tiered, slug=("unreachable-arc", "unreachable-state"), layer="L0", why="the arc before is always taken"),
    Specimen(Synchronous, slug="hook-signature", layer="L0", why="on_stop is not a coroutine function"),
    Specimen(WantsLoop, slug="hook-signature", layer="L0", why="on_start takes an argument that nobody gives it"),
    Specimen(Lifespan, slug="hook-signature", layer="L0", why="on_start is an asynchronous generator"),
    Specimen(HiddenMessageType, slug="port-problem", layer="L0", why="Packet cannot be found at run time"),
    Specimen(EitherWay, slug="port-problem", layer="L0", why="a port is either a sender or a receiver"),
]
