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
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks._measure import Sample, Taken, ratio, sample, turns
from benchmarks._results import Report, Role, Series, Table, Target, plain
from benchmarks._suites import alone
from benchmarks.peers import otp
from benchmarks.peers.fleets import DISTRIBUTIONS, STEPS, Fleet, Steps, fleets

__all__ = ["benchmark", "main", "queue_pair"]

PACKAGES: Final = DISTRIBUTIONS
REPEATS: Final = 5
SIZES: Final = (10, 100, 1_000, 10_000, 100_000)
LEAST: Final = 2_000
"""Small fleets live more than once in one measurement, until there were so many objects."""

KEPT: Final = 10_000
"""How many are held while memory is looked at."""

PAIR: Final = "asyncio.Queue put and get"
PAIRS: Final = 10_000
LIFE: Final = "life"
TITLES: Final = {
    LIFE: "register, init_all, start_all and stop_all: one of many plugins, its whole life",
    "register": "register: one of many plugins",
    "init_all": "init_all: one of many plugins",
    "start_all": "start_all: one of many plugins",
    "health_check_all": "health_check_all: one of many plugins",
    "stop_all": "stop_all: one of many plugins",
}

Lived = dict[str, Taken]


def queue_pair() -> float:
    """Put and get one item many times; return the CPU seconds for each pair."""

    async def run() -> float:
        queue: asyncio.Queue[int] = asyncio.Queue()
        begin = time.process_time()
        for item in range(PAIRS):
            await queue.put(item)
            await queue.get()
        return (time.process_time() - begin) / PAIRS

    return asyncio.run(run())


def lived(fleet: Fleet, names: list[str]) -> Lived:
    """Return what each step took for one of the objects with these names."""
    steps, rounds = Steps(), max(1, LEAST // len(names))

    async def run() -> None:
        for _ in range(rounds):
            await fleet.life(names, steps)

    asyncio.run(run())
    return steps.each(len(names) * rounds)


def of_life(taken: Lived) -> Lived:
    """Add the whole life: all steps but the making of the object, and the question for its health."""
    parts = [taken[step] for step in STEPS if step in taken and step not in ("make", "health_check_all")]
    return {**taken, LIFE: Taken(sum(part.cpu for part in parts), sum(part.wall for part in parts))}


def measured(known: Iterable[Fleet], erlang: Path | None) -> tuple[dict[tuple[str, int], list[Lived]], Sample]:
    """Let everybody live at every size, in turns; return that by name and size, and what a queue pair took."""
    names = [f"bare-{number}" for number in range(max(SIZES))]
    calls: dict[str, Callable[[], Lived]] = {PAIR: lambda: {PAIR: Taken(queue_pair(), 0.0)}}
    keys: dict[str, tuple[str, int]] = {}
    for size in SIZES:
        for fleet in known:
            if size <= fleet.most:
                keys[f"{fleet.name} {size}"] = (fleet.name, size)
                calls[f"{fleet.name} {size}"] = partial(lived, fleet, names[:size])
        if erlang is not None:
            keys[f"{otp.NAME} {size}"] = (otp.NAME, size)
            calls[f"{otp.NAME} {size}"] = partial(otp.life, erlang, size)
    found = turns(calls, REPEATS)
    pairs = Sample(tuple(taken[PAIR].cpu for taken in found.pop(PAIR)))
    return {keys[key]: [of_life(taken) for taken in lives] for key, lives in found.items()}, pairs


def table(step: str, lives: Mapping[tuple[str, int], list[Lived]], whom: Mapping[str, tuple[Role, str]]) -> Table:
    """Return what one step took everybody who has it."""

    def at(name: str, size: int) -> Sample | None:
        taken = [life[step] for life in lives.get((name, size), ()) if step in life]
        return sample(taken) if taken else None

    series = [Series(name, role, tuple(at(name, size) for size in SIZES), note) for name, (role, note) in whom.items()]
    having = tuple(each for each in series if any(one is not None for one in each.samples))
    return Table(f"bulk-{step}", TITLES[step], having, axis="plugins", points=SIZES)


def memory(fleet: Fleet, names: list[str]) -> dict[str, float]:
    """Return the bytes for one object at the end of each step."""
    taken: dict[str, float] = {}

    def look(step: str) -> None:
        gc.collect()
        taken[step] = (tracemalloc.get_traced_memory()[0] - before) / len(names)

    asyncio.run(fleet.life(names[:1], Steps()))  # what is made once, for the first of all, is not counted
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    asyncio.run(fleet.life(names, Steps(look)))
    tracemalloc.stop()
    return taken


def benchmark() -> Report:
    """Measure plugins from ten to a hundred thousand."""
    known = list(fleets())
    for fleet in known:
        asyncio.run(fleet.check())
    with tempfile.TemporaryDirectory() as scratch:
        erlang = Path(scratch) if otp.built(Path(scratch)) else None
        lives, pair = measured(known, erlang)
    whom = {fleet.name: (fleet.role, fleet.note) for fleet in known}
    if erlang is not None:
        whom[otp.NAME] = (Role.OTHER, f"{otp.NOTE}; OTP {otp.release()}")
    names = [f"bare-{number}" for number in range(KEPT)]
    bytes_ = {fleet: memory(fleet, names) for fleet in known if fleet.role is not Role.OTHER}
    kept = tuple(Series(fleet.name, fleet.role, (Sample((taken["start_all"],)),)) for fleet, taken in bytes_.items())
    (ours,) = (fleet for fleet in known if fleet.role is Role.OURS)
    whole = {size: sample(life[LIFE] for life in lives[ours.name, size]) for size in SIZES}
    pairs = ratio(whole[10_000], pair)
    tables = [table(step, lives, whom) for step in TITLES]
    return Report(
        "Many plugins: register, init_all, start_all, health_check_all and stop_all",
        [
            *tables,
            plain("bulk-pair", "The unit of time", {PAIR: pair}),
            Table("bulk-memory", f"One of {KEPT:,}, running", kept, unit="B", tolerance=0.05),
        ],
        [
            f"one of 10,000 plugins takes as long as {pairs:.2f} queue pairs",
            "bytes for one plugin after: " + ", ".join(f"{step} {size:,.0f}" for step, size in bytes_[ours].items()),
        ],
        [
            Target("one of 10,000 plugins, if a queue pair takes 1 us", pairs, 15, "us"),
            Target("one of 100,000 plugins, to one of 1,000", ratio(whole[100_000], whole[1_000]), 1.3),
            Target("memory of one plugin that is registered and running", bytes_[ours]["start_all"] / 1000, 1.2, "kB"),
        ],
    )


def main() -> int:
    """Run this benchmark alone."""
    return alone("What many plugins cost.", benchmark, PACKAGES)


if __name__ == "__main__":
    raise SystemExit(main())
