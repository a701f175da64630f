"""Measuring on a machine that does other things too.

What counts is CPU time, so that waiting for a processor does not. The contenders of a comparison take turns, so that
all of them meet the same clock speed and the same neighbours, and a ratio is taken within each turn before the median
over the turns. Absolute numbers drift from one minute to the next; these ratios hardly do. Wall time is kept beside it,
since it tells what CPU time cannot: who waits.
"""

from __future__ import annotations

import gc
import math
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, TypeVar

from attrs import define, frozen

__all__ = [
    "REPEATS",
    "Sample",
    "Stopwatch",
    "Taken",
    "alternate",
    "environment",
    "quantity",
    "ratio",
    "sample",
    "turns",
]

T = TypeVar("T")

REPEATS: Final = 7
"""The fewest repeats that a median is taken of."""

_SCALES: Final = {
    "s": ((1.0, "s", 2), (1e-3, "ms", 1), (1e-5, "us", 1), (0.0, "ns", 0)),
    "B": ((1e7, "MB", 1), (1e4, "kB", 1), (0.0, "B", 0)),
}
_FACTORS: Final = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9, "B": 1.0, "kB": 1e-3, "MB": 1e-6}


@frozen
class Taken:
    """What one turn of a contender took for one operation: CPU and wall seconds."""

    cpu: float
    wall: float


@define
class Stopwatch:
    """Measures what happens inside ``with``, for one of ``operations``.

    >>> with Stopwatch(operations=10) as watch:
    ...     _ = sum(range(100_000))
    >>> watch.taken.cpu > 0
    True
    """

    operations: int = 1
    _cpu: float = 0.0
    _wall: float = 0.0

    def __enter__(self) -> Stopwatch:
        self._cpu, self._wall = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_error: object) -> None:
        self._cpu, self._wall = time.process_time() - self._cpu, time.perf_counter() - self._wall

    @property
    def taken(self) -> Taken:
        """What one operation took."""
        return Taken(self._cpu / self.operations, self._wall / self.operations)


def quantity(value: float, unit: str) -> str:
    """Return ``value`` for people: ``0.0000123`` s is ``12.3 us``."""
    if unit not in _SCALES:
        return f"{value:,.0f} {unit}" if abs(value) >= 100 else f"{value:,.3g} {unit}"
    name, digits = next((name, digits) for least, name, digits in _SCALES[unit] if value >= least)
    return f"{value * _FACTORS[name]:,.{digits}f} {name}"


@frozen
class Sample:
    """What one contender took for one operation, in each repeat.

    Attributes:
        values: CPU seconds, or what else the comparison is about.
        wall: wall seconds, where they were measured too.
    """

    values: tuple[float, ...]
    wall: tuple[float, ...] = ()

    @property
    def median(self) -> float:
        """The median of the repeats."""
        return statistics.median(self.values)

    def text(self, unit: str = "s") -> str:
        """Return the median with the least and the greatest."""
        low, mid, high = (quantity(value, unit) for value in (min(self.values), self.median, max(self.values)))
        return f"{mid:>10}  ({low} .. {high})" if len(self.values) > 1 else f"{mid:>10}"


def ratio(sample: Sample, base: Sample) -> float:
    """Return how many times ``base`` a sample took: the median of the ratios within each turn."""
    if len(sample.values) != len(base.values) or 0 in base.values:
        return sample.median / base.median if base.median else math.inf
    return statistics.median(a / b for a, b in zip(sample.values, base.values, strict=True))


def turns(contenders: Mapping[str, Callable[[], T]], repeats: int = REPEATS) -> dict[str, list[T]]:
    """Let the contenders take turns, after one turn to warm up that does not count; return what they returned.

    Garbage is collected before each measurement and not during it: when a collection comes is an accident, and how long
    it takes depends on what else the process holds.

    Args:
        contenders: by name, a function that does the work and measures it.
        repeats: how many turns count.
    """
    found: dict[str, list[T]] = {name: [] for name in contenders}
    for turn in range(-1, repeats):
        for name, contender in contenders.items():
            gc.collect()
            gc.disable()
            try:
                taken = contender()
            finally:
                gc.enable()
            if turn >= 0:
                found[name].append(taken)
    return found


def sample(taken: Iterable[float | Taken]) -> Sample:
    """Return the repeats of one contender as a sample; wall times only where they were measured."""
    values, wall = [], []
    for each in taken:
        values.append(each.cpu if isinstance(each, Taken) else each)
        if isinstance(each, Taken):
            wall.append(each.wall)
    return Sample(tuple(values), tuple(wall))


def alternate(contenders: Mapping[str, Callable[[], float | Taken]], repeats: int = REPEATS) -> dict[str, Sample]:
    """Let the contenders take `turns`; return what one operation took each.

    Args:
        contenders: by name, a function that does the work and returns what one operation took: CPU seconds, or both.
        repeats: how many turns count.
    """
    return {name: sample(taken) for name, taken in turns(contenders, repeats).items()}


def environment(packages: Iterable[str] = ()) -> dict[str, str]:
    """Return what a reader has to know to compare two runs; of ``packages``, those that are installed."""
    found = {}
    for name in ("attrs", "transitions", *packages):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        "processor": _processor(),
        **found,
    }


def _processor() -> str:
    try:
        models = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        models = []
    return models[0] if models else platform.processor() or "unknown"
