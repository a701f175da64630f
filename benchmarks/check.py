"""Has a change lost ground? Measure again, and compare ratios with those that were kept.

``python -m benchmarks.check [NAME ...]``. What is compared are ratios, never times: ours to the limit, and ours to the
peer that was best when the results were kept, at each size. A ratio may be worse by the tolerance of its table, a
quarter unless the table says otherwise, which is more than two runs differ on a machine that does other things.
What seems worse is measured once more, and fails if it is worse both times. The counts come first: they do not depend
on the machine's mood. Exit status 1 if ground was lost.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import frozen

from benchmarks import counts
from benchmarks._results import Report, Role, Series, Table, load
from benchmarks._suites import SUITES, run

__all__ = ["Loss", "losses", "main"]


@frozen
class Loss:
    """A ratio that is worse than it was by more than the tolerance."""

    what: str
    before: float
    now: float
    tolerance: float

    def __str__(self) -> str:
        return f"{self.what}: {self.now:.2f} x, was {self.before:.2f} x (tolerance {self.tolerance:.0%})"


def losses(before: Report, now: Report) -> Iterator[Loss]:
    """Yield what has lost ground between two runs of one suite. What is missing in either is not compared."""
    found = {table.key: table for table in now.tables}
    for table in before.tables:
        if table.key in found:
            yield from _of_table(table, found[table.key])


def _of_table(before: Table, now: Table) -> Iterator[Loss]:
    series = {each.name: each for each in now.series}
    for index, point in enumerate(before.points):
        if point not in now.points:
            continue
        rivals = [*before.of(Role.LIMIT), *filter(None, [before.best_peer(index)])]
        for ours in before.of(Role.OURS):
            for rival in rivals:
                if ours.name not in series or rival.name not in series:
                    continue
                old = _times(before, ours, rival, index)
                new = _times(now, series[ours.name], series[rival.name], now.points.index(point))
                if old is not None and new is not None and new > old * (1 + before.tolerance):
                    at = f", {point:,} {before.axis}" if before.axis else ""
                    yield Loss(f"{before.title}{at}: {ours.name} to {rival.name}", old, new, before.tolerance)


def _times(table: Table, ours: Series, rival: Series, index: int) -> float | None:
    """Return how many times worse ours is than the rival: below 1 is better."""
    return table.times(rival.samples[index], ours.samples[index])


def compared(name: str, before: Report) -> list[Loss] | None:
    """Measure one suite, twice if need be; return what was lost both times, or None if it did not run."""
    lost: dict[str, Loss] | None = None
    for _ in range(2):
        with TemporaryDirectory() as scratch:
            run(name, Path(scratch))
            now = load(Path(scratch)).get(name)
        if now is None:
            return None
        found = {each.what: each for each in losses(before, now)}
        lost = found if lost is None else {what: each for what, each in lost.items() if what in found}
        if not lost:
            break
    return list((lost or {}).values())


def main(kept: Mapping[str, Report] | None = None) -> int:
    """Compare the suites that are named, or all that were kept."""
    parser = argparse.ArgumentParser(description="Compare the ratios of the benchmarks with those that were kept.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to measure (default: all that was kept)")
    options = parser.parse_args()
    reports = load() if kept is None else kept
    if unknown := [name for name in options.names if name not in SUITES or name not in reports]:
        parser.error(f"nothing was kept of {unknown[0]!r}; there are: {', '.join(reports)}")
    status = counts.compare()
    verdicts = []
    for name in options.names or [name for name in SUITES if name in reports]:
        lost = compared(name, reports[name])
        if lost is None:
            verdicts.append(f"{name}: did not run to its end, see above")
        verdicts += [f"{name}: lost ground: {each}" for each in lost or ()]
    print("\n" + "\n".join(verdicts or ["no ground was lost"]))
    return 1 if verdicts else status


if __name__ == "__main__":
    sys.exit(main())
