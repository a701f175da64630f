"""Plugins that crash at random for minutes, on the real clock: nothing may leak, no crash be missed or counted twice.

``python -m benchmarks.soak [--seconds 600] [--plugins 200] [--trace]``, or ``make soak``. Exit status 1 if something
is wrong. A fifth of the plugins each: work in a worker, serve and call a real socket, write a real file, send numbers
through a channel, and receive them. They fail in workers, in ``on_start`` and ``on_stop``, are not ready, hang, swallow
their cancellation and say that they are unhealthy; senders and their receivers are restarted together.

What is held, at the end of it:

- every failure was told by the supervisor once, unless its plugin was just being stopped;
- every number that a channel accepted was received once, in order, or is still queued;
- no task, file descriptor or thread is left, and the resident memory has not grown from the first third of the run,
  once that has warmed up, to the last. With ``--trace`` it is the memory that Python's own objects take; to keep track
  of that makes everything slower, and makes the resident memory grow by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import linecache
import logging
import os
import random
import statistics
import sys
import tempfile
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from attrs import Factory, define, field

from fsm_plugins import Deadlines, HealthStatus, NotReady, Plugin, PluginInfo, Receiver, Sender, StopFailed
from fsm_plugins.lifecycle import STOP
from fsm_plugins.orchestrator import PluginSpec
from fsm_plugins.supervision import (
    Action,
    Backoff,
    Child,
    Group,
    Health,
    Policy,
    Strategy,
    SupervisionEvent,
    Supervisor,
)

__all__ = ["main", "soak"]

# A plugin works so long before it fails, in seconds: the mean of an exponential distribution.
_MEAN_LIFE: Final = 3.0
# By how much the memory in use may grow; what differs from one sample to the next is about a tenth of that.
_GROWTH: Final = 1.05


@define
class Books:
    """What the plugins did, to be held against what the supervisor told.

    Attributes:
        rng: decides everything.
        untold: the failures that the supervisor has not told of yet.
        failures: how many there were, by kind.
        problems: what is wrong.
        accepted, received: how many numbers, by plugin.
        restarts, told: how many restarts and failures the supervisor told of.
        over: set at the end, when everything is stopped.
    """

    rng: random.Random
    untold: set[str] = Factory(set)
    failures: Counter[str] = Factory(Counter)
    problems: list[str] = Factory(list)
    accepted: Counter[str] = Factory(Counter)
    received: Counter[str] = Factory(Counter)
    restarts: int = 0
    told: int = 0
    over: bool = False

    def failure(self, plugin: Plugin, kind: str, make: Callable[[str], Exception] = OSError) -> Exception:
        """Return an exception with a text of its own, and write it down."""
        self.failures[kind] += 1
        text = f"failure {self.failures.total()} of {plugin.info.name}"
        if plugin._guard.in_flight != STOP:
            self.untold.add(text)
        return make(text)

    def heard(self, event: SupervisionEvent) -> None:
        """Strike a failure out that the supervisor tells of."""
        if event.action is Action.RESTARTED:
            self.restarts += 1
        if event.action is not Action.FAILED:
            return
        self.told += 1
        if event.reason.startswith(("Unhealthy: ", "DeadlineExceeded: ")):
            self.failures[event.reason.partition(":")[0]] += 1
            return
        text = event.reason.partition(": ")[2]
        if text not in self.untold:
            self.problems.append(f"told twice, or never happened: {event}")
        self.untold.discard(text)


@define
class Wild(Plugin):
    """Works for a random time, and then fails in a random way."""

    info = PluginInfo("wild", "1.0.0")
    deadlines = Deadlines(init=1.0, start=1.0, stop=1.0, health=0.5, grace=0.1)

    books: Books
    poorly: bool = field(init=False, default=False)

    async def on_start(self) -> None:
        draw = self.books.rng.random()
        if draw < 0.05:
            raise self.books.failure(self, "not ready", NotReady)
        if draw < 0.10:
            raise self.books.failure(self, "in start")
        if draw < 0.11:
            await asyncio.sleep(3600)
        await self.open()
        self.spawn(self._live())

    async def _live(self) -> None:
        end = asyncio.get_running_loop().time() + self.books.rng.expovariate(1 / _MEAN_LIFE)
        stubborn = self.books.rng.random() < 0.01
        try:
            async with asyncio.timeout_at(end):
                await self.work()
        except TimeoutError:
            pass
        except asyncio.CancelledError:
            if not stubborn:
                raise
            await asyncio.sleep(3600)
        if self.books.rng.random() < 0.02:
            self.poorly = True
            await asyncio.Event().wait()
        if not self.books.over:
            raise self.books.failure(self, "in a worker")

    async def open(self) -> None:
        """Take what it works with."""

    async def work(self) -> None:
        """Work for good."""
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Give everything back."""

    async def on_stop(self) -> None:
        await self.close()
        if self.books.rng.random() < 0.02 and not self.books.over:
            raise self.books.failure(self, "in stop")

    async def on_health_check(self) -> HealthStatus:
        return HealthStatus.unhealthy("poorly") if self.poorly else HealthStatus.healthy()


