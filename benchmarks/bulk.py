"""What it costs to hold plugins by the ten thousand: CPU time and memory for each of them.

Time is told in the unit of a machine where an `asyncio.Queue` passes one item on in one microsecond: the time for a
plugin to be registered, initialised, started and stopped, divided by the time of one ``put`` and ``get``.

Memory is what tracemalloc sees from before the first plugin is made, divided by their number. The plugin has no fields,
so all of it is beside the plugin's own: the instance, its guard, its metadata (each plugin has a name of its own) and
its place in the registry. The text of the name is not counted; somebody brings it along.
"""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from collections.abc import Callable
from typing import Final

from attrs import define

from benchmarks._measure import REPEATS, Sample, alternate, ratio
from benchmarks._results import Report, Target, plain
from benchmarks._suites import alone
from fsm_plugins import Plugin, PluginInfo, PluginRegistry

__all__ = ["benchmark", "main"]

FEW: Final = 1_000
MANY: Final = 10_000
MOST: Final = 100_000
PAIR: Final = "asyncio.Queue put and get"
STEPS: Final = ("register", "init_all", "start_all", "stop_all")


@define
class Bare(Plugin):
    """A plugin without fields or hooks."""

    info = PluginInfo("bare", "1.0.0")


def queue_pair() -> float:
    """Put and get one item many times; return the CPU seconds for each pair."""

    async def run() -> float:
        queue: asyncio.Queue[int] = asyncio.Queue()
        begin = time.process_time()
        for item in range(MANY):
            await queue.put(item)
            await queue.get()
        return (time.process_time() - begin) / MANY

    return asyncio.run(run())


def whole_life(names: list[str], steps: dict[str, list[float]] | None = None) -> Callable[[], float]:
    """Return a measurement of all that a registry does with one plugin for each name.

    Args:
        names: of the plugins.
        steps: takes the CPU seconds of each step for one plugin, if it is given.
    """

    async def run() -> float:
        registry = PluginRegistry()
        plugins = [Bare(name=name) for name in names]
        times = [time.process_time()]
        for plugin in plugins:
            registry.register(plugin)
        times.append(time.process_time())
        for call in (registry.init_all, registry.start_all, registry.stop_all):
            await call()
            times.append(time.process_time())
        assert all(plugin.state == "stopped" for plugin in plugins)
        if steps is not None:
            for step, begin, end in zip(STEPS, times, times[1:], strict=False):
                steps.setdefault(step, []).append((end - begin) / len(names))
        return (times[-1] - times[0]) / len(names)

    return lambda: asyncio.run(run())


def memory(names: list[str]) -> dict[str, float]:
    """Return the bytes for one plugin in each state that it goes through."""
    taken: dict[str, float] = {}

    async def run() -> None:
        registry = PluginRegistry()
        plugins: list[Bare | None] = [None] * len(names)

        def look(state: str) -> None:
            gc.collect()
            taken[state] = (tracemalloc.get_traced_memory()[0] - before) / len(names)

        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for i, name in enumerate(names):
            plugins[i] = Bare(name=name)
        look("created")
        for plugin in plugins:
            assert plugin is not None
            registry.register(plugin)
        look("registered")
        await registry.init_all()
        await registry.start_all()
        look("running")
        await registry.stop_all()
        look("stopped")
        tracemalloc.stop()

    whole_life(names[:1])()  # what is made once, for the first plugin of all, is not counted
    asyncio.run(run())
    return taken


def benchmark() -> Report:
    """Measure plugins by the thousand, ten thousand and hundred thousand."""
    names = [f"bare-{i}" for i in range(MOST)]
    steps: dict[str, list[float]] = {}
    lives = {n: f"{n:,} plugins, each" for n in (FEW, MANY, MOST)}
    samples = alternate(
        {
            PAIR: queue_pair,
            lives[FEW]: whole_life(names[:FEW]),
            lives[MANY]: whole_life(names[:MANY], steps),
            lives[MOST]: whole_life(names),
        },
        REPEATS,
    )
    of_many = {f"  {step}": Sample(tuple(seconds[1:])) for step, seconds in steps.items()}  # the first was the warm-up
    pairs = ratio(samples[lives[MANY]], samples[PAIR])
    taken = memory(names[:MANY])
    return Report(
        "Many plugins: register, init_all, start_all and stop_all",
        [plain("bulk", "One of many plugins", samples | of_many)],
        [
            f"one of {MANY:,} plugins takes as long as {pairs:.2f} queue pairs",
            "bytes for one plugin: " + ", ".join(f"{state} {size:,.0f}" for state, size in taken.items()),
        ],
        [
            Target("one of 10,000 plugins, if a queue pair takes 1 us", pairs, 15, "us"),
            Target("one of 100,000 plugins, to one of 1,000", ratio(samples[lives[MOST]], samples[lives[FEW]]), 1.3),
            Target("memory of one plugin that is registered and running", taken["running"] / 1000, 1.2, "kB"),
        ],
    )


def main() -> int:
    """Run this benchmark alone."""
    return alone("What many plugins cost.", benchmark)


if __name__ == "__main__":
    raise SystemExit(main())
