"""Diagrams as SVG, laid out here: no other program, no font file, no script, and the same bytes every time."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Final

from fsm_plugins.diagrams.metrics import FONT
from fsm_plugins.diagrams.model import Diagram, Edge, Group, Style, Tone
from fsm_plugins.diagrams.palette import THEMES, Palette, Theme
from fsm_plugins.diagrams.scene import Arrow, Line, Placed, Scene, compose
from fsm_plugins.diagrams.text import clean, one_line

__all__ = ["draw", "svg"]

_HEAD: Final = 9.0
_DASHES: Final[dict[Style, str]] = {
    "solid": "",
    "dashed": ' stroke-dasharray="6 4"',
    "dotted": ' stroke-dasharray="2 4"',
}


def svg(diagram: Diagram, theme: Theme = "light") -> str:
    """Return ``diagram`` as an SVG image.

    A filled circle leads to the initial state, a final one has a double border. Each node has an attribute ``data-id``,
    each arrow ``data-source`` and ``data-dest``, so that a page can find them.

    >>> from fsm_plugins.diagrams import Node
    >>> svg(Diagram([Node("open", "open")], [])).startswith("<svg xmlns=")
    True
    """
    return draw(diagram, THEMES[theme])


def draw(diagram: Diagram, palette: Palette) -> str:
    """Return ``diagram`` as an SVG image in the colours of ``palette``: any that SVG understands."""
    # No empty line, which would end it in Markdown.
    lines = [line for line in _Drawing(diagram, compose(diagram), palette).lines() if line]
    return "\n".join([*lines, "</svg>", ""])


class _Drawing:
    def __init__(self, diagram: Diagram, scene: Scene, palette: Palette) -> None:
        self.diagram = diagram
        self.scene = scene
        self.palette = palette

    def lines(self) -> Iterator[str]:
        scene, palette = self.scene, self.palette
        size = (
            f'viewBox="0 0 {_n(scene.width)} {_n(scene.height)}" width="{_n(scene.width)}" height="{_n(scene.height)}"'
        )
        name = _attribute(one_line(self.diagram.title) or "diagram")
        yield f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label={name} font-family="{FONT}">'
        yield f"<desc>{_text(self._told())}</desc>"
        yield f'<rect class="paper" width="100%" height="100%" fill="{palette.paper}"/>'
        for line in scene.title:
            yield self._line(line, palette.tones["plain"].text, "title", ' font-weight="bold"')
        groups = [placed for placed in scene.placed if isinstance(placed.item, Group)]
        for placed in groups:
            yield from self._box(placed)
        for arrow in scene.arrows:
            yield from self._arrow(arrow)
        for middle, _ in scene.dots:
            yield f'<circle cx="{_n(middle.x)}" cy="{_n(middle.y)}" r="5" fill="{palette.tones["plain"].line}"/>'
        for placed in scene.placed:
            if not isinstance(placed.item, Group):
                yield from self._box(placed)

    def _told(self) -> str:
        """Return the picture in words, for those who cannot see it."""
        names = {item.id: one_line(item.label) for item in self.diagram.items}
        begins = [names[item.id] for item in self.diagram.items if item.initial]
        said = [f"Begins at {', '.join(begins)}."] if begins else []
        said += [
            f"{names[e.source]} to {names[e.dest]}{f' by {one_line(e.text)}' if e.text else ''}."
            for e in self.diagram.edges
        ]
        return " ".join(said)

    def _box(self, placed: Placed) -> Iterator[str]:
        item, rect = placed.item, placed.rect
        paint = self.palette.tones[item.tone]
        is_group = isinstance(item, Group)
        place = f'x="{_n(rect.x)}" y="{_n(rect.y)}" width="{_n(rect.width)}" height="{_n(rect.height)}"'
        fill = self.palette.group if is_group else paint.fill
        wide = "2.5" if item.tone == "accent" else "1.4"
        yield f'<g class="{"group" if is_group else "node"}" data-id={_attribute(item.id)}>'
        yield f'<rect class="box" {place} rx="8" fill="{fill}" stroke="{paint.line}" stroke-width="{wide}"/>'
        if item.final:
            inner = (
                f'x="{_n(rect.x + 3)}" y="{_n(rect.y + 3)}" width="{_n(rect.width - 6)}" height="{_n(rect.height - 6)}"'
            )
            yield f'<rect {inner} rx="5.5" fill="none" stroke="{paint.line}" stroke-width="1.2"/>'
        for line in placed.lines:
            yield self._line(line, paint.text, "text", ' font-weight="bold"' if is_group else "")
        yield "</g>"

    def _arrow(self, arrow: Arrow) -> Iterator[str]:
        tone, style, wide = _look(arrow.edges)
        colour = self.palette.tones[tone].line
        path, head = self._curve(arrow)
        if arrow.edges:
            first = arrow.edges[0]
            yield f'<g class="edge" data-source={_attribute(first.source)} data-dest={_attribute(first.dest)}>'
        else:
            yield '<g class="start">'
        yield f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{_n(wide)}"{_DASHES[style]}/>'
        yield f'<path d="{head}" fill="{colour}"/>'
        if arrow.label is not None:
            x, y, width, height = map(_n, arrow.label)
            ground = self.palette.group if arrow.depth else self.palette.paper
            yield f'<rect class="label" x="{x}" y="{y}" width="{width}" height="{height}" rx="3" fill="{ground}"/>'
            for line in arrow.lines:
                of = line.edge.tone if line.edge else "plain"
                yield self._line(line, self.palette.tones[of].text, "text", "")
        yield "</g>"

    def _curve(self, arrow: Arrow) -> tuple[str, str]:
        """Return the path of the line, and that of its head."""
        points = arrow.points
        tip = points[-1]
        if arrow.loop:
            one, two = points[1], points[2]
            dx, dy = tip.x - two.x, tip.y - two.y
            length = (dx * dx + dy * dy) ** 0.5
            dx, dy = dx / length, dy / length
            neck = (tip.x - dx * _HEAD * 0.8, tip.y - dy * _HEAD * 0.8)
            path = f"M{_p(*points[0])}C{_p(*one)} {_p(*two)} {_p(*neck)}"
            return path, _head(tip.x, tip.y, dx, dy)
        vertical = not self.scene.across
        before = points[-3]
        # The last stretch goes straight into the box, so the head points along.
        away = (tip.y - before.y) if vertical else (tip.x - before.x)
        sign = 1.0 if away >= 0 else -1.0
        dx, dy = (0.0, sign) if vertical else (sign, 0.0)
        neck = (tip.x - dx * (_HEAD - 1), tip.y - dy * (_HEAD - 1))
        path = f"M{_p(*points[0])}"
        at = points[0]
        for number in range(1, len(points) - 1):
            to = points[number]
            if number % 2:
                if to != at:
                    path += f"L{_p(*to)}"
            else:
                if number == len(points) - 2:
                    to = (
                        to._replace(y=_nearer(to.y, neck[1], sign))
                        if vertical
                        else to._replace(x=_nearer(to.x, neck[0], sign))
                    )
                if vertical:
                    half = (at.y + to.y) / 2
                    path += (
                        f"C{_p(at.x, half)} {_p(to.x, half)} {_p(*to)}" if abs(at.x - to.x) > 0.05 else f"L{_p(*to)}"
                    )
                else:
                    half = (at.x + to.x) / 2
                    path += (
                        f"C{_p(half, at.y)} {_p(half, to.y)} {_p(*to)}" if abs(at.y - to.y) > 0.05 else f"L{_p(*to)}"
                    )
            at = to
        return f"{path}L{_p(*neck)}", _head(tip.x, tip.y, dx, dy)

    def _line(self, line: Line, colour: str, role: str, more: str) -> str:
        if not line.text:
            return ""
        # A font that is wider or narrower than ours is fitted in.
        fit = f' textLength="{_n(line.width)}" lengthAdjust="spacingAndGlyphs"' if line.width else ""
        place = f'x="{_n(line.middle.x)}" y="{_n(line.middle.y + line.size * 0.355)}" font-size="{_n(line.size)}"'
        words = _text(line.text).replace("  ", " \u00a0")
        return f'<text class="{role}" {place} text-anchor="middle" fill="{colour}"{fit}{more}>{words}</text>'


def _look(edges: tuple[Edge, ...]) -> tuple[Tone, Style, float]:
    """Return how the line is drawn that several edges share."""
    if not edges:
        return "plain", "solid", 1.4
    tones, styles = {edge.tone for edge in edges}, {edge.style for edge in edges}
    tone = edges[0].tone if len(tones) == 1 else "plain"
    style = edges[0].style if len(styles) == 1 else "solid"
    return tone, style, 1.4 * max(edge.weight for edge in edges)


def _nearer(place: float, neck: float, sign: float) -> float:
    """Return where the last swing ends: where its layer begins, but before the neck of the head."""
    return min(place, neck) if sign > 0 else max(place, neck)


def _head(x: float, y: float, dx: float, dy: float) -> str:
    back, side = _HEAD, _HEAD * 0.42
    left = (x - dx * back - dy * side, y - dy * back + dx * side)
    right = (x - dx * back + dy * side, y - dy * back - dx * side)
    return f"M{_p(x, y)}L{_p(*left)}L{_p(*right)}Z"


def _n(number: float) -> str:
    """Return a number in as few characters as a picture needs."""
    return f"{round(number, 1):g}"


def _p(x: float, y: float) -> str:
    return f"{_n(x)},{_n(y)}"


def _text(text: str) -> str:
    return escape(clean(text), quote=False)


def _attribute(text: str) -> str:
    return f'"{escape(clean(text))}"'.replace("\n", "&#10;")
