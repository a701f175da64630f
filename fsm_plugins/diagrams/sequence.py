"""A recorded trace as a sequence diagram: a lane for each plugin, and its transitions from top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from types import MappingProxyType
from typing import Final, TypeAlias

from attrs import field, frozen

from fsm_plugins.diagrams import as_mermaid, as_plantuml, tables
from fsm_plugins.diagrams.metrics import FONT, text_width
from fsm_plugins.diagrams.palette import THEMES, Paint, Theme
from fsm_plugins.diagrams.text import clean, distinct, one_line, width, wrap
from fsm_plugins.diagrams.trace import Step, steps_of

__all__ = ["SEQUENCE_FORMATS", "Sequence", "render_sequence"]


@frozen
class Sequence:
    """The steps of a trace, in their order.

    Attributes:
        steps: transitions and refused calls; `TransitionEvent` values are taken as well.
        title: what it is a picture of; may be empty.
        times: whether to tell how long after the first step each was, and how long it took.
    """

    steps: tuple[Step, ...] = field(converter=steps_of)
    title: str = ""
    times: bool = True

    @property
    def lanes(self) -> tuple[str, ...]:
        """The plugins, in the order in which they appear."""
        return tuple(dict.fromkeys(step.plugin for step in self.steps))

    def first(self, plugin: str) -> str:
        """Return the state that ``plugin`` was in before its first step."""
        return next(step.source for step in self.steps if step.plugin == plugin)

    def since(self, step: Step) -> str:
        """Return when ``step`` was, after the first one."""
        return f"{step.at - self.steps[0].at:.3f} s"

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """Return the picture for a notebook."""
        # What draws knows this module.
        from fsm_plugins.diagrams.notebook import mimebundle

        return mimebundle(self)


def _told(step: Step) -> str:
    """Return a step in words."""
    if step.dest is None:
        return f"{step.trigger}: refused"
    return f"{step.trigger}: {step.source} → {step.dest}" + (f" ({step.cause})" if step.cause is not None else "")


def _mermaid(sequence: Sequence, theme: Theme) -> str:
    del theme
    words = distinct(sequence.lanes)
    lines = [*as_mermaid.front_matter(sequence.title), "sequenceDiagram"]
    for lane, word in words.items():
        lines.append(f"    participant {word} as {as_mermaid.quoted(lane)}")
        lines.append(f"    Note over {word}: {as_mermaid.quoted(sequence.first(lane))}")
    for step in sequence.steps:
        word = words[step.plugin]
        arrow = "-x" if step.dest is None else "--)" if step.cause is not None else "->>"
        when = f" {sequence.since(step)}" if sequence.times else ""
        lines.append(f"    {word}{arrow}{word}: {as_mermaid.quoted(_told(step) + when)}")
    return "\n".join([*lines, ""])


def _plantuml(sequence: Sequence, theme: Theme) -> str:
    words = distinct(sequence.lanes)
    bad = THEMES[theme].tones["bad"].line
    lines = ["@startuml", *([f"title {as_plantuml.quoted(sequence.title)}"] if sequence.title else [])]
    lines += [f'participant "{as_plantuml.quoted(lane) or " "}" as {word}' for lane, word in words.items()]
    lines += [f"hnote over {word} : {as_plantuml.quoted(sequence.first(lane))}" for lane, word in words.items()]
    for step in sequence.steps:
        word = words[step.plugin]
        arrow = "->x" if step.dest is None else f"-[{bad}]->" if step.cause is not None else "->"
        when = f" {sequence.since(step)}" if sequence.times else ""
        lines.append(f"{word} {arrow} {word} : {as_plantuml.quoted(_told(step) + when)}")
    return "\n".join([*lines, "@enduml", ""])


def _rows(sequence: Sequence) -> list[list[str]]:
    head = [*(["time", "took"] if sequence.times else []), "plugin", "trigger", "from", "to", "cause"]
    rows = [head]
    for step in sequence.steps:
        times = [sequence.since(step), f"{step.duration:.3f} s"] if sequence.times else []
        dest = "(refused)" if step.dest is None else step.dest
        rows.append([*times, step.plugin, step.trigger, step.source, dest, step.cause or ""])
    return rows


def _markdown(sequence: Sequence, theme: Theme) -> str:
    del theme
    head, *rows = [[tables.quoted(cell) for cell in row] for row in _rows(sequence)]
    lines = [head, ["---"] * len(head), *rows]
    title = [f"## {tables.quoted(one_line(sequence.title))}", ""] if sequence.title else []
    return "\n".join([*title, *("| " + " | ".join(line) + " |" for line in lines), ""])


def _ascii(sequence: Sequence, theme: Theme) -> str:
    del theme
    rows = [[one_line(cell) for cell in row] for row in _rows(sequence)]
    widths = [max(width(row[place]) for row in rows) for place in range(len(rows[0]))]
    title = [one_line(sequence.title), ""] if sequence.title else []
    lines = [
        "  ".join(cell + " " * (wide - width(cell)) for cell, wide in zip(row, widths, strict=True)) for row in rows
    ]
    return "\n".join(line.rstrip() for line in [*title, *lines]) + "\n"


# As a picture.

_ROW: Final = 44.0
_HEAD: Final = 62.0


def _svg(sequence: Sequence, theme: Theme) -> str:
    palette = THEMES[theme]
    plain = palette.tones["plain"]
    left = 84.0 if sequence.times else 16.0
    lanes: dict[str, tuple[float, float]] = {}  # the middle and the width of each
    x = left
    for lane in sequence.lanes:
        texts = [(lane, 14.0)] + [text for step in sequence.steps if step.plugin == lane for text in _texts(step)]
        wide = max(text_width(one_line(text), size) for text, size in texts) + 44
        lanes[lane] = (x + wide / 2, wide)
        x += wide
    title = wrap(sequence.title, 60) if sequence.title else []
    top = 16.0 + 20 * len(title)
    wide, high = x + 16, top + _HEAD + _ROW * len(sequence.steps) + 16
    size = f'viewBox="0 0 {wide:.0f} {high:.0f}" width="{wide:.0f}" height="{high:.0f}"'
    name = escape(one_line(sequence.title or "sequence"))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{name}" font-family="{FONT}">',
        f'<rect width="100%" height="100%" fill="{palette.paper}"/>',
    ]
    for number, text in enumerate(title):
        lines.append(_write(text, wide / 2, 26 + 20 * number, 16, plain, "bold"))
    for lane, (middle, room) in lanes.items():
        lines.append(
            f'<path d="M{middle:.1f},{top + 32:.1f}V{high - 12:.1f}" stroke="{plain.line}" stroke-dasharray="2 4"/>'
        )
        lines.append(_pill(middle, top + 18, room - 12, 28, plain))
        lines.append(_write(lane, middle, top + 18, 14, plain, "bold"))
        lines.append(_state(sequence.first(lane), middle, top + 50, plain, palette.paper))
    for number, step in enumerate(sequence.steps):
        y = top + _HEAD + _ROW * number + 12
        middle = lanes[step.plugin][0]
        refused = step.dest is None
        paint = palette.tones["warning" if refused else "bad" if step.cause is not None else "good"]
        if sequence.times:
            lines.append(_write(sequence.since(step), 46, y + 6, 11.5, plain))
        (trigger, _), *rest = _texts(step)
        lines.append(_state(trigger, middle, y, paint, palette.paper))
        for text, _ in rest:
            lines.append(_pill(middle, y + 20, text_width(one_line(text), 12) + 20, 20, paint))
            lines.append(_write(text, middle, y + 20, 12, paint))
    return "\n".join([*lines, "</svg>", ""])


def _texts(step: Step) -> list[tuple[str, float]]:
    """Return what is written for a step, with the font sizes: the trigger, then the state."""
    trigger = f"{step.trigger}: {step.cause}" if step.cause is not None else step.trigger
    return [(trigger, 11.5), ("refused" if step.dest is None else step.dest, 12.0)]


def _state(text: str, x: float, y: float, paint: Paint, ground: str) -> str:
    wide = text_width(one_line(text), 11.5) + 8
    return (
        f'<rect x="{x - wide / 2:.1f}" y="{y - 8:.1f}" width="{wide:.1f}" height="16" fill="{ground}"/>'
        f"{_write(text, x, y, 11.5, paint)}"
    )


def _pill(x: float, y: float, wide: float, high: float, paint: Paint) -> str:
    return (
        f'<rect x="{x - wide / 2:.1f}" y="{y - high / 2:.1f}" width="{wide:.1f}" height="{high:.1f}" rx="8" '
        f'fill="{paint.fill}" stroke="{paint.line}" stroke-width="1.3"/>'
    )


def _write(text: str, x: float, y: float, size: float, paint: Paint, weight: str = "normal") -> str:
    text = one_line(text)
    fit = f' textLength="{text_width(text, size):.1f}" lengthAdjust="spacingAndGlyphs"' if text else ""
    return (
        f'<text x="{x:.1f}" y="{y + size * 0.355:.1f}" font-size="{size:g}" font-weight="{weight}" '
        f'text-anchor="middle" fill="{paint.text}"{fit}>{escape(clean(text), quote=False)}</text>'
    )


_Renderer: TypeAlias = Callable[[Sequence, Theme], str]

SEQUENCE_FORMATS: Final[Mapping[str, tuple[str, _Renderer]]] = MappingProxyType(
    {
        "mermaid": (".mmd", _mermaid),
        "plantuml": (".puml", _plantuml),
        "ascii": (".txt", _ascii),
        "markdown": (".md", _markdown),
        "svg": (".svg", _svg),
    }
)
"""The formats of a sequence diagram: the suffix of their files, and what makes the text."""


def render_sequence(sequence: Sequence, format: str = "mermaid", *, theme: Theme = "light") -> str:  # noqa: A002
    """Return ``sequence`` in one of the `SEQUENCE_FORMATS`.

    Raises:
        ValueError: there is no such format for a sequence; the text says which there are.

    >>> print(render_sequence(Sequence([Step("clock", "init", "created", "initialized")], times=False)), end="")
    sequenceDiagram
        participant clock as clock
        Note over clock: created
        clock->>clock: init#58; created → initialized
    """
    if format not in SEQUENCE_FORMATS:
        raise ValueError(f"there is no format {format!r} for a sequence; there are: {', '.join(SEQUENCE_FORMATS)}")
    return SEQUENCE_FORMATS[format][1](sequence, theme)
