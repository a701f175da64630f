"""Measuring on a machine that does other things too.

What is measured is CPU time, so that waiting for a processor does not count. The contenders of a comparison take turns,
so that all of them meet the same clock speed and the same neighbours, and a ratio is taken within each turn before the
median over the turns. Absolute numbers drift from one minute to the next; these ratios hardly do.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Final

from attrs import Factory, asdict, define, frozen

__all__ = ["REPEATS", "Report", "Sample", "Target", "alternate", "command", "cpu_seconds", "environment", "ratio"]

REPEATS: Final = 7
"""The fewest repeats that a median is taken of."""


@frozen
class Sample:
    """What one contender took: CPU seconds for one operation, in each repeat."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median of the repeats, in seconds."""
        return statistics.median(self.seconds)

    def __str__(self) -> str:
        unit, scale = ("ms", 1e3) if self.median > 1e-3 else ("us", 1e6) if self.median > 1e-5 else ("ns", 1e9)
        digits = 0 if unit == "ns" else 1
        low, mid, high = (f"{s * scale:,.{digits}f}" for s in (min(self.seconds), self.median, max(self.seconds)))
        return f"{mid:>9} {unit}  ({low} .. {high})"


def ratio(sample: Sample, base: Sample) -> float:
    """Return how many times ``base`` a sample took: the median of the ratios within each turn."""
    return statistics.median(a / b for a, b in zip(sample.seconds, base.seconds, strict=True))


@frozen
class Target:
    """A promise, and what came of it.

    Attributes:
        what: what is promised, in words.
        measured, limit: both in ``unit``.
        at_least: whether the promise is to reach the limit, and not to stay below it.
    """

    what: str
    measured: float
    limit: float
    unit: str = "x"
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the promise is kept."""
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    @property
    def verdict(self) -> str:
        """``PASS``, or how much is missing."""
        return "PASS" if self.met else f"short by {abs(self.measured - self.limit):.2f} {self.unit}"

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        return (
            f"{self.what:<54}{sign} {f'{self.limit:g} {self.unit}':<9}"
            f"{f'{self.measured:,.2f} {self.unit}':<12}{self.verdict}"
        )


@define
class Report:
    """What one benchmark found.

    Attributes:
        title: what it was about.
        samples: what was measured by turns.
        notes: what else there is to know, one line each.
        targets: what was promised.
    """

    title: str
    samples: dict[str, Sample] = Factory(dict)
    notes: list[str] = Factory(list)
    targets: list[Target] = Factory(list)

    def show(self) -> None:
        """Print everything but the targets, which belong in one table at the end."""
        print(f"\n{self.title}")
        for name, sample in self.samples.items():
            print(f"  {name:<50}{sample}")
        for note in self.notes:
            print(f"  {note}")


def alternate(contenders: Mapping[str, Callable[[], float]], repeats: int = REPEATS) -> dict[str, Sample]:
    """Let the contenders take turns, after one turn to warm up that does not count.

    Garbage is collected before each measurement and not during it: when a collection comes is an accident, and how long
    it takes depends on what else the process holds.

    Args:
        contenders: by name, a function that does the work and returns its CPU seconds for one operation.
        repeats: how many turns count.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(-1, repeats):
        for name, contender in contenders.items():
            gc.collect()
            gc.disable()
            try:
                taken = contender()
            finally:
                gc.enable()
            if turn >= 0:
                seconds[name].append(taken)
    return {name: Sample(tuple(taken)) for name, taken in seconds.items()}


async def cpu_seconds(calls: list[Callable[[], Awaitable[object]]]) -> float:
    """Await every call, one after the other; return the CPU seconds for each."""
    begin = time.process_time()
    for call in calls:
        await call()
    return (time.process_time() - begin) / len(calls)


def environment() -> dict[str, str]:
    """Return what a reader has to know to compare two runs."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        **{name: version(name) for name in ("attrs", "transitions")},
    }


def command(title: str, benchmarks: Iterable[Callable[[], Report]]) -> int:
    """Run ``benchmarks`` as a command: print what they find, then one table of all the targets.

    With ``--json FILE``, also write it all to a file.

    Returns:
        the exit status: 0 if every target is met, else 1.
    """
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to this file as well")
    options = parser.parse_args()
    print("; ".join(f"{name} {value}" for name, value in environment().items()))
    print("CPU time for one operation: median (min .. max)", flush=True)
    reports = []
    for benchmark in benchmarks:
        reports.append(report := benchmark())
        report.show()
    targets = [target for report in reports for target in report.targets]
    print(f"\n{'target':<54}{'limit':<12}measured")
    for target in targets:
        print(target)
    if options.json is not None:
        results = {"environment": environment(), "reports": [asdict(report) for report in reports]}
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 0 if all(target.met for target in targets) else 1
