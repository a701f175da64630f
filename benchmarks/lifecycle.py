"""What one move of one plugin costs, legal and illegal, and what an object takes to make and to keep.

The limit is `ByHand`, a class with the same guarantees that was written for this only; `keeps_its_word` proves that it
is equal where it is measured. The peers are state machines with the same table and the same hook. None of them gives
the guarantees; what each does instead was observed before it was measured, and is in its note.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from benchmarks._measure import Sample, Stopwatch, Taken, alternate, ratio
from benchmarks._results import Report, Role, Series, Table, Target
from benchmarks._suites import alone
from benchmarks.peers.by_hand import ByHand, Ours, Refused, keeps_its_word
from benchmarks.peers.machines import DISTRIBUTIONS, HOOKED, Contender, contenders, observed
from fsm_plugins import InvalidState, PluginRegistry, TransitionEvent
from fsm_plugins.observe import Journal, RegistryTarget, last_states
from fsm_plugins.observe.metrics import Metrics

__all__ = ["benchmark", "main"]

PACKAGES: Final = DISTRIBUTIONS
REPEATS: Final = 15
OBSERVED_CALLS: Final = 2_000

Measure = Callable[[type[Contender]], Callable[[], float | Taken]]


def nothing() -> None:
    """Do nothing, as a hook."""


async def nothing_later() -> None:
    """Do nothing, as an asynchronous hook that does not wait."""


async def waits() -> None:
    """Wait for one turn of the event loop."""
    await asyncio.sleep(0)


def _empty(kind: type[Contender]) -> Callable[[], Any]:
    return nothing_later if kind.asynchronous else nothing


# Moves ----------------------------------------------------------------------------------------------------------------


def legal(kind: type[Contender], hook: Callable[[], Any]) -> Callable[[], Taken]:
    """Return a measurement of ``start`` on fresh objects, which has to leave them running."""

    async def run() -> Taken:
        contender = kind(hook)
        objects = [contender.new() for _ in range(kind.calls)]
        for each in objects:
            await contender.open(each)
            await contender.fire(each, "init")
        calls = [contender.call(each, HOOKED) for each in objects]
        with Stopwatch(kind.calls) as watch:
            if kind.asynchronous:
                for call in calls:
                    await call()
            else:
                for call in calls:
                    call()
        assert all(contender.state(each) == "running" for each in objects)
        for each in objects:
            await contender.close(each)
        return watch.taken

    return lambda: asyncio.run(run())


def illegal(kind: type[Contender]) -> Callable[[], Taken]:
    """Return a measurement of ``start`` on objects that are not ready for it, and have to stay as they are."""

    async def run() -> Taken:
        contender = kind(_empty(kind))
        objects = [contender.new() for _ in range(kind.calls)]
        for each in objects:
            await contender.open(each)
        calls = [contender.call(each, HOOKED) for each in objects]
        refusal: type[BaseException] | tuple[()] = kind.refusal or ()
        refused = 0
        with Stopwatch(kind.calls) as watch:
            for call in calls:
                try:
                    if kind.asynchronous:
                        await call()
                    else:
                        call()
                except refusal:
                    refused += 1
        assert refused == (kind.calls if kind.refusal is not None else 0)
        assert all(contender.state(each) == "created" for each in objects)
        for each in objects:
            await contender.close(each)
        return watch.taken

    return lambda: asyncio.run(run())


# Objects --------------------------------------------------------------------------------------------------------------


def creation(kind: type[Contender]) -> Callable[[], Taken]:
    """Return a measurement of what it takes to make an object that can be given its first trigger."""

    async def run() -> Taken:
        contender = kind(_empty(kind))
        objects = []
        with Stopwatch(kind.calls) as watch:
            for _ in range(kind.calls):
                each = contender.new()
                await contender.open(each)
                objects.append(each)
        for each in objects:
            await contender.close(each)
        return watch.taken

    return lambda: asyncio.run(run())


def memory(kind: type[Contender]) -> Sample:
    """Return the bytes of an object that has been started, without what all objects share.

    Started, because some make what they need only when they need it.
    """

    async def run() -> float:
        contender = kind(_empty(kind))
        objects: list[Any] = [None] * kind.calls

        async def started() -> Any:
            each = contender.new()
            await contender.open(each)
            await contender.fire(each, "init")
            await contender.fire(each, HOOKED)
            return each

        first = await started()  # what is made once, for the first of all, is not counted
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for number in range(kind.calls):
            objects[number] = await started()
        gc.collect()
        taken = (tracemalloc.get_traced_memory()[0] - before) / kind.calls
        tracemalloc.stop()
        for each in (first, *objects):
            await contender.close(each)
        return taken

    return Sample((asyncio.run(run()),))


# What one more thing costs --------------------------------------------------------------------------------------------


def watched(setup: str) -> Callable[[], float]:
    """Return a measurement of ``start`` on plugins of a registry, with somebody who listens."""

    async def run(path: Path) -> float:
        registry = PluginRegistry()
        plugins = [Ours(name=f"plugin-{number}") for number in range(OBSERVED_CALLS)]
        for plugin in plugins:
            registry.register(plugin)
        counting = Metrics(RegistryTarget(registry)) if "metrics" in setup else None
        journal = Journal(path) if "journal" in setup else None
        if counting is not None:
            counting.start()
        if journal is not None:
            journal.start()
            registry.subscribe(journal.note)
        heard: list[TransitionEvent] = []
        if setup == "a listener":
            registry.subscribe(heard.append)
        for plugin in plugins:
            await plugin.init()
        await asyncio.sleep(0.05)  # until the journal has written that
        with Stopwatch(OBSERVED_CALLS) as watch:
            for plugin in plugins:
                await plugin.start()
            if counting is not None:
                counting.stop()
            if journal is not None:
                journal.stop()
        assert all(plugin.state == "running" for plugin in plugins)
        assert len(heard) == (2 * OBSERVED_CALLS if setup == "a listener" else 0)
        if journal is not None:
            assert len(last_states(path)) == OBSERVED_CALLS, "not everything was written"
        return watch.taken.cpu

    def measured() -> float:
        with tempfile.TemporaryDirectory() as directory:
            return asyncio.run(run(Path(directory, "journal.jsonl")))

    return measured


def one_more_thing() -> Table:
    """Measure a start as it is, and with each thing that somebody may want of it."""
    (ours,) = (kind for kind in contenders() if kind.role is Role.OURS)
    bare = "nothing else"
    samples = alternate(
        {
            bare: legal(ours, nothing_later),
            "in a registry": watched("in a registry"),
            "a hook that waits, and so has a deadline": legal(ours, waits),
            "a listener": watched("a listener"),
            "metrics": watched("metrics"),
            "metrics and journal": watched("metrics and journal"),
        },
        REPEATS,
    )
    series = (
        Series(name, Role.OURS if name == bare else Role.OTHER, (sample,), _EXTRAS.get(name, ""))
        for name, sample in samples.items()
    )
    return Table("lifecycle-extras", "A legal move of ours, and what one more thing costs", tuple(series))


_EXTRAS: Final = {"metrics and journal": "with the CPU time of the journal's own thread, until all is written"}


# All of it ------------------------------------------------------------------------------------------------------------


def compared(key: str, title: str, kinds: Iterable[type[Contender]], measure: Measure, notes: dict[str, str]) -> Table:
    """Measure contenders in turns."""
    known = list(kinds)
    samples = alternate({kind.name: measure(kind) for kind in known}, REPEATS)
    series = (Series(kind.name, kind.role, (samples[kind.name],), notes.get(kind.name, "")) for kind in known)
    return Table(key, title, tuple(series))


def times(table: Table, mine: str, other: str) -> float:
    """Return how many times ``other`` the contender ``mine`` took."""
    found = {each.name: each.samples[0] for each in table.series}
    numerator, denominator = found[mine], found[other]
    assert numerator is not None
    assert denominator is not None
    return ratio(numerator, denominator)


def benchmark() -> Report:
    """Measure moves and objects, and compare with the promises."""
    asyncio.run(keeps_its_word(Ours, InvalidState))
    asyncio.run(keeps_its_word(ByHand, Refused))
    kinds = list(contenders())
    notes = {kind.name: asyncio.run(observed(kind)) for kind in kinds}
    starts = compared("lifecycle-legal", "A legal move: start, with an empty hook", kinds, _legal_empty, notes)
    waiting = compared(
        "lifecycle-waits",
        "A legal move: start, with a hook that waits for one turn of the event loop",
        [kind for kind in kinds if kind.asynchronous],
        lambda kind: legal(kind, waits),
        _DEADLINES,
    )
    refusals = compared("lifecycle-refused", "A refused move: start, in the state created", kinds, illegal, _REFUSALS)
    made = [kind for kind in kinds if kind.name != "by hand, a timer for every hook"]  # the same object as without
    created = compared("lifecycle-creation", "An object with its machine, made", made, creation, _CREATIONS)
    kept = Table(
        "lifecycle-memory",
        "An object with its machine, started and kept",
        tuple(Series(kind.name, kind.role, (memory(kind),)) for kind in made),
        unit="B",
        tolerance=0.05,
    )
    return Report(
        "One plugin: a guarded call, and the object itself",
        [starts, waiting, refusals, created, kept, one_more_thing()],
        targets=[
            Target("start, to the same by hand", times(starts, "fsm_plugins", "by hand"), 1.5),
            Target(
                "AsyncMachine, to start",
                times(starts, "transitions, AsyncMachine", "fsm_plugins"),
                40,
                at_least=True,
            ),
            Target("illegal start, to the same by hand", times(refusals, "fsm_plugins", "by hand"), 1.5),
        ],
    )


def _legal_empty(kind: type[Contender]) -> Callable[[], Taken]:
    return legal(kind, _empty(kind))


_DEADLINES: Final = {
    "fsm_plugins": "the hook has a deadline, and one that ignores its cancellation is dropped",
    "by hand": "the hook has a deadline",
    "by hand, a timer for every hook": "the hook has a deadline",
    "transitions, AsyncMachine": "no deadline",
    "python-statemachine, asynchronous": "no deadline",
    "xstate-statemachine, asynchronous": "no deadline; the hook runs in a task of the interpreter",
}
_REFUSALS: Final = {
    "fsm_plugins": "the error has a text that names the plugin, its state and what is legal",
    "by hand": "the error has the same fields and no text",
    "xstate-statemachine": "no error: what is illegal is ignored, also with strict=True, which is for unknown events",
    "xstate-statemachine, asynchronous": "no error: what is illegal is ignored; the receipt says that nothing changed",
}
_CREATIONS: Final = {
    "Automat, MethodicalMachine": "what holds its state is made by the first trigger, not here",
    "transitions, one Machine for all (add_model)": "add_model looks through all models, so it grows with their number",
    "xstate-statemachine, asynchronous": "with the start of the task that each interpreter runs in",
}


def main() -> int:
    """Run this benchmark alone."""
    return alone("What one guarded call costs.", benchmark, PACKAGES)


if __name__ == "__main__":
    raise SystemExit(main())
