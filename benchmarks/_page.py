"""The page of the benchmarks, written from the results that were kept: nothing in it is measured here."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from benchmarks._charts import bars
from benchmarks._measure import Sample, quantity
from benchmarks._results import Report, Role, Series, Table, load
from benchmarks._suites import ROOT, SUITES

__all__ = ["page", "write"]

PAGE: Final = ROOT / "docs" / "benchmarks.md"
PICTURES: Final = ROOT / "docs" / "benchmarks"

HEAD: Final = """\
# Benchmarks

What the package costs, beside what people would take instead and beside the limit: the least that the same guarantees
can cost, written by hand for the one purpose. This page is made from the results under `benchmarks/results`.
`make bench` measures everything, `make bench SAVE=1` writes this page anew, and `make bench-check` says whether a
change has lost ground.

**How it is measured.** CPU time for one operation, the median of at least five repeats with the least and the greatest.
Contenders take turns in one process, or in alternating processes where an import or the garbage of another would
disturb, after a turn that does not count. What each did is checked after it was measured. Ratios are taken within a
turn; they hardly depend on the machine, the absolute figures do. A peer is used as its own documentation shows; where
it promises less, the table says so.
"""


def page(reports: Mapping[str, Report]) -> str:
    """Return the page as Markdown."""
    ordered = {name: reports[name] for name in SUITES if name in reports}
    return "\n".join([HEAD, *_environment(ordered), *_promises(ordered), *_losses(ordered), *_suites(ordered)])


def pictures(reports: Mapping[str, Report]) -> dict[str, str]:
    """Return the pictures by the names of their files."""
    return {
        f"{table.key}.svg": bars(table, shown(table))
        for report in reports.values()
        for table in report.tables
        if table.of(Role.OURS)
    }


def shown(table: Table) -> int:
    """Return the index of the point that is drawn: the last at which most contenders were measured."""
    measured = [sum(each.samples[index] is not None for each in table.series) for index in range(len(table.points))]
    return max(index for index, count in enumerate(measured) if count == max(measured))


def _environment(reports: Mapping[str, Report]) -> Iterator[str]:
    found: dict[str, str] = {}
    for report in reports.values():
        found |= report.environment
    yield "Measured with " + ", ".join(f"{name} {value}" for name, value in found.items()) + ".\n"


def _promises(reports: Mapping[str, Report]) -> Iterator[str]:
    yield "## What is promised\n"
    yield "| | promised | measured | |"
    yield "|---|---|---|---|"
    for report in reports.values():
        for each in report.targets:
            sign = "at least" if each.at_least else "at most"
            verdict = "kept" if each.met else f"**{each.verdict}**"
            yield f"| {each.what} | {sign} {each.limit:g} {each.unit} | {each.measured:,.2f} {each.unit} | {verdict} |"
    yield ""


def _losses(reports: Mapping[str, Report]) -> Iterator[str]:
    yield "## Where we lose\n"
    lost = [line for report in reports.values() for table in report.tables for line in _lost(table)]
    yield from lost or ["Nowhere in the tables below."]
    yield ""


def _lost(table: Table) -> Iterator[str]:
    """Say which peers are better than the best of ours by more than a twentieth, and at which points."""
    for peer in table.of(Role.PEER):
        found = []
        for index, point in enumerate(table.points):
            mine = _best(table, index)
            factor = None if mine is None else table.times(mine.samples[index], peer.samples[index])
            if factor is not None and factor < 0.95:
                at = f" at {point:,} {table.axis}" if table.axis else ""
                found.append(f"{1 / factor:.2f} times as good{at}")
        if found:
            weaker = f" ({peer.note})" if peer.note else ""
            yield f"- {table.title}: **{peer.name}** is {', '.join(found)}{weaker}."


def _best(table: Table, index: int) -> Series | None:
    ours = [(each, sample.median) for each in table.of(Role.OURS) if (sample := each.samples[index]) is not None]
    return (max if table.more else min)(ours, key=lambda pair: pair[1])[0] if ours else None


def _suites(reports: Mapping[str, Report]) -> Iterator[str]:
    for report in reports.values():
        yield f"## {report.title}\n"
        for table in report.tables:
            yield from _table(table, heading=len(report.tables) > 1)
        for note in report.notes:
            yield f"- {note.strip()}"
        if report.notes:
            yield ""


def _table(table: Table, *, heading: bool) -> Iterator[str]:
    if heading:
        yield f"### {table.title}\n"
    if table.of(Role.OURS):
        yield f"![{table.title}: one bar for each contender](benchmarks/{table.key}.svg)\n"
    if table.axis:
        yield f"| {table.axis} | " + " | ".join(f"{point:,}" for point in table.points) + " | grows as |"
        yield "|---|" + "---:|" * (len(table.points) + 1)
        for each in table.series:
            exponent = table.exponent(each)
            cells = [_median(sample, table.unit) for sample in each.samples]
            yield f"| {_name(each)} | " + " | ".join(cells) + f" | {'' if exponent is None else f'n^{exponent:.2f}'} |"
    else:
        yield "| | median | least .. greatest | wall | to ours |"
        yield "|---|---:|---:|---:|---:|"
        ours = next(iter(table.of(Role.OURS)), None)
        for each in table.series:
            yield _row(table, each, ours)
    yield ""
    if notes := [f"- {each.name}: {each.note}." for each in table.series if each.note]:
        yield from [*notes, ""]


def _row(table: Table, each: Series, ours: Series | None) -> str:
    sample = each.samples[0]
    if sample is None:
        return f"| {_name(each)} | not measured | | | |"
    spread = ""
    if len(sample.values) > 1:
        spread = f"{quantity(min(sample.values), table.unit)} .. {quantity(max(sample.values), table.unit)}"
    wall = quantity(sorted(sample.wall)[len(sample.wall) // 2], table.unit) if sample.wall else ""
    mine = None if ours is None else ours.samples[0]
    times = "" if mine is None or not mine.median else f"{sample.median / mine.median:,.2f} x"
    return f"| {_name(each)} | {quantity(sample.median, table.unit)} | {spread} | {wall} | {times} |"


def _name(each: Series) -> str:
    match each.role:
        case Role.OURS:
            return f"**{each.name}**"
        case Role.LIMIT:
            return f"{each.name} (the limit)"
        case _:
            return each.name


def _median(sample: Sample | None, unit: str) -> str:
    return "-" if sample is None else quantity(sample.median, unit)


def write(path: Path = PAGE, directory: Path = PICTURES) -> None:
    """Write the page and its pictures from the results that were kept."""
    reports = load()
    directory.mkdir(exist_ok=True)
    drawn = pictures(reports)
    for old in directory.glob("*.svg"):
        if old.name not in drawn:
            old.unlink()
    for name, text in drawn.items():
        (directory / name).write_text(text, encoding="utf-8")
    path.write_text(page(reports), encoding="utf-8")


if __name__ == "__main__":
    write()
    sys.exit(0)
