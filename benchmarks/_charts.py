"""A comparison as a picture: one bar for each contender, ours and the limit marked."""

from __future__ import annotations

import math
from typing import Final
from xml.sax.saxutils import escape

from benchmarks._measure import quantity
from benchmarks._results import Role, Series, Table

__all__ = ["WIDE", "bars"]

WIDE: Final = 30
"""From this ratio of the longest to the shortest bar on, the scale is logarithmic, or the short ones would vanish."""

_LABELS, _BARS, _VALUES, _ROW, _TOP = 330, 320, 190, 26, 50
_TICKS: Final = {
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns")),
    "B": ((1e6, "MB"), (1e3, "kB"), (1.0, "B")),
}
_STYLE: Final = """
text { font: 13px system-ui, sans-serif; fill: #1f2937 }
.small { font-size: 11px; fill: #6b7280 } .bold { font-weight: 600 }
.ours { fill: #2563eb } .limit { fill: #16a34a } .peer { fill: #94a3b8 } .other { fill: #cbd5e1 }
.grid { stroke: #9ca3af; stroke-opacity: .35 }
@media (prefers-color-scheme: dark) { text { fill: #e5e7eb } .small { fill: #9ca3af } .other { fill: #64748b } }
"""


def bars(table: Table, index: int) -> str:
    """Return the comparison at that index of its points as SVG, what is best on top."""
    measured = [(each, sample.median) for each in table.series if (sample := each.samples[index]) is not None]
    measured.sort(key=lambda pair: pair[1], reverse=table.more)
    longest = max(value for _, value in measured)
    positive = [value for _, value in measured if value > 0]
    shortest = min(positive, default=1.0)
    logarithmic = longest > WIDE * shortest
    floor = 10 ** math.floor(math.log10(shortest) - 0.3) if logarithmic else 0.0

    def length(value: float) -> float:
        if value <= floor or longest <= floor:
            return 0.0
        if logarithmic:
            return _BARS * math.log(value / floor) / math.log(longest / floor)
        return _BARS * value / longest

    width = _LABELS + _BARS + _VALUES
    height = _TOP + _ROW * len(measured) + (22 if logarithmic else 8)
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>{escape(table.title)}</title>",
        f"<style>{_STYLE}</style>",
        f'<text x="0" y="16" class="bold">{escape(table.title)}</text>',
        f'<text x="0" y="32" class="small">{escape(caption(table, index, logarithmic))}</text>',
    ]
    if logarithmic:
        step = floor
        while step <= longest * 1.0001:
            x = _LABELS + length(step)
            lines.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 6}" y2="{height - 18}"/>')
            lines.append(
                f'<text class="small" x="{x:.1f}" y="{height - 5}" text-anchor="middle">'
                f"{escape(tick(step, table.unit))}</text>"
            )
            step *= 10
    for row, (each, value) in enumerate(measured):
        y = _TOP + _ROW * row
        weight = ' class="bold"' if each.role is Role.OURS else ""
        long = max(length(value), 1)
        lines += [
            f'<text x="{_LABELS - 8}" y="{y + 15}" text-anchor="end"{weight}>{escape(label(each))}</text>',
            f'<rect class="{each.role}" x="{_LABELS}" y="{y + 2}" width="{long:.1f}" height="17" rx="2"/>',
            f'<text x="{_LABELS + long + 7:.1f}" y="{y + 15}"{weight}>{escape(told(table, each, index))}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


def caption(table: Table, index: int, logarithmic: bool) -> str:
    """Return how the picture is to be read."""
    at = f"{table.points[index]:,} {table.axis}; " if table.axis else ""
    scale = ", logarithmic scale" if logarithmic else ""
    return f"{at}{'more' if table.more else 'less'} is better{scale}"


def tick(value: float, unit: str) -> str:
    """Return a power of ten as a label of the scale."""
    for least, name in _TICKS.get(unit, ()):
        if value >= least * 0.999:
            return f"{value / least:g} {name}"
    return f"{value:,g} {unit}"


def label(series: Series) -> str:
    """Return the name with the role, where the role says something."""
    return f"{series.name} (the limit)" if series.role is Role.LIMIT else series.name


def told(table: Table, series: Series, index: int) -> str:
    """Return the value, and how it compares with ours."""
    sample = series.samples[index]
    assert sample is not None
    value = quantity(sample.median, table.unit)
    ours = next(iter(table.of(Role.OURS)), None)
    if ours is None or ours is series or not sample.median:
        return value
    mine = ours.samples[index]
    return value if mine is None or not mine.median else f"{value}  ({sample.median / mine.median:,.3g} x ours)"
