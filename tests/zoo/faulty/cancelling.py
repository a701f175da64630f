"""Cancellation that is swallowed, locks that are kept through it, and a stop that cannot cope with half a start."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from attrs import Factory, define

from fsm_plugins import Deadlines, HealthStatus, Plugin, PluginInfo
from tests.zoo.specimen import Specimen

SHORT = Deadlines(init=0.5, start=0.5, stop=0.3, health=0.2, grace=0.1)


class PollsForever(Plugin):
    """A loop around ``try: ... except: log`` that takes its cancellation for an error. Popular before Python 3.8."""

    info = PluginInfo("polls-forever", "1.0.0", "Waits for a device to come up")
    deadlines = SHORT

    def __init__(self, wanted: int = 3) -> None:
        self.wanted = wanted
        self.errors: list[str] = []
        self.polls = 0

    async def on_start(self) -> None:
        while self.polls < self.wanted:
            try:
                await self._poll()
            except BaseException as error:
                self.errors.append(repr(error))

    async def on_stop(self) -> None:
        self.errors.clear()

    async def _poll(self) -> None:
        await asyncio.sleep(0.01)
        self.polls += 1


class RetriesEverything(Plugin):
    """A helper that retries with ``except BaseException``: nothing gets past it. Popular with copied back-off code."""

    info = PluginInfo("retries-everything", "1.0.0", "Connects, whatever it takes")
    deadlines = SHORT

    def __init__(self, attempts: int = 5) -> None:
        self.attempts = attempts
        self.connected = False

    async def on_start(self) -> None:
        await self._retry(self._connect)

    async def on_stop(self) -> None:
        self.connected = False

    async def _connect(self) -> None:
        await asyncio.sleep(0.01)
        self.connected = True

    async def _retry(self, call: Callable[[], Awaitable[None]]) -> None:
        pause = 0.01
        for _ in range(self.attempts):
            try:
                await call()
                return
            except BaseException:
                await asyncio.sleep(pause)
                pause *= 2
        raise ConnectionError(f"gave up after {self.attempts} attempts")


class IgnoresCancel(Plugin):
    """A worker that puts "one more flush" behind every cancellation, and has no other way to end."""

    info = PluginInfo("ignores-cancel", "1.0.0", "Flushes a buffer")
    deadlines = SHORT

    def __init__(self) -> None:
        self.buffer: list[int] = []
        self.flushes = 0

    async def on_start(self) -> None:
        self.spawn(self._flush_often())

    async def _flush_often(self) -> None:
        while True:
            with suppress(asyncio.CancelledError):  # not before the buffer is flushed
                await asyncio.sleep(1.0)
            self._flush()

    def _flush(self) -> None:
        self.flushes += 1
        self.buffer.clear()


class ShieldsItself(Plugin):
    """A worker whose work is shielded, so that what is cancelled is only the wait for it. Popular with ``shield``."""

    info = PluginInfo("shields-itself", "1.0.0", "Commits offsets and must not be disturbed")

    def __init__(self, every: float = 0.5) -> None:
        self.every = every
        self.offset = 0
        self.committed = 0

    async def on_start(self) -> None:
        self.spawn(self._protect())

    async def on_health_check(self) -> HealthStatus:
        behind = self.offset - self.committed
        return HealthStatus.degraded(f"{behind} behind") if behind > 10 else HealthStatus.healthy()

    async def _protect(self) -> None:
        await asyncio.shield(self._commit())

    async def _commit(self) -> None:
        while True:
            await asyncio.sleep(self.every)
            self.committed = self.offset
            self.offset += 1


class ClosesWhatNeverWas(Plugin):
    """Stop uses an attribute that start makes. Fails after every start that did not come so far. A classic."""

    info = PluginInfo("closes-what-never-was", "1.0.0", "Talks to a database")

    def __init__(self, url: str = "db://local") -> None:
        self.url = url
        self.closed = 0

    async def on_start(self) -> None:
        await asyncio.sleep(0.01)  # resolve the name
        self.connection = [self.url]

    async def on_stop(self) -> None:
        self.connection.clear()
        self.closed += 1

    async def on_health_check(self) -> HealthStatus:
        return HealthStatus.healthy() if self.connection else HealthStatus.unhealthy("not connected")


class AcquiresByHand(Plugin):
    """``acquire`` and ``release`` without ``try``: a cancellation in between keeps the lock. Popular since threads."""

    info = PluginInfo("acquires-by-hand", "1.0.0", "Rewrites a file that others read")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.written = 0

    async def on_start(self) -> None:
        await self.lock.acquire()
        await asyncio.sleep(0.01)  # write
        self.written += 1
        self.lock.release()

    async def on_stop(self) -> None:
        self.written = 0


_printer = asyncio.Lock()


def _new_printer() -> None:
    global _printer
    _printer = asyncio.Lock()


class HoldsThePrinter(Plugin):
    """Takes a lock of the module in start, to be released by its worker, which is cancelled. Then nobody can start."""

    info = PluginInfo("holds-the-printer", "1.0.0", "Prints labels, one plugin at a time")
    deadlines = SHORT

    def __init__(self, labels: int = 3) -> None:
        self.labels = labels
        self.printed = 0

    async def on_start(self) -> None:
        await _printer.acquire()
        self.spawn(self._print())

    async def on_stop(self) -> None:
        self.labels = 0

    async def _print(self) -> None:
        while self.printed < self.labels:
            await asyncio.sleep(0.5)
            self.printed += 1
        _printer.release()


class HealthDivides(Plugin):
    """A health check that computes, and nobody tried it on a fresh plugin. Popular with dashboards."""

    info = PluginInfo("health-divides", "1.0.0", "Reports its hit rate")

    def __init__(self) -> None:
        self.hits = 0
        self.misses = 0

    async def on_start(self) -> None:
        self.spawn(self._serve())

    async def on_health_check(self) -> HealthStatus:
        rate = self.hits / (self.hits + self.misses)
        return HealthStatus.healthy() if rate > 0.5 else HealthStatus.degraded(f"hit rate {rate:.0%}")

    async def _serve(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self.hits += 1


@define
class Lease:
    """A lease that complains when it is given back twice, as database pools do."""

    given_back: bool = False

    async def give_back(self) -> None:
        if self.given_back:
            raise RuntimeError("this lease was given back before")
        self.given_back = True
        await asyncio.sleep(0.01)  # tell the server


@define
class GivesBackTwice(Plugin):
    """Forgets what it holds only after it was given back: a stop that was disturbed there can never be repeated."""

    info = PluginInfo("gives-back-twice", "1.0.0", "Works under a lease")
    leases: list[Lease] = Factory(list)
    ended: int = 0

    async def on_start(self) -> None:
        self.leases = [Lease(), Lease()]

    async def on_stop(self) -> None:
        for lease in self.leases:
            await lease.give_back()
        self.leases.clear()
        self.ended += 1


FAULTY = [
    Specimen(
        PollsForever,
        slug="cancellation-swallowed",
        layer="L2",
        shortest="init -> start[CancelledError at await 1]",
        why="on_start takes its cancellation for one more error of the device",
    ),
    Specimen(
        RetriesEverything,
        slug="cancellation-swallowed",
        layer="L2",
        shortest="init -> start[CancelledError at await 1]",
        why="the helper retries what was cancelled",
    ),
    Specimen(
        IgnoresCancel,
        slug=("cancellation-swallowed", "hook-hangs"),
        layer="L1",
        shortest="init -> start -> stop",
        why="the worker goes on, and has to be abandoned",
    ),
    Specimen(
        ShieldsItself,
        slug=("leak-task", "not-at-rest"),
        layer="L2",
        shortest="init -> start -> stop",
        why="what is shielded goes on after stop, in a task of its own",
    ),
    Specimen(
        ClosesWhatNeverWas,
        slug=("stop-after-fault-fails", "hook-raises", "not-at-rest"),
        layer="L1",
        shortest="fail -> stop",
        why="AttributeError: on_start never came to make the connection",
    ),
    Specimen(
        AcquiresByHand,
        slug="lock-held",
        layer="L2",
        shortest="init -> start[CancelledError at await 1] -> stop",
        why="the lock is not released when the write is cancelled",
    ),
    Specimen(
        HoldsThePrinter,
        slug=("lock-held", "second-run-fails", "hook-hangs"),
        layer="L1",
        shortest="init -> start -> stop -> new -> init -> start",
        why="the cancelled worker does not release the lock that start took",
        reset=_new_printer,
    ),
    Specimen(
        HealthDivides,
        slug="health-check-raises",
        layer="L1",
        shortest="init -> start -> health_check",
        why="asked before the first request, it divides by zero",
    ),
    Specimen(
        GivesBackTwice,
        slug=("double-release", "stop-after-fault-fails"),
        layer="L2",
        shortest="init -> start -> stop[CancelledError at await 1] -> stop",
        why="the second stop gives back again what the first one gave back",
    ),
]
