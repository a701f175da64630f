"""What it costs to be supervised: the time to a restart, health checks, many plugins, a supervised start.

Who restarts one of ten thousand plugins must not look at the others. So the CPU time from a crash to the plugin that
runs again is compared between a supervisor of 100 plugins and one of 10,000, and so is what a restart leaves behind in
memory. The time to a restart in real seconds is measured with a back-off that is known, which is subtracted.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import statistics
import time
import tracemalloc
from collections.abc import Callable
from typing import Final

from attrs import Factory, define

from benchmarks._measure import alternate, ratio
from benchmarks._results import Report, Target, plain
from benchmarks._suites import alone
from fsm_plugins import HealthStatus, Plugin, PluginInfo
from fsm_plugins.orchestrator import Orchestrator, PluginSpec
from fsm_plugins.supervision import Action, Backoff, Health, Policy, SupervisionEvent, Supervisor

__all__ = ["benchmark", "main"]

FEW: Final = 100
MANY: Final = 10_000
CHECKED: Final = 1_000
RESTARTS: Final = 200
DELAY: Final = 0.02
AT_ONCE: Final = Backoff(initial=0, cap=0, jitter=0)


@define
class Steady(Plugin):
    """Has one worker, which crashes when it is told to."""

    info = PluginInfo("steady", "1.0.0")

    told: asyncio.Event = Factory(asyncio.Event)

    async def on_start(self) -> None:
        """Begin to work."""
        self.spawn(self._work())

    async def _work(self) -> None:
        await self.told.wait()
        raise ConnectionError("reset by peer")

    async def on_health_check(self) -> HealthStatus:
        """Well."""
        return HealthStatus.healthy()


def specs(count: int) -> list[PluginSpec]:
    """Return so many plugins."""
    return [PluginSpec(f"steady-{i}", Steady) for i in range(count)]


async def restart(supervisor: Supervisor, name: str) -> float:
    """Crash a plugin; return the real seconds until it runs again."""
    restarted = asyncio.Event()

    def heard(event: SupervisionEvent) -> None:
        if event.action is Action.RESTARTED and event.plugin == name:
            restarted.set()

    unsubscribe = supervisor.subscribe(heard)
    plugin = supervisor.registry[name]
    assert isinstance(plugin, Steady)
    begin = time.perf_counter()
    plugin.told.set()
    await restarted.wait()
    unsubscribe()
    return time.perf_counter() - begin


def restarts(count: int) -> Callable[[], float]:
    """Return a measurement of the CPU seconds of one restart among so many plugins."""

    async def run() -> float:
        supervisor = Supervisor(specs(count), policy=Policy(intensity="unlimited", backoff=AT_ONCE))
        async with supervisor.running():
            names = [f"steady-{i * (count // FEW) % count}" for i in range(RESTARTS)]
            gc.collect()
            await asyncio.sleep(0.1)  # every worker has begun to wait
            begin = time.process_time()
            for name in names:
                await restart(supervisor, name)
            return (time.process_time() - begin) / len(names)

    return lambda: asyncio.run(run())


def detection() -> list[float]:
    """Return the real seconds from a crash to the restart beyond the back-off, many times."""

    async def run() -> list[float]:
        backoff = Backoff(initial=DELAY, cap=DELAY, jitter=0)
        supervisor = Supervisor(specs(FEW), policy=Policy(intensity="unlimited", backoff=backoff))
        async with supervisor.running():
            return [await restart(supervisor, f"steady-{i % FEW}") - DELAY for i in range(RESTARTS)]

    return asyncio.run(run())


def health(seconds: float = 5.0) -> float:
    """Return the share of one core that a health check of many plugins each second takes."""

    async def run() -> float:
        supervisor = Supervisor(specs(CHECKED), policy=Policy(health=Health(interval=1.0)))
        async with supervisor.running():
            await asyncio.sleep(0.5)
            begin = time.process_time()
            await asyncio.sleep(seconds)
            return (time.process_time() - begin) / seconds

    return asyncio.run(run())


def memory(count: int) -> float:
    """Return how many bytes a restart leaves behind among so many plugins, once each has had some."""

    async def run() -> float:
        supervisor = Supervisor(specs(count), policy=Policy(intensity="unlimited", backoff=AT_ONCE))
        async with supervisor.running():
            names = [f"steady-{i}" for i in range(FEW)]
            for name in names * 3:
                await restart(supervisor, name)
            gc.collect()
            tracemalloc.start()
            for name in names * 3:
                await restart(supervisor, name)
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            for name in names * 10:
                await restart(supervisor, name)
            gc.collect()
            after = tracemalloc.get_traced_memory()[0]
            tracemalloc.stop()
            return (after - before) / (len(names) * 10)

    return asyncio.run(run())


def starts(supervised: bool) -> Callable[[], float]:
    """Return a measurement of the CPU seconds to build, start and stop one of many plugins."""

    async def run() -> float:
        begin = time.process_time()
        if supervised:
            async with Supervisor(specs(CHECKED)).running():
                pass
        else:
            async with Orchestrator(specs(CHECKED), {}).build().running():
                pass
        return (time.process_time() - begin) / CHECKED

    return lambda: asyncio.run(run())


def benchmark() -> Report:
    """Measure it all."""
    logging.disable()
    few, many = f"a restart among {FEW:,} plugins", f"a restart among {MANY:,} plugins"
    bare, supervised = "build, start and stop a plugin, nobody restarts it", "the same under a supervisor"
    samples = alternate(
        {few: restarts(FEW), many: restarts(MANY), bare: starts(supervised=False), supervised: starts(supervised=True)}
    )
    waited = detection()
    checks = alternate({"health": health}, 3)["health"]
    left = {count: memory(count) for count in (FEW, MANY)}
    logging.disable(logging.NOTSET)
    milliseconds = statistics.median(waited) * 1e3
    return Report(
        "Supervision",
        [plain("supervision", "A restart, a start", samples | {f"health checks of {CHECKED:,} plugins, each": checks})],
        [
            f"from crash to restart: {milliseconds:.2f} ms beyond the back-off, at most {max(waited) * 1e3:.2f} ms",
            "a restart leaves behind: " + ", ".join(f"{size:.0f} bytes of {count:,}" for count, size in left.items()),
        ],
        [
            Target("from a crash to the restart, beyond the back-off", milliseconds, 5, "ms"),
            Target("1,000 health checks a second, of one core", checks.median * 100, 5, "%"),
            Target("a restart among 10,000 plugins, to one among 100", ratio(samples[many], samples[few]), 1.5),
            Target("what a restart among 10,000 plugins leaves behind", left[MANY], 8, "bytes"),
            Target("to start under a supervisor, to starting without", ratio(samples[supervised], samples[bare]), 1.5),
        ],
    )


def main() -> int:
    """Run this benchmark alone."""
    return alone("What it costs to be supervised.", benchmark)


if __name__ == "__main__":
    raise SystemExit(main())
