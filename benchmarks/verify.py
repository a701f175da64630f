"""What a verification costs: a correct plugin with three hooks that wait, with one fault at every await.

CPU time, as everywhere here: time is virtual, so a verification that waits for nothing real takes no other.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import time
from collections.abc import Sequence
from typing import Final

from benchmarks._measure import Sample, Stopwatch, alternate
from benchmarks._results import Report, Role, Series, Table, Target, plain
from benchmarks._suites import alone
from benchmarks.peers.searching import hunted
from fsm_plugins import RESTARTABLE, Plugin, PluginInfo
from fsm_plugins.verify import Report as Verdict
from fsm_plugins.verify import Scope, verify
from tests.zoo.correct import CORRECT
from tests.zoo.faulty import FAULTY
from tests.zoo.specimen import Specimen

__all__ = ["benchmark", "main"]

REPEATS: Final = 5
DEPTH: Final = 10
HOME: Final = "the zoo was written for our checks, which favours us; any failure counts for Hypothesis"
BUDGETS: Final = (1, 10)
"""How many times the CPU time of a verification Hypothesis has."""
CONTROL: Final = 0.5
"""CPU seconds for each correct plugin, in which Hypothesis must find nothing; about what it has for a faulty one."""


class ThreeHooks(Plugin):
    """Waits in each hook, and has a worker."""

    info = PluginInfo("three-hooks", "1.0.0")

    async def on_init(self) -> None:
        await asyncio.sleep(0.1)

    async def on_start(self) -> None:
        self.spawn(self._work())
        await asyncio.sleep(0.1)

    async def on_stop(self) -> None:
        await asyncio.sleep(0.1)

    async def _work(self) -> None:
        while True:  # noqa: ASYNC110 - it is the waiting that counts
            await asyncio.sleep(1.0)


class Restartable(ThreeHooks):
    """The same, and may be started again, so that there are many more sequences."""

    info = PluginInfo("restartable", "1.0.0")
    lifecycle = RESTARTABLE


def verified(cls: type[Plugin], depth: int) -> float:
    """Verify ``cls`` and return the CPU seconds it took."""
    begin = time.process_time()
    verify(cls, scope=Scope(depth=depth, faults=1)).assert_holds()
    return time.process_time() - begin


def zoo() -> tuple[list[Table], list[str]]:
    """Let plain Hypothesis look for the mistakes of the zoo, in the CPU time that a verification takes, and in more."""
    for specimen in CORRECT:
        if specimen.clock == "either":
            assert hunted(specimen, CONTROL) is None, f"false alarm: {specimen.name}"
    known = [each for each in FAULTY if each.layer in ("L1", "L2") and each.clock == "either"]
    calls = [each for each in known if "[" not in each.shortest]
    faults = [each for each in known if "[" in each.shortest]
    notes: list[str] = []
    return [
        _hunts("verification-zoo", "calls alone bring out", calls, notes),
        _hunts("verification-zoo-faults", "takes a fault at an await", faults, notes),
    ], notes


def _hunts(key: str, what: str, specimens: Sequence[Specimen], notes: list[str]) -> Table:
    """Let both look at each of ``specimens``, with other luck in each repeat, and count who finds how many."""
    ours: list[float] = []
    theirs: dict[int, list[float]] = {budget: [] for budget in BUDGETS}
    spent: list[float] = []
    until: list[float] = []
    runs: list[int] = []
    for luck in range(REPEATS):
        ours.append(0.0)
        for counts in theirs.values():
            counts.append(0.0)
        for specimen in specimens:
            with Stopwatch() as watch:
                report = look(specimen)
            took = watch.taken.cpu
            spent.append(took)
            runs.append(report.runs)
            ours[-1] += any(finding.slug in specimen.slug for finding in report.findings)
            found = hunted(specimen, BUDGETS[-1] * took, luck)
            if found is not None:
                until.append(found)
            for budget, counts in theirs.items():
                counts[-1] += found is not None and found <= budget * took
    series = (
        Series(
            "fsm_plugins",
            Role.OURS,
            tuple(Sample(tuple(ours)) for _ in BUDGETS),
            "its own time, once; only what it names rightly counts",
        ),
        Series(
            "Hypothesis, a stateful test",
            Role.PEER,
            tuple(Sample(tuple(counts)) for counts in theirs.values()),
            "cancels calls and lets no await raise; anything that fails counts, at once and not made small",
        ),
    )
    total, median = sum(spent) / REPEATS, statistics.median(spent)
    notes.append(
        f"{what}: {len(specimens)} verified in {total:.2f} s, {median * 1e3:.0f} ms and "
        f"{statistics.median(runs):.0f} runs each (median), {max(spent):.2f} s (longest)"
    )
    if until:
        notes.append(f"  Hypothesis, where it found one: after {statistics.median(until) * 1e3:.0f} ms (median)")
    title = f"Mistakes found, of {len(specimens)} plugins with one that {what}"
    return Table(key, title, series, "plugins", "x the CPU time of a verification", BUDGETS, more=True)


def look(specimen: Specimen) -> Verdict:
    """Verify a specimen as its author would."""
    if specimen.reset is not None:
        specimen.reset()
    try:
        return verify(
            specimen.factory,
            settings=specimen.settings,
            invariant=specimen.invariant,
            messages=specimen.messages,
            scope=Scope(depth=max(4, specimen.steps)),
            layers=("L0", "L1", "L2"),
        )
    finally:
        if specimen.reset is not None:
            specimen.reset()


def benchmark() -> Report:
    """Measure both."""
    stock, again = f"stock lifecycle, depth {DEPTH}", "restartable, depth 6"
    samples = alternate({stock: lambda: verified(ThreeHooks, DEPTH), again: lambda: verified(Restartable, 6)}, REPEATS)
    runs = verify(ThreeHooks, scope=Scope(depth=DEPTH, faults=1)).runs
    many = verify(Restartable, scope=Scope(depth=6, faults=1)).runs
    logging.disable()  # what the plugins of the zoo complain of
    hunts, notes = zoo()
    logging.disable(logging.NOTSET)
    return Report(
        "Verification of a correct plugin, one fault at every await",
        [plain("verify", "One verification", samples), *hunts],
        [
            HOME,
            f"runs: {runs} and {many}; for each {samples[stock].median / runs * 1e3:.2f} ms",
            *notes,
        ],
        [Target(f"a correct 3-hook plugin, depth {DEPTH}, 1 fault", samples[stock].median, 1.0, "s")],
    )


def main() -> int:
    """Run this benchmark alone."""
    return alone("What a verification costs.", benchmark, ("hypothesis",))


if __name__ == "__main__":
    raise SystemExit(main())
