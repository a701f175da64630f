"""Mistakes that show when the calls are made in an order that is legal and was not thought of."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from attrs import Factory, define

from fsm_plugins import LIFECYCLE, RESTARTABLE, Deadlines, HealthStatus, Lifecycle, Plugin, PluginInfo, Receiver, Sender
from tests.zoo.specimen import Specimen

SHORT = Deadlines(init=0.2, start=0.2, stop=0.2, health=0.2, grace=0.05)


class FlushesWhatNeverCame(Plugin):
    """Divides by what was counted, and nothing was yet. Popular in everything that reports an average."""

    info = PluginInfo("flushes-what-never-came", "1.0.0", "Reports the mean latency as it ends")

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.reported: list[float] = []

    async def on_start(self) -> None:
        self.latencies.clear()
        self.spawn(self._measure())

    async def on_stop(self) -> None:
        self.reported.append(sum(self.latencies) / len(self.latencies))
        self.latencies.clear()

    async def _measure(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            await asyncio.sleep(1.0)
            self.latencies.append(loop.time() - began)


class WaitsForItsQueue(Plugin):
    """``queue.join()`` in stop, while the only consumer has died or was never there. Popular with job queues."""

    info = PluginInfo("waits-for-its-queue", "1.0.0", "Works off jobs")
    deadlines = SHORT

    def __init__(self) -> None:
        self.jobs: asyncio.Queue[str] = asyncio.Queue()
        self.done: list[str] = []

    async def on_init(self) -> None:
        for job in ("warm up", "load"):
            self.jobs.put_nowait(job)

    async def on_start(self) -> None:
        self.spawn(self._work())

    async def on_stop(self) -> None:
        await self.jobs.join()

    async def _work(self) -> None:
        while True:
            job = await self.jobs.get()
            if job == "load":
                continue  # already loaded: and task_done() is forgotten
            self.done.append(job)
            self.jobs.task_done()


class WaitsForReadiness(Plugin):
    """Init waits for an event that only start sets. Popular where two hooks were split late."""

    info = PluginInfo("waits-for-readiness", "1.0.0", "Serves a cache once it is warm")
    deadlines = SHORT

    def __init__(self) -> None:
        self.warm = asyncio.Event()
        self.cache: dict[str, str] = {}

    async def on_init(self) -> None:
        await self.warm.wait()  # so that nobody finds it cold

    async def on_start(self) -> None:
        self.cache = {"motd": "hello"}
        self.warm.set()

    async def on_stop(self) -> None:
        self.cache.clear()
        self.warm.clear()


class NeverAnswersHealth(Plugin):
    """The health check waits for the next heartbeat, however long that takes. Popular with message brokers."""

    info = PluginInfo("never-answers-health", "1.0.0", "Is alive if the broker says something")
    deadlines = SHORT

    def __init__(self) -> None:
        self.beats: asyncio.Queue[float] = asyncio.Queue()
        self.last = 0.0

    async def on_start(self) -> None:
        self.spawn(self._listen())

    async def on_health_check(self) -> HealthStatus:
        self.last = await self.beats.get()
        return HealthStatus.healthy()

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(3600)
            self.beats.put_nowait(loop.time())


QUOTA = Lifecycle(LIFECYCLE.initial, [arc for arc in LIFECYCLE.arcs if arc.trigger != "start"] + [
    ("start", "initialized", "running"),
])  # fmt: skip


def _spend(event: Any) -> bool:
    return bool(event.model.spend())


QUOTA.machine.send_event = True
QUOTA.machine.remove_transition("start")
QUOTA.machine.add_transition("start", "initialized", "running", conditions=_spend)


class SpendsOnAsking(Plugin):
    """The condition of a move takes the token it only had to look for. Popular in rate limiters."""

    info = PluginInfo("spends-on-asking", "1.0.0", "May be started while there are licences")
    lifecycle = QUOTA

    def __init__(self, licences: int = 0) -> None:
        self.licences = licences
        self.held = 0

    def spend(self) -> bool:
        """Whether there is a licence; and it is taken, although the start may be refused."""
        self.licences -= 1
        if self.licences < 0:
            return False
        self.held += 1
        return True

    async def on_stop(self) -> None:
        self.licences += self.held
        self.held = 0


class CountsDownTwice(Plugin):
    """Stop gives back a slot that a failed start never took. Popular with pools and semaphores."""

    info = PluginInfo("counts-down-twice", "1.0.0", "Takes one of four slots")

    def __init__(self, slots: int = 4) -> None:
        self.slots = slots
        self.free = slots

    async def on_init(self) -> None:
        await asyncio.sleep(0)

    async def on_start(self) -> None:
        await asyncio.sleep(0.01)  # ask whether it may
        self.free -= 1

    async def on_stop(self) -> None:
        self.free += 1


class HealthDrains(Plugin):
    """The health check takes a connection from the pool to try it, and forgets to bring it back when it is bad."""

    info = PluginInfo("health-drains", "1.0.0", "Keeps a pool of connections")

    def __init__(self, size: int = 3) -> None:
        self.size = size
        self.pool: list[int] = []
        self.bad: set[int] = {0}

    async def on_start(self) -> None:
        self.pool = list(range(self.size))

    async def on_health_check(self) -> HealthStatus:
        connection = self.pool.pop(0)
        await asyncio.sleep(0)
        if connection in self.bad:
            return HealthStatus.degraded(f"connection {connection} is bad")
        self.pool.append(connection)
        return HealthStatus.healthy()

    async def on_stop(self) -> None:
        self.pool.clear()


class SharedHandlers(Plugin):
    """State on the class, which every instance shares. Popular since the first mutable default."""

    info = PluginInfo("shared-handlers", "1.0.0", "Routes messages to handlers")
    handlers: ClassVar[dict[str, str]] = {}

    def __init__(self, routes: tuple[str, ...] = ("alert", "metric")) -> None:
        self.routes = routes

    async def on_init(self) -> None:
        for route in self.routes:
            if route in self.handlers:
                raise ValueError(f"route {route!r} is taken by {self.handlers[route]}")
            self.handlers[route] = self.info.name

    async def on_health_check(self) -> HealthStatus:
        missing = [route for route in self.routes if route not in self.handlers]
        return HealthStatus.degraded(f"no handler for {missing}") if missing else HealthStatus.healthy()


_metrics: dict[str, float] = {}


def _register(name: str) -> None:
    if name in _metrics:
        raise ValueError(f"duplicated time series in the registry: {name}")
    _metrics[name] = 0.0


class RegistersMetrics(Plugin):
    """Registers itself with a registry of the process, and never unregisters. Popular with metrics clients."""

    info = PluginInfo("registers-metrics", "1.0.0", "Counts what it sees")

    def __init__(self, interval: float = 1.0) -> None:
        self.interval = interval

    async def on_start(self) -> None:
        _register("seen_total")
        self.spawn(self._count())

    async def on_stop(self) -> None:
        _metrics["seen_total"] = 0.0

    async def _count(self) -> None:
        while True:
            await asyncio.sleep(self.interval)
            _metrics["seen_total"] += 1


class ThirdTimeUnlucky(Plugin):
    """Each start takes a buffer from a small pool, and each stop gives back the first one. Fails at the third start.

    Popular with reconnecting clients, where two attempts are tested and the third happens at night.
    """

    info = PluginInfo("third-time-unlucky", "1.0.0", "Records into buffers")
    lifecycle = RESTARTABLE

    def __init__(self, buffers: int = 2) -> None:
        self.free = [bytearray(64) for _ in range(buffers)]
        self.used: list[bytearray] = []

    async def on_start(self) -> None:
        if not self.free:
            raise RuntimeError("no buffer is free")
        self.used.append(self.free.pop())

    async def on_stop(self) -> None:
        for buffer in self.used:
            buffer[:] = bytes(len(buffer))  # cleared, and not given back
        self.used.clear()


class RearmsItself(Plugin):
    """A timer that arms itself again, and a stop that cancels the one it knows of. Popular with ``call_later``."""

    info = PluginInfo("rearms-itself", "1.0.0", "Samples the load")

    def __init__(self, every: float = 1.0) -> None:
        self.every = every
        self.samples = 0
        self.timer: asyncio.TimerHandle | None = None

    async def on_start(self) -> None:
        self.timer = asyncio.get_running_loop().call_later(self.every, self._sample)
        self._sample()  # the first one at once: and from here on there are two chains

    async def on_stop(self) -> None:
        if self.timer is not None:
            self.timer.cancel()

    def _sample(self) -> None:
        self.samples += 1
        self.timer = asyncio.get_running_loop().call_later(self.every, self._sample)


class StopsOnlyWhatWorked(Plugin):
    """Stop refuses when the plugin is not connected, so one that failed can never be stopped. Popular with clients."""

    info = PluginInfo("stops-only-what-worked", "1.0.0", "Keeps a session")

    def __init__(self) -> None:
        self.session: str | None = None
        self.closed: list[str] = []

    async def on_init(self) -> None:
        self.closed.clear()

    async def on_start(self) -> None:
        self.session = "session-1"

    async def on_stop(self) -> None:
        if self.session is None:
            raise ConnectionError("not connected")
        self.closed.append(self.session)
        self.session = None


@define
class SaysGoodbye(Plugin):
    """Sends a last message in stop, to a consumer that has gone before. Popular with presence and audit trails."""

    info = PluginInfo("says-goodbye", "1.0.0", "Announces that it comes and goes")
    deadlines = SHORT
    events: Sender[str]
    announced: list[str] = Factory(list)

    async def on_start(self) -> None:
        for number in range(self.events.capacity):  # as much as fits
            await self.events.send(f"hello {number}")
        self.announced.append("hello")

    async def on_stop(self) -> None:
        await self.events.send("goodbye")
        self.announced.append("goodbye")


@define
class ClosesThenSends(Plugin):
    """Closes its port first and flushes then. Popular wherever clean-up is written top to bottom."""

    info = PluginInfo("closes-then-sends", "1.0.0", "Adds up and forwards the sums")
    numbers: Receiver[int]
    sums: Sender[int]
    total: int = 0

    async def on_start(self) -> None:
        self.spawn(self._add())

    async def on_stop(self) -> None:
        self.sums.close()
        if self.total:
            await self.sums.send(self.total)

    async def _add(self) -> None:
        async for number in self.numbers:
            self.total += number


FAULTY = [
    Specimen(
        FlushesWhatNeverCame,
        slug=("hook-raises", "stop-after-fault-fails", "not-at-rest"),
        layer="L1",
        shortest="fail -> stop",
        why="stopped before the first measurement, it divides by zero",
    ),
    Specimen(
        WaitsForItsQueue,
        slug="hook-hangs",
        layer="L1",
        shortest="init -> start -> stop",
        why="a job is never marked as done, so join() never returns",
    ),
    Specimen(WaitsForReadiness, slug="hook-hangs", layer="L1", shortest="init", why="only on_start sets the event"),
    Specimen(
        NeverAnswersHealth,
        slug="hook-hangs",
        layer="L1",
        shortest="init -> start -> health_check",
        why="the health check waits for a message of another party",
    ),
    Specimen(
        SpendsOnAsking,
        slug="illegal-call-has-effect",
        layer="L1",
        shortest="init -> start",
        why="the condition that refuses the start has changed the plugin by then",
    ),
    Specimen(
        CountsDownTwice,
        slug="invariant-broken",
        layer="L1",
        shortest="fail -> stop",
        why="a stop without a start gives back a slot that was never taken",
        invariant=lambda plugin: plugin.free <= plugin.slots,
    ),
    Specimen(
        HealthDrains,
        slug="invariant-broken",
        layer="L1",
        shortest="init -> start -> health_check",
        why="the health check loses a connection",
        invariant=lambda plugin: plugin.state != "running" or len(plugin.pool) == plugin.size,
    ),
    Specimen(
        SharedHandlers,
        slug=("second-run-fails", "hook-raises"),
        layer="L1",
        shortest="init -> new -> init",
        why="the routes of the first instance are still on the class",
        reset=SharedHandlers.handlers.clear,
    ),
    Specimen(
        RegistersMetrics,
        slug=("second-run-fails", "hook-raises"),
        layer="L1",
        shortest="init -> start -> new -> init -> start",
        why="the metric of the first instance is still registered",
        reset=_metrics.clear,
    ),
    Specimen(
        ThirdTimeUnlucky,
        slug=("second-run-fails", "hook-raises"),
        layer="L1",
        shortest="init -> start -> stop -> start -> stop -> start",
        why="a buffer is lost in each run, and there are two",
    ),
    Specimen(
        RearmsItself,
        slug="not-at-rest",
        layer="L1",
        shortest="init -> start -> stop",
        why="of two chains of timers only one is cancelled",
    ),
    Specimen(
        StopsOnlyWhatWorked,
        slug=("not-at-rest", "stop-after-fault-fails", "hook-raises"),
        layer="L1",
        shortest="fail -> stop",
        why="on_stop raises whenever there was no start, and so the plugin stays failed",
    ),
    Specimen(
        SaysGoodbye,
        slug="hook-hangs",
        layer="L1",
        shortest="init -> start -> stop",
        why="on_stop waits for room in a channel that nobody reads any more",
    ),
    Specimen(
        ClosesThenSends,
        slug=("hook-raises", "message-lost"),
        layer="L1",
        shortest="init -> start -> stop",
        why="on_stop sends through the port it has just closed",
        messages={"numbers": (1, 2, 3)},
    ),
]