@define
class Served(Wild):
    """Serves an echo on a socket of its own, and calls it."""

    _server: asyncio.Server | None = field(init=False, default=None)
    _writers: set[asyncio.StreamWriter] = field(init=False, factory=set)

    async def open(self) -> None:
        # Not at once: a start_server that is cancelled as it begins to serve leaves a server that nobody can close.
        self._server = await asyncio.start_server(self._echo, "127.0.0.1", 0, start_serving=False)
        await self._server.start_serving()

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while line := await reader.readline():
                writer.write(line)
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._writers.discard(writer)

    async def work(self) -> None:
        assert self._server is not None
        reader, writer = await asyncio.open_connection(*self._server.sockets[0].getsockname())
        try:
            while True:
                writer.write(b"ping\n")
                if await reader.readline() != b"ping\n":
                    raise AssertionError("the echo is broken")
                await asyncio.sleep(0.05)
        finally:
            writer.close()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in list(self._writers):
                writer.close()
            await self._server.wait_closed()


@define
class Written(Wild):
    """Writes a file."""

    directory: Path = field(kw_only=True)
    _file: IO[str] | None = field(init=False, default=None)

    async def open(self) -> None:
        self._file = (self.directory / self.info.name).open("w")

    async def work(self) -> None:
        assert self._file is not None
        while True:
            self._file.seek(0)
            self._file.write("still here\n")
            self._file.flush()
            await asyncio.sleep(0.05)

    async def close(self) -> None:
        if self._file is not None:
            self._file.close()


@define
class Sent(Wild):
    """Sends numbers, each once, whichever of its instances it is."""

    numbers: Sender[int] = field(kw_only=True)

    async def work(self) -> None:
        while True:
            await self.numbers.send(self.books.accepted[self.info.name])
            self.books.accepted[self.info.name] += 1
            await asyncio.sleep(0.02)


@define
class Received(Wild):
    """Receives numbers, and minds that none is missing."""

    numbers: Receiver[int] = field(kw_only=True)

    async def work(self) -> None:
        async for number in self.numbers:
            expected = self.books.received[self.info.name]
            if number != expected:
                self.books.problems.append(f"{self.info.name} received {number}, not {expected}")
            self.books.received[self.info.name] = number + 1


