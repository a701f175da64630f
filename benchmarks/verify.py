"""What a verification costs: a correct plugin with three hooks that wait, with one fault at every await.

CPU time, as everywhere here: time is virtual, so a verification that waits for nothing real takes no other.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import time
from typing import Final

from benchmarks._measure import Sample, alternate
from benchmarks._results import Report, Role, Series, Table, Target, plain
from benchmarks._suites import alone
from benchmarks.peers.searching import hunted
from fsm_plugins import RESTARTABLE, Plugin, PluginInfo
from fsm_plugins.verify import Report as Verdict
from fsm_plugins.verify import Scope, verify
from tests.zoo.faulty import FAULTY
from tests.zoo.specimen import Specimen

__all__ = ["benchmark", "main"]

REPEATS: Final = 5
DEPTH: Final = 10


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


def zoo() -> tuple[Table, list[str]]:
    """Let plain Hypothesis look for the mistakes of the zoo, in the CPU time that a verification takes, and in more."""
    budgets = (1, 10)
    ours, theirs, spent = 0, dict.fromkeys(budgets, 0), []
    specimens = [each for each in FAULTY if each.layer in ("L1", "L2") and each.clock == "either"]
    for specimen in specimens:
        begin = time.process_time()
        report = look(specimen)
        spent.append(time.process_time() - begin)
        ours += any(finding.slug in specimen.slug for finding in report.findings)
        found = hunted(specimen, min(budgets[-1] * spent[-1], 3.0))
        for budget in budgets:
            theirs[budget] += found is not None and found <= budget * spent[-1]
    series = (
        Series("fsm_plugins", Role.OURS, tuple(Sample((float(ours),)) for _ in budgets), "its own time, once"),
        Series(
            "Hypothesis, a stateful test",
            Role.PEER,
            tuple(Sample((float(count),)) for count in theirs.values()),
            "fails no awaits; at most 3 s for each; says that something is wrong, not what",
        ),
    )
    title = f"Mistakes found, of {len(specimens)} plugins with one that calls or faults bring out"
    table = Table(
        "verification-zoo", title, tuple(series), "plugins", "x the CPU time of a verification", budgets, more=True
    )
    each = statistics.median(spent)
    return table, [f"a faulty plugin is verified in {each * 1e3:.0f} ms (median), {max(spent):.2f} s (longest)"]


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
    found, notes = zoo()
    logging.disable(logging.NOTSET)
    return Report(
        "Verification of a correct plugin, one fault at every await",
        [plain("verify", "One verification", samples), found],
        [f"runs: {runs} and {many}; for each {samples[stock].median / runs * 1e3:.2f} ms", *notes],
        [Target(f"a correct 3-hook plugin, depth {DEPTH}, 1 fault", samples[stock].median, 1.0, "s")],
    )


def main() -> int:
    """Run this benchmark alone."""
    return alone("What a verification costs.", benchmark)


if __name__ == "__main__":
    raise SystemExit(main())
