"""What exploration costs: the registry space, the schedules of a plugin, and the race that every tool is tried on.

These promises are about what a person waits for, so they are in seconds; what is measured is CPU time, and a schedule
is also told as a multiple of a queue pair, which drifts less from machine to machine.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from benchmarks._measure import REPEATS, Sample, Stopwatch, Taken, alternate, sample, turns
from benchmarks._results import Report, Role, Series, Table, Target
from benchmarks._suites import alone
from benchmarks.bulk import queue_pair
from benchmarks.peers.searching import Spin, races, spin, spin_is_here
from fsm_plugins import HealthStatus, Plugin, PluginInfo
from fsm_plugins.verify.registries import RegistryResult, explore_registry
from fsm_plugins.verify.schedules import ScheduleResult, explore_schedules

__all__ = ["benchmark", "main"]

WAITS: Final = 6
"""How many times each of two callers gives way, where schedules are counted: there are 3,432 of them then."""


class Ordinary(Plugin):
    """Waits once in every hook."""

    info = PluginInfo("ordinary", "1.0.0")

    async def on_init(self) -> None:
        await asyncio.sleep(0)

    async def on_start(self) -> None:
        await asyncio.sleep(0)

    async def on_stop(self) -> None:
        await asyncio.sleep(0)

    async def on_health_check(self) -> HealthStatus:
        await asyncio.sleep(0)
        return HealthStatus.healthy()


class Toy:
    """Checks, waits and then acts: the second caller may come in between."""

    def __init__(self) -> None:
        self.state = "created"
        self.opened = 0

    async def start(self) -> None:
        if self.state == "created":
            await asyncio.sleep(0)
            self.opened += 1
            self.state = "running"


async def early(toy: Toy) -> None:
    """Call at once."""
    await toy.start()


async def late(toy: Toy) -> None:
    """Call when, in the ordinary order, the first caller is done."""
    for _ in range(3):
        await asyncio.sleep(0)
    await toy.start()


async def one(toy: Toy) -> None:
    """Give way again and again."""
    for _ in range(WAITS):
        await asyncio.sleep(0)


async def other(toy: Toy) -> None:
    """Do the same."""
    await one(toy)


def seconds(work: Callable[[], RegistryResult | ScheduleResult], repeats: int = REPEATS) -> tuple[float, list[object]]:
    """Do the work again and again; return the median of its CPU seconds, and its results."""
    taken, results = [], []
    work()
    for _ in range(repeats):
        begin = time.process_time()
        results.append(work())
        taken.append(time.process_time() - begin)
    return statistics.median(taken), list(results)


def _race_table() -> Table:
    """Compare how long it takes until the race of the toy is found."""
    schedules: dict[str, list[int]] = {}

    def timed(name: str, search: Callable[[], int]) -> Callable[[], Taken]:
        def run() -> Taken:
            with Stopwatch() as watch:
                count = search()
            schedules.setdefault(name, []).append(count)
            return watch.taken

        return run

    def ours() -> int:
        found = explore_schedules(Toy, [early, late], tasks=None)
        assert found.finding is not None
        return found.schedules

    searches = {"fsm_plugins": ours, **races(Toy, [early, late], lambda toy: toy.opened == 1)}
    samples = alternate({name: timed(name, search) for name, search in searches.items()})
    series = (
        Series(
            name,
            Role.OURS if name == "fsm_plugins" else Role.PEER,
            (sample,),
            f"found in schedule {', '.join(map(str, sorted(set(schedules[name]))))}",
        )
        for name, sample in samples.items()
    )
    return Table("verification-race", "The race of a toy, until it is found", tuple(series))


def _space_tables() -> list[Table]:
    """Compare a walk over all states of a registry, on the real code, with SPIN's on the model of it."""
    if not spin_is_here():
        return []
    sizes = (2, 3, 4)
    walks: list[Sample | None] = []
    wholes: list[Sample | None] = []
    searches: list[Sample | None] = []
    for plugins in sizes:
        contenders: dict[str, Callable[[], Taken | Spin]] = {
            "ours": partial(_walked, plugins),
            "spin": partial(spin, plugins),
        }
        found = turns(contenders, 5)
        walks.append(sample(walk for walk in found["ours"] if isinstance(walk, Taken)))
        spins = [each for each in found["spin"] if isinstance(each, Spin)]
        assert {each.states for each in spins} == {explore_registry(plugins).states}
        wholes.append(sample(each.whole for each in spins))
        searches.append(sample(each.search for each in spins))
    series = (
        Series(
            "fsm_plugins", Role.OURS, tuple(walks), "runs the registry itself, with every hook failing in every way"
        ),
        Series("SPIN, its verifier made and compiled", Role.OTHER, tuple(wholes), "the exported model, not code"),
        Series("SPIN, the search alone", Role.OTHER, tuple(searches), "the same number of states"),
    )
    title = "Every state of a registry"
    return [Table("verification-registry", title, tuple(series), axis="plugins", points=sizes)]


def _walked(plugins: int) -> Taken:
    with Stopwatch() as watch:
        assert explore_registry(plugins).holds
    return watch.taken


def benchmark() -> Report:
    """Measure everything."""
    pair = statistics.median(queue_pair() for _ in range(REPEATS))
    four, _ = seconds(lambda: explore_registry(4))
    begin = time.process_time()
    result = explore_registry(6)
    six = time.process_time() - begin
    assert result.holds, result
    many, counted = seconds(lambda: explore_schedules(Toy, [one, other], tasks=None))
    count = counted[0]
    assert isinstance(count, ScheduleResult)
    assert count.holds, count
    pairs, of_pairs = seconds(lambda: explore_schedules(Ordinary, crashes=False))
    triples, of_triples = seconds(lambda: explore_schedules(Ordinary, tasks=3, crashes=False))
    race = explore_schedules(Toy, [early, late], tasks=None)
    assert race.finding is not None
    tables = [_race_table(), *_space_tables()]
    notes = []
    incomplete = 0
    for name, results in (("pairs", of_pairs), ("triples", of_triples)):
        cells = results[0]
        assert isinstance(cells, ScheduleResult)
        assert cells.finding is None, cells
        incomplete += cells.cells - cells.completed
        notes.append(f"{name}: {cells.cells} cells, {cells.schedules} schedules")
    each = many / count.schedules
    return Report(
        "Exploration: registries, schedules",
        tables,
        [
            f"registry of 6: {result.states} states, {result.edges:,} calls, {six / result.edges * 1e6:.1f} us each",
            *notes,
            f"toy: {count.schedules} schedules, each as long as {each / pair:.0f} queue pairs",
        ],
        [
            Target("registry of 4, symmetric, one fault per call", four, 2, "s"),
            Target("registry of 6, symmetric, one fault per call", six, 60, "s"),
            Target("schedules of the toy in a second", 1 / each, 10_000, "", at_least=True),
            Target("all pairs of calls of a plugin", pairs, 0.1, "s"),
            Target("all triples of calls of a plugin", triples, 5, "s"),
            Target("cells of these that are not complete", incomplete, 0, ""),
            Target("schedules until the toy race is found", race.schedules, 2, ""),
        ],
    )


def main() -> int:
    """Run this benchmark alone."""
    return alone("What exploration costs.", benchmark, ("frontrun", "hypothesis"))


if __name__ == "__main__":
    raise SystemExit(main())