def _supervisor(books: Books, plugins: int, directory: Path) -> Supervisor:
    specs: list[PluginSpec] = []
    children: dict[str, Child] = {}
    groups: dict[str, Group] = {}
    for i in range(plugins // 5):
        specs.append(PluginSpec(f"worked-{i}", Wild, {"books": books}))
        specs.append(PluginSpec(f"served-{i}", Served, {"books": books}))
        specs.append(PluginSpec(f"written-{i}", Written, {"books": books, "directory": directory}))
        specs.append(PluginSpec(f"sent-{i}", Sent, {"books": books}, {}, {"numbers": f"numbers-{i}"}))
        specs.append(PluginSpec(f"received-{i}", Received, {"books": books}, {"numbers": f"numbers-{i}"}))
        groups[f"pair-{i}"] = Group(list(Strategy)[i % 4], "unlimited")
        children |= {f"{kind}-{i}": Child(group=f"pair-{i}") for kind in ("sent", "received")}
    policy = Policy(
        intensity="unlimited",
        backoff=Backoff(initial=0.02, cap=0.5, stable=2.0),
        groups=groups,
        health=Health(interval=0.5, failures=2),
        watchdog=1.0,
    )
    channels = {f"numbers-{i}": 8 for i in range(plugins // 5)}
    return Supervisor(specs, channels, policy=policy, children=children, rng=books.rng)


@define
class Sample:
    """What the process held at one time: bytes of Python's objects if traced, resident bytes, tasks, descriptors."""

    memory: int
    resident: int
    tasks: int
    files: int

    @classmethod
    def take(cls) -> Sample:
        """Look now."""
        linecache.clearcache()  # what the watchdog reads of the source to show where a loop was blocked
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return cls(
            tracemalloc.get_traced_memory()[0],
            pages * os.sysconf("SC_PAGE_SIZE"),
            len(asyncio.all_tasks()),
            len(os.listdir("/proc/self/fd")),
        )


async def soak(seconds: float, plugins: int, seed: int) -> list[str]:
    """Run it, print what was seen, and return what is wrong."""
    books = Books(random.Random(seed))
    with tempfile.TemporaryDirectory() as directory:
        begun, before, threads = time.monotonic(), Sample.take(), threading.active_count()
        supervisor = _supervisor(books, plugins, Path(directory))
        supervisor.subscribe(books.heard)
        samples: list[Sample] = []
        # A plugin that fails in the first start fails that of the supervisor; here only a restart may fail.
        rng, books.rng = books.rng, _Lucky()
        with suppress(StopFailed):  # of those that just do not feel well, and so let what is queued lie
            async with supervisor.running():
                books.rng = rng
                cpu = time.process_time()
                for _ in range(30):
                    await asyncio.sleep(seconds / 30)
                    samples.append(Sample.take())
                cpu = time.process_time() - cpu
                books.over = True
        if books.untold:
            books.problems.append(f"never told: {sorted(books.untold)[:5]}")
        counted = sum(status.crashes for status in supervisor.status())
        if counted != books.told:
            books.problems.append(f"{counted} failures were counted, but {books.told} told")
        await asyncio.sleep(0.1)
        after = Sample.take()
        if after.tasks > before.tasks or after.files > before.files or threading.active_count() > threads:
            books.problems.append(f"left over: {after}, {threading.active_count()} threads; before: {before}")
        undelivered = {
            name: n for receipt in supervisor.orchestrator.receipt() for name, n in receipt.undelivered.items()
        }
        for i in range(plugins // 5):
            name = f"numbers-{i}"
            sent, received = books.accepted[f"sent-{i}"], books.received[f"received-{i}"]
            left = undelivered.get(name, 0)
            # One may have been accepted whose sender was cancelled before it could write that down.
            if not sent <= received + left <= sent + 1:
                books.problems.append(f"{name}: {sent} accepted, {received} received, {left} left")
    third = len(samples) // 3
    first, last = samples[2:third], samples[-third:]
    growth = {
        what: statistics.mean(getattr(s, what) for s in last) / statistics.mean(getattr(s, what) for s in first)
        for what in (("memory", "resident") if tracemalloc.is_tracing() else ("resident",))
    }
    judged = "memory" if tracemalloc.is_tracing() else "resident"
    if growth[judged] > _GROWTH:
        books.problems.append(f"memory grew to {growth[judged]:.3f} of what it was")
    elapsed = time.monotonic() - begun
    print(
        f"{plugins} plugins, {elapsed:.0f} s, seed {seed}: {books.restarts:,} restarts, {cpu / elapsed:.1%} of a core"
    )
    print(f"failures: {books.failures.total():,}, of which {books.told:,} not while being stopped; counted {counted:,}")
    print("  " + ", ".join(f"{kind} {count:,}" for kind, count in books.failures.most_common()))
    print(f"messages: {books.accepted.total():,} accepted, {books.received.total():,} received")
    print("first third to last: " + ", ".join(f"{what} x {ratio:.3f}" for what, ratio in growth.items()))
    print(f"before {before}")
    print(f"at the end of the run {samples[-1]}")
    print(f"after  {after}")
    return books.problems


class _Lucky(random.Random):
    """Nothing fails."""

    def random(self) -> float:
        return 0.999

    def expovariate(self, lambd: float = 1.0) -> float:
        return 1 / lambd


def main() -> int:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600.0, help="for how long")
    parser.add_argument("--plugins", type=int, default=200, help="how many, a multiple of 5")
    parser.add_argument("--seed", type=int, default=0, help="of everything random")
    parser.add_argument("--trace", action="store_true", help="look at Python's own objects")
    options = parser.parse_args()
    logging.disable()
    if options.trace:
        tracemalloc.start()
    problems = asyncio.run(soak(options.seconds, options.plugins, options.seed))
    for problem in problems[:20]:
        print(f"WRONG: {problem}")
    print("nothing is wrong" if not problems else f"{len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
