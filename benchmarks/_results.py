"""What a benchmark found: values that are printed, kept as JSON, drawn, and compared with those of an earlier run."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

import cattrs
from attrs import Factory, define, evolve, frozen

from benchmarks._measure import Sample, quantity, ratio

__all__ = ["RESULTS", "Report", "Role", "Series", "Table", "Target", "load", "plain", "save"]

RESULTS: Final = Path(__file__).resolve().parent / "results"
"""Where the results of the last whole run are."""


class Role(StrEnum):
    """What a contender is in a comparison."""

    OURS = "ours"
    LIMIT = "limit"
    """The least that the guarantees can cost: written for the one purpose, by somebody who knows how."""
    PEER = "peer"
    """A library that people would take instead."""
    OTHER = "other"
    """Shown, and not compared."""


@frozen
class Series:
    """What one contender took, at each point of a table.

    Attributes:
        name: of the contender.
        role: what it is in the comparison.
        samples: one for each point; None where it was not measured.
        note: where it promises less than ours, or more; why it was not measured.
    """

    name: str
    role: Role
    samples: tuple[Sample | None, ...]
    note: str = ""


@frozen
class Table:
    """One comparison: what was done, and what it took each contender.

    Attributes:
        key: a short name that is unique and stays the same from run to run.
        title: what was done.
        series: the contenders.
        unit: of the samples: ``s`` (CPU seconds for one operation), ``B`` (bytes), or a word.
        axis: what the points are, such as ``plugins``; empty if there is one only.
        points: the sizes that it was done at.
        more: whether more is better.
        tolerance: by which part a ratio may be worse than in an earlier run before `make bench-check` fails.
    """

    key: str
    title: str
    series: tuple[Series, ...]
    unit: str = "s"
    axis: str = ""
    points: tuple[int, ...] = (1,)
    more: bool = False
    tolerance: float = 0.25

    def of(self, role: Role) -> list[Series]:
        """Return the contenders with that role."""
        return [each for each in self.series if each.role is role]

    def times(self, mine: Sample | None, other: Sample | None) -> float | None:
        """Return how many times better ``mine`` is than ``other``, if both were measured."""
        if mine is None or other is None:
            return None
        return ratio(mine, other) if self.more else ratio(other, mine)

    def best_peer(self, point: int) -> Series | None:
        """Return the best of the peers at that index of `points`."""
        measured = [(each, sample) for each in self.of(Role.PEER) if (sample := each.samples[point]) is not None]
        if not measured:
            return None
        return (max if self.more else min)(measured, key=lambda pair: pair[1].median)[0]

    def exponent(self, series: Series) -> float | None:
        """Return the power of the points that it grows with: 0 is not at all, 1 as they do (a log-log line's slope)."""
        known = [
            (math.log(point), math.log(sample.median))
            for point, sample in zip(self.points, series.samples, strict=True)
            if sample is not None and sample.median > 0
        ]
        return statistics.linear_regression(*zip(*known, strict=True)).slope if len(known) > 2 else None

    def show(self) -> None:
        """Print it."""
        print(f"\n{self.title}")
        ours = next(iter(self.of(Role.OURS)), None)
        for index, point in enumerate(self.points):
            if self.axis:
                print(f"  {point:,} {self.axis}")
            for each in self.series:
                sample = each.samples[index]
                line = f"  {each.name:<46}{'not measured' if sample is None else sample.text(self.unit)}"
                mine = None if ours is None or each is ours else ours.samples[index]
                factor = None if mine is None or sample is None or not mine.median else ratio(sample, mine)
                print(line if factor is None else f"{line:<92}{factor:,.2f} x ours")
        if self.axis:
            slopes = {each.name: self.exponent(each) for each in self.series}
            told = ", ".join(f"{name} {slope:+.2f}" for name, slope in slopes.items() if slope is not None)
            if told:
                print(f"  grows with the number of {self.axis} to the power of: {told}")


def plain(key: str, title: str, samples: Mapping[str, Sample], roles: Mapping[str, Role] | None = None) -> Table:
    """Return a table of CPU times at one point; whoever has no role is only shown."""
    found = roles or {}
    series = (Series(name, found.get(name, Role.OTHER), (sample,)) for name, sample in samples.items())
    return Table(key, title, tuple(series))


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
            f"{self.what:<62}{sign} {f'{self.limit:g} {self.unit}':<12}"
            f"{f'{self.measured:,.2f} {self.unit}':<16}{self.verdict}"
        )


@define
class Report:
    """What one benchmark found.

    Attributes:
        title: what it was about.
        tables: what was compared.
        notes: what else there is to know, one line each.
        targets: what was promised.
        environment: what it ran on.
    """

    title: str
    tables: list[Table] = Factory(list)
    notes: list[str] = Factory(list)
    targets: list[Target] = Factory(list)
    environment: dict[str, str] = Factory(dict)

    def show(self) -> None:
        """Print everything but the targets, which belong in one table at the end."""
        print(f"\n== {self.title}")
        for table in self.tables:
            table.show()
        for note in self.notes:
            print(f"  {note}")


def save(report: Report, path: Path) -> None:
    """Write a report as JSON, with four significant digits."""

    def rounded(sample: Sample | None) -> Sample | None:
        if sample is None:
            return None
        values, wall = (tuple(float(f"{value:.4g}") for value in column) for column in (sample.values, sample.wall))
        return Sample(values, wall)

    def shortened(table: Table) -> Table:
        series = (evolve(each, samples=tuple(map(rounded, each.samples))) for each in table.series)
        return evolve(table, series=tuple(series))

    tables = [shortened(table) for table in report.tables]
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(cattrs.unstructure(evolve(report, tables=tables)), indent=1)
    path.write_text(_on_one_line(text) + "\n", encoding="utf-8")


def _on_one_line(text: str) -> str:
    """Put lists of numbers on one line, so that a difference between two runs can be read."""
    lines: list[str] = []
    inside: list[str] | None = None
    for line in text.splitlines():
        bare = line.strip()
        if inside is not None:
            inside.append(bare)
            if bare.startswith("]"):
                lines.append(" ".join(inside))
                inside = None
        elif line.endswith(('"values": [', '"wall": [', '"points": [')):
            inside = [line]
        else:
            lines.append(line)
    return "\n".join(lines)


def load(directory: Path = RESULTS) -> dict[str, Report]:
    """Return the reports of a directory by the names of their files, without the extension."""
    return {
        path.stem: cattrs.structure(json.loads(path.read_text(encoding="utf-8")), Report)
        for path in sorted(directory.glob("*.json"))
        if path.stem != "counts"
    }


def column(samples: Sequence[Sample | None], unit: str) -> list[str]:
    """Return the medians for people."""
    return ["-" if sample is None else quantity(sample.median, unit) for sample in samples]
